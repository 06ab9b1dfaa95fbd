//! CRI's image service: each call, in terms of the image store.

use std::{path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cri::{
    labels,
    v1::{self, image_service_server::ImageService},
};
use images::{Credentials, ImageRecord, Registries, Usage};
use tonic::{Request, Response, Status};

use crate::pods::{Pods, image_failed};

/// The service.
#[derive(Clone)]
pub struct CriImages {
    /// The store is the pods' own; and an image that a container uses is kept.
    pub pods: Arc<Pods>,
    /// How registries are spoken to.
    pub registries: Arc<Registries>,
}

type Answer<T> = Result<Response<T>, Status>;

#[async_trait::async_trait]
impl ImageService for CriImages {
    async fn list_images(&self, request: Request<v1::ListImagesRequest>) -> Answer<v1::ListImagesResponse> {
        let asked = request.into_inner().filter.and_then(|filter| filter.image).map(|image| image.image);
        let store = &self.pods.images;
        let records = match asked.filter(|name| !name.is_empty()) {
            Some(name) => store.status(&name).into_iter().collect(),
            None => store.list(),
        };
        Ok(Response::new(v1::ListImagesResponse { images: records.iter().map(image).collect() }))
    }

    async fn image_status(&self, request: Request<v1::ImageStatusRequest>) -> Answer<v1::ImageStatusResponse> {
        let v1::ImageStatusRequest { image: asked, verbose } = request.into_inner();
        let record = self.pods.images.status(&name_of(asked)?);
        let info = match (&record, verbose) {
            (Some(record), true) => {
                let text = serde_json::to_string(record).map_err(|error| Status::internal(error.to_string()))?;
                [("info".to_owned(), text)].into()
            }
            _ => Default::default(),
        };
        Ok(Response::new(v1::ImageStatusResponse { image: record.as_ref().map(image), info }))
    }

    async fn pull_image(&self, request: Request<v1::PullImageRequest>) -> Answer<v1::PullImageResponse> {
        let v1::PullImageRequest { image: asked, auth, sandbox_config } = request.into_inner();
        let file = asked.as_ref().and_then(|image| image.annotations.get(labels::IMPORT_FILE).cloned());
        let name = name_of(asked)?;
        let store = self.pods.images.clone();
        let record = match file {
            // A pod's annotations come with its pulls, and must not open files of the node.
            Some(_) if sandbox_config.is_some() => {
                let why = format!("annotation {} is not for pods: use coracle image import", labels::IMPORT_FILE);
                return Err(Status::permission_denied(why));
            }
            Some(file) => {
                let records = store.import(Path::new(&file), Some(&name)).await.map_err(image_failed)?;
                records.into_iter().next().ok_or_else(|| Status::internal("the import brought no image"))?
            }
            None => {
                let credentials = auth.map(credentials).transpose()?.flatten();
                store.pull(&name, credentials, &self.registries).await.map_err(image_failed)?
            }
        };
        Ok(Response::new(v1::PullImageResponse { image_ref: record.id.to_string() }))
    }

    async fn remove_image(&self, request: Request<v1::RemoveImageRequest>) -> Answer<v1::RemoveImageResponse> {
        let name = name_of(request.into_inner().image)?;
        if let Some(record) = self.pods.images.status(&name)
            && let Some(container) = self.pods.user_of_image(record.id.as_str())
        {
            return Err(Status::failed_precondition(format!("image {name} is used by container {container}")));
        }
        self.pods.images.remove(&name).map_err(image_failed)?;
        Ok(Response::new(v1::RemoveImageResponse {}))
    }

    async fn image_fs_info(&self, _: Request<v1::ImageFsInfoRequest>) -> Answer<v1::ImageFsInfoResponse> {
        let pods = self.pods.clone();
        let measure = move || {
            let images = filesystem(pods.images.root(), pods.images.usage(), pods.now());
            let containers = filesystem(pods.folder(), Usage::of(pods.folder()), pods.now());
            v1::ImageFsInfoResponse { image_filesystems: vec![images], container_filesystems: vec![containers] }
        };
        let measured = tokio::task::spawn_blocking(measure).await;
        measured.map(Response::new).map_err(|error| Status::internal(error.to_string()))
    }
}

fn name_of(image: Option<v1::ImageSpec>) -> Result<String, Status> {
    let name = image.map(|image| image.image).unwrap_or_default();
    if name.is_empty() { Err(Status::invalid_argument("the request names no image")) } else { Ok(name) }
}

fn image(record: &ImageRecord) -> v1::Image {
    let uid = record.user.parse().ok().map(|value| v1::Int64Value { value });
    v1::Image {
        id: record.id.to_string(),
        repo_tags: record.tags.iter().cloned().collect(),
        repo_digests: record.digests.iter().cloned().collect(),
        size: record.size,
        username: if uid.is_none() { record.user.clone() } else { String::new() },
        uid,
        spec: None,
        pinned: false,
    }
}

fn filesystem(folder: &Path, usage: Usage, timestamp: i64) -> v1::FilesystemUsage {
    v1::FilesystemUsage {
        timestamp,
        fs_id: Some(v1::FilesystemIdentifier { mountpoint: folder.to_string_lossy().into_owned() }),
        used_bytes: Some(v1::UInt64Value { value: usage.bytes }),
        inodes_used: Some(v1::UInt64Value { value: usage.inodes }),
    }
}

/// What a pull brings to say who pulls; nothing means anonymous.
fn credentials(auth: v1::AuthConfig) -> Result<Option<Credentials>, Status> {
    if !auth.registry_token.is_empty() {
        return Ok(Some(Credentials::Bearer(auth.registry_token)));
    }
    if !auth.username.is_empty() {
        return Ok(Some(Credentials::Basic { username: auth.username, password: auth.password }));
    }
    if !auth.auth.is_empty() {
        let decoded = STANDARD.decode(auth.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
        let (username, password) =
            pair.ok_or_else(|| Status::invalid_argument("auth is not the base64 form of user:password"))?;
        return Ok(Some(Credentials::Basic { username: username.to_owned(), password: password.to_owned() }));
    }
    if !auth.identity_token.is_empty() {
        return Err(Status::unimplemented(
            "identity tokens are not supported: use a user and password, or a registry token",
        ));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_in_every_form_docker_writes_them() {
        let basic = |username: &str, password: &str| {
            Ok(Some(Credentials::Basic { username: username.to_owned(), password: password.to_owned() }))
        };
        let given = |auth| credentials(auth).map_err(|status| status.code());
        let auth = v1::AuthConfig::default();
        assert_eq!(given(auth.clone()), Ok(None));
        assert_eq!(
            given(v1::AuthConfig { username: "u".into(), password: "p:q".into(), ..auth.clone() }),
            basic("u", "p:q")
        );
        assert_eq!(given(v1::AuthConfig { auth: STANDARD.encode("u:p:q"), ..auth.clone() }), basic("u", "p:q"));
        assert_eq!(given(v1::AuthConfig { auth: "???".into(), ..auth.clone() }), Err(tonic::Code::InvalidArgument));
        let token = v1::AuthConfig { registry_token: "t".into(), ..auth.clone() };
        assert_eq!(given(token), Ok(Some(Credentials::Bearer("t".to_owned()))));
        assert_eq!(given(v1::AuthConfig { identity_token: "t".into(), ..auth }), Err(tonic::Code::Unimplemented));
    }
}
