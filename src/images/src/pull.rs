//! From a registry.
//!
//! The manifest first, then its config, and only when both say that this node can run the image its layers. Whatever
//! is downloaded goes through its digest. A registry that sends nothing for a while is given up on, with that as the
//! error; the kubelet decides when to try again.

use std::{future::Future, time::Duration};

use futures::StreamExt;
use oci_client::{
    Client, Reference,
    client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    manifest::OciDescriptor,
    secrets::RegistryAuth,
};

use crate::{
    Credentials, ImageError, ImageRecord, Registries, Registry, Store,
    blobs::Digest,
    layout,
    manifest::{DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, Manifest, OCI_INDEX, OCI_MANIFEST},
    reference,
    store::{Names, PROGRAM_BYTES_MAX},
};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
const MANIFEST_BYTES_MAX: usize = 4 << 20;
const ACCEPTED: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

impl Store {
    /// Pulls `reference` and compiles it, unless its manifest is here already.
    ///
    /// # Errors
    /// When the registry does not give it, it is not what its digest says, or this node cannot run it.
    pub async fn pull(
        &self,
        reference: &str,
        credentials: Option<Credentials>,
        registries: &Registries,
    ) -> Result<ImageRecord, ImageError> {
        let parsed = reference::parse(reference)?;
        let lock = self.lock_of(&parsed.whole());
        let _pulling = lock.lock().await;
        let settings = registries.of(parsed.registry());
        let authorities = registries.authorities(&settings)?;
        Pull::new(self, &parsed, credentials, settings, authorities)?.run().await
    }
}

struct Pull<'a> {
    store: &'a Store,
    reference: &'a Reference,
    client: Client,
    auth: RegistryAuth,
}

impl<'a> Pull<'a> {
    fn new(
        store: &'a Store,
        reference: &'a Reference,
        credentials: Option<Credentials>,
        settings: Registry,
        authorities: Vec<Vec<u8>>,
    ) -> Result<Self, ImageError> {
        let auth = match credentials.or(settings.credentials) {
            None => RegistryAuth::Anonymous,
            Some(Credentials::Basic { username, password }) => RegistryAuth::Basic(username, password),
            Some(Credentials::Bearer(token)) => RegistryAuth::Bearer(token),
        };
        let config = ClientConfig {
            protocol: if settings.plain_http { ClientProtocol::Http } else { ClientProtocol::Https },
            extra_root_certificates: authorities
                .into_iter()
                .map(|data| Certificate { encoding: CertificateEncoding::Pem, data })
                .collect(),
            connect_timeout: Some(CONNECT_TIME_MAX),
            read_timeout: Some(store.config.silence_max),
            user_agent: concat!("coracle/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| ImageError::Registry {
            image: reference.whole(),
            message: format!("set up the client: {}", causes(&error)),
        })?;
        Ok(Self { store, reference, client, auth })
    }

    async fn run(self) -> Result<ImageRecord, ImageError> {
        let image = self.reference.whole();
        let (mut bytes, mut manifest) = self.manifest(self.reference).await?;
        let asked = Digest::of(&bytes);
        if manifest.is_index() {
            let chosen = manifest.choose().ok_or_else(|| ImageError::Layout {
                image: image.clone(),
                problem: "its index names no manifest".to_owned(),
            })?;
            let digest = Digest::parse(&chosen.digest)?;
            (bytes, manifest) = self.manifest(&self.reference.clone_with_digest(digest.as_str().to_owned())).await?;
        }
        let config = match &manifest.config {
            Some(config) => self.content(config, MANIFEST_BYTES_MAX as u64).await?,
            None => Vec::new(),
        };
        let plan = layout::plan(&image, &manifest, &config)?;
        for layer in
            manifest.layers.iter().filter(|layer| plan.layers.iter().any(|needed| needed.as_str() == layer.digest))
        {
            self.blob(layer, PROGRAM_BYTES_MAX).await?;
        }
        self.store.admit(&image, &manifest, &bytes, plan, Names::of(self.reference, &asked)).await
    }

    async fn manifest(&self, reference: &Reference) -> Result<(Vec<u8>, Manifest), ImageError> {
        let (bytes, _) = self.within(self.client.pull_manifest_raw(reference, &self.auth, &ACCEPTED)).await?;
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ImageError::TooLarge {
                subject: format!("manifest of {}", self.reference.whole()),
                limit: MANIFEST_BYTES_MAX as u64,
            });
        }
        if let Some(expected) = reference.digest() {
            let actual = Digest::of(&bytes);
            if actual.as_str() != expected {
                return Err(ImageError::WrongDigest {
                    subject: format!("manifest of {}", self.reference.whole()),
                    expected: expected.to_owned(),
                    actual: actual.to_string(),
                });
            }
        }
        let manifest = serde_json::from_slice(&bytes)
            .map_err(|error| self.said(format!("its manifest cannot be read: {error}")))?;
        Ok((bytes.to_vec(), manifest))
    }

    async fn content(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, ImageError> {
        let digest = self.blob(descriptor, limit).await?;
        self.store.blobs.read(&digest)
    }

    /// Downloads one blob, unless it is here.
    async fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Digest, ImageError> {
        let digest = Digest::parse(&descriptor.digest)?;
        if self.store.blobs.has(&digest) {
            return Ok(digest);
        }
        let wanted = OciDescriptor {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest.clone(),
            size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        };
        let mut stream = self.within(self.client.pull_blob_stream(self.reference, &wanted)).await?.stream;
        let mut writer = self.store.blobs.writer(limit)?;
        loop {
            match tokio::time::timeout(self.store.config.silence_max, stream.next()).await {
                Err(_) => return Err(self.stalled()),
                Ok(None) => break,
                Ok(Some(Ok(bytes))) => writer.write(&bytes)?,
                Ok(Some(Err(error))) => return Err(self.broken(&error)),
            }
        }
        writer.finish(Some(&digest)).map_err(|error| match error {
            ImageError::WrongDigest { expected, actual, .. } => {
                ImageError::WrongDigest { subject: format!("layer of {}", self.reference.whole()), expected, actual }
            }
            other => other,
        })
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, OciDistributionError>>) -> Result<T, ImageError> {
        match tokio::time::timeout(self.store.config.silence_max + CONNECT_TIME_MAX, call).await {
            Err(_) => Err(self.stalled()),
            Ok(Err(error)) => Err(self.broken(&error)),
            Ok(Ok(value)) => Ok(value),
        }
    }

    fn said(&self, message: String) -> ImageError {
        ImageError::Registry { image: self.reference.whole(), message }
    }

    fn stalled(&self) -> ImageError {
        ImageError::Stalled {
            image: self.reference.whole(),
            registry: self.reference.resolve_registry().to_owned(),
            waited: self.store.config.silence_max,
        }
    }

    fn broken(&self, error: &(dyn std::error::Error + 'static)) -> ImageError {
        if is_timeout(error) {
            return self.stalled();
        }
        match error.downcast_ref() {
            Some(OciDistributionError::UnauthorizedError { .. }) => self.said(
                "pull access denied: the registry wants other credentials, or the repository is not there".to_owned(),
            ),
            Some(OciDistributionError::ImageManifestNotFoundError(_)) => self.said("not found".to_owned()),
            Some(OciDistributionError::RegistryError { envelope, .. }) => {
                let errors: Vec<String> =
                    envelope.errors.iter().map(|error| format!("{:?}: {}", error.code, error.message)).collect();
                self.said(errors.join("; "))
            }
            _ => self.said(causes(error)),
        }
    }
}

/// Whether one of the causes is that nothing came in time.
fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.to_string() == "operation timed out")
}

/// An error with all its causes, since the outer ones of an HTTP client say nothing.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
