//! Images: whether they must be pulled, with whose credentials, and when again.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::Engine;
use component_base::SharedClock;
use cri::v1;
use futures::{FutureExt, future::Shared};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::{
    backoff::Backoff,
    events::{Recorder, Severity},
    pod::{objects::PodObjects, traits::PodExt},
};

/// Why an image is not there, as a container's waiting reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageError {
    /// `ErrImagePull`, `ImagePullBackOff`, `ErrImageNeverPull`, `InvalidImageName`, `ImageInspectError`.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// When it makes sense to try again; `None`: when something changes.
    pub retry_in: Option<Duration>,
}

type Pull = Shared<futures::future::BoxFuture<'static, Result<String, String>>>;
type BackoffKey = (String, String);

/// Pulls images for containers.
#[derive(Clone)]
pub struct Images {
    client: cri::Clients,
    recorder: Recorder,
    clock: SharedClock,
    pulls: Arc<Mutex<HashMap<String, Pull>>>,
    backoff: Arc<Mutex<Failures>>,
}

#[derive(Default)]
struct Failures {
    backoff: Backoff<BackoffKey>,
    last: HashMap<BackoffKey, (Timestamp, String)>,
}

impl Images {
    /// With the runtime's image service.
    pub fn new(client: cri::Clients, recorder: Recorder, clock: SharedClock) -> Self {
        Self { client, recorder, clock, pulls: Arc::default(), backoff: Arc::default() }
    }

    /// Makes sure that the container's image is there, by its pull policy. Returns how the runtime names it.
    pub async fn ensure(
        &self,
        pod: &Pod,
        container: &Container,
        objects: &PodObjects,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String, ImageError> {
        let named = container.image.clone().unwrap_or_default();
        let image = with_default_tag(&named).map_err(|why| {
            let message = format!("Failed to apply default image tag \"{named}\": {why}");
            self.recorder.container(pod, &container.name, Severity::Warning, "InspectFailed", &*message);
            ImageError { reason: "InvalidImageName", message, retry_in: None }
        })?;
        let policy = container.image_pull_policy.as_deref().unwrap_or(default_policy(&image));
        if policy != "Always" {
            let present = self.present(&image).await.map_err(|status| {
                let message = format!("Failed to inspect image \"{named}\": {}", crate::rpc_error(&status));
                self.recorder.container(pod, &container.name, Severity::Warning, "InspectFailed", &*message);
                ImageError { reason: "ImageInspectError", message, retry_in: Some(Duration::from_secs(1)) }
            })?;
            if let Some(reference) = present {
                let message =
                    format!("Container image \"{named}\" already present on machine and can be accessed by the pod");
                self.recorder.container(pod, &container.name, Severity::Normal, "Pulled", message);
                return Ok(reference);
            }
            if policy == "Never" {
                let message = format!("Container image \"{named}\" is not present with pull policy of Never");
                self.recorder.container(pod, &container.name, Severity::Warning, "ErrImageNeverPull", &*message);
                return Err(ImageError {
                    reason: "ErrImageNeverPull",
                    message,
                    // `coracle image import` may bring it.
                    retry_in: Some(Duration::from_secs(10)),
                });
            }
        }
        self.pull_or_back_off(pod, container, &named, &image, objects, sandbox).await
    }

    async fn present(&self, image: &str) -> Result<Option<String>, tonic::Status> {
        let image = Some(v1::ImageSpec { image: image.to_owned(), ..Default::default() });
        let request = v1::ImageStatusRequest { image, verbose: false };
        let found = self.client.images.clone().image_status(request).await?.into_inner().image;
        Ok(found.map(|image| image.id).filter(|id| !id.is_empty()))
    }

    async fn pull_or_back_off(
        &self,
        pod: &Pod,
        container: &Container,
        named: &str,
        image: &str,
        objects: &PodObjects,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String, ImageError> {
        let key = (pod.uid().to_owned(), named.to_owned());
        let waiting = {
            let failures = self.backoff.lock();
            failures.last.get(&key).and_then(|(failed, why)| {
                let rest = failures.backoff.remaining(&key, *failed, self.clock.now())?;
                Some((rest, why.clone()))
            })
        };
        if let Some((rest, why)) = waiting {
            let message = format!("Back-off pulling image \"{named}\"");
            self.recorder.container(pod, &container.name, Severity::Normal, "BackOff", &*message);
            let message = format!("{message}: ErrImagePull: {why}");
            return Err(ImageError { reason: "ImagePullBackOff", message, retry_in: Some(rest) });
        }
        self.recorder.container(
            pod,
            &container.name,
            Severity::Normal,
            "Pulling",
            format!("Pulling image \"{named}\""),
        );
        let begun = Instant::now();
        let credentials = credentials(pod, objects, image);
        match self.pull(image, named, credentials, sandbox).await {
            Ok((reference, pulling)) => {
                self.forget(&key);
                let size = self.size(&reference).await;
                let message = format!(
                    "Successfully pulled image \"{named}\" in {} ({} including waiting). Image size: {size} bytes.",
                    go_duration(pulling),
                    go_duration(begun.elapsed()),
                );
                self.recorder.container(pod, &container.name, Severity::Normal, "Pulled", message);
                Ok(reference)
            }
            Err(why) => {
                let now = self.clock.now();
                let mut failures = self.backoff.lock();
                failures.backoff.next(key.clone(), now, now);
                failures.last.insert(key, (now, why.clone()));
                drop(failures);
                let message = format!("Failed to pull image \"{named}\": {why}");
                self.recorder.container(pod, &container.name, Severity::Warning, "Failed", message);
                // Soon it is said that one backs off, as a kubelet's next look does.
                Err(ImageError { reason: "ErrImagePull", message: why, retry_in: Some(Duration::from_secs(2)) })
            }
        }
    }

    /// Forgets the failures of a pod's image.
    fn forget(&self, key: &BackoffKey) {
        let mut failures = self.backoff.lock();
        failures.backoff.forget(key);
        failures.last.remove(key);
    }

    /// Forgets the failures of a pod that is gone.
    pub fn forget_pod(&self, pod: &Pod) {
        for container in pod.containers().iter().chain(pod.init_containers()) {
            self.forget(&(pod.uid().to_owned(), container.image.clone().unwrap_or_default()));
        }
    }

    async fn size(&self, reference: &str) -> u64 {
        let image = Some(v1::ImageSpec { image: reference.to_owned(), ..Default::default() });
        let request = v1::ImageStatusRequest { image, verbose: false };
        let answer = self.client.images.clone().image_status(request).await;
        answer.ok().and_then(|answer| answer.into_inner().image).map_or(0, |image| image.size)
    }

    /// Pulls with one credential after the other. Pods that want the same image with the same credentials at the same
    /// time share one pull.
    async fn pull(
        &self,
        image: &str,
        named: &str,
        credentials: Vec<v1::AuthConfig>,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<(String, Duration), String> {
        let begun = Instant::now();
        let attempts: Vec<Option<v1::AuthConfig>> =
            if credentials.is_empty() { vec![None] } else { credentials.into_iter().map(Some).collect() };
        let mut errors = Vec::new();
        for auth in attempts {
            let key = format!("{image}\0{auth:?}");
            let pull = self
                .pulls
                .lock()
                .entry(key.clone())
                .or_insert_with(|| self.start(image, named, auth, &sandbox))
                .clone();
            let pulled = pull.clone().await;
            self.pulls.lock().remove(&key);
            match pulled {
                Ok(reference) => return Ok((reference, begun.elapsed())),
                Err(error) => errors.push(error),
            }
        }
        errors.dedup();
        Err(match errors.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        })
    }

    fn start(&self, image: &str, named: &str, auth: Option<v1::AuthConfig>, sandbox: &v1::PodSandboxConfig) -> Pull {
        let mut client = self.client.images.clone();
        let request = v1::PullImageRequest {
            image: Some(v1::ImageSpec {
                image: image.to_owned(),
                user_specified_image: named.to_owned(),
                annotations: sandbox.annotations.clone(),
                ..Default::default()
            }),
            auth,
            sandbox_config: Some(sandbox.clone()),
        };
        // In a task of its own, so that it goes on when the pod that began it is deleted meanwhile.
        let task = tokio::spawn(async move {
            match client.pull_image(request).await {
                Ok(answer) => Ok(answer.into_inner().image_ref),
                Err(status) => Err(crate::rpc_error(&status)),
            }
        });
        async move { task.await.unwrap_or_else(|error| Err(error.to_string())) }.boxed().shared()
    }
}

/// `Always` for what may change under its name.
fn default_policy(image: &str) -> &'static str {
    if image.ends_with(":latest") { "Always" } else { "IfNotPresent" }
}

/// The image with `:latest` when it has neither tag nor digest.
fn with_default_tag(image: &str) -> Result<String, String> {
    let invalid = |why: &str| Err(format!("couldn't parse image name \"{image}\": {why}"));
    if image.is_empty() || image.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return invalid("invalid reference format");
    }
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    let (repository, tag) = match last.split_once(':') {
        Some((_, tag)) => (&name[..name.len() - tag.len() - 1], Some(tag)),
        None => (name, None),
    };
    // A first part with a dot, a port or the name localhost is a host, which may have capitals.
    let path = match repository.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => repository,
    };
    if path.chars().any(char::is_uppercase) {
        return invalid("invalid reference format: repository name must be lowercase");
    }
    let well_formed = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
    };
    if !path.split('/').all(well_formed) || tag.is_some_and(str::is_empty) || digest.is_some_and(|d| !d.contains(':')) {
        return invalid("invalid reference format");
    }
    Ok(if tag.is_none() && digest.is_none() { format!("{image}:latest") } else { image.to_owned() })
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: HashMap<String, DockerAuth>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerAuth {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
    registrytoken: String,
}

/// What the pod's pull secrets hold for the image's registry; the longest match first.
fn credentials(pod: &Pod, objects: &PodObjects, image: &str) -> Vec<v1::AuthConfig> {
    let names = pod.pod_spec().and_then(|spec| spec.image_pull_secrets.as_ref()).into_iter().flatten();
    let mut found: Vec<(usize, v1::AuthConfig)> = Vec::new();
    for name in names {
        // A pull secret that is not there is no reason not to try.
        let Ok(Some(secret)) = objects.secret(&name.name, true) else { continue };
        for (registry, auth) in docker_auths(secret) {
            if matches_registry(&registry, image) {
                let (username, password) = login(&auth);
                found.push((
                    registry.len(),
                    v1::AuthConfig {
                        username,
                        password,
                        auth: auth.auth,
                        server_address: registry,
                        identity_token: auth.identitytoken,
                        registry_token: auth.registrytoken,
                    },
                ));
            }
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, auth)| auth).collect()
}

fn docker_auths(secret: &Secret) -> HashMap<String, DockerAuth> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    if let Some(config) = data(".dockerconfigjson") {
        return serde_json::from_slice::<DockerConfig>(&config.0).map(|config| config.auths).unwrap_or_default();
    }
    data(".dockercfg").and_then(|config| serde_json::from_slice(&config.0).ok()).unwrap_or_default()
}

fn login(auth: &DockerAuth) -> (String, String) {
    if !auth.username.is_empty() {
        return (auth.username.clone(), auth.password.clone());
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(auth.auth.trim()).unwrap_or_default();
    let text = String::from_utf8_lossy(&decoded).into_owned();
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned())).unwrap_or_default()
}

/// Whether credentials for `registry` are for `image`: same host (a `*` stands for one label) and a path it begins
/// with.
fn matches_registry(registry: &str, image: &str) -> bool {
    let registry = registry.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let registry = registry.trim_end_matches("/v1").trim_end_matches("/v2");
    let (host, path) = registry.split_once('/').unwrap_or((registry, ""));
    let qualified = match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => image.to_owned(),
        _ => format!("docker.io/{image}"),
    };
    let (image_host, image_path) = qualified.split_once('/').unwrap_or((&qualified, ""));
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    let same_host = host.split('.').count() == image_host.split('.').count()
        && host.split('.').zip(image_host.split('.')).all(|(want, have)| want == "*" || want == have);
    let under = |path: &str| {
        image_path == path || image_path.strip_prefix(path).is_some_and(|rest| rest.starts_with(['/', ':', '@']))
    };
    same_host && (path.is_empty() || under(path))
}

/// As Go writes a duration, to the millisecond.
fn go_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds < 1_000 {
        return format!("{milliseconds}ms");
    }
    let trimmed = |text: String| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    let seconds = duration.as_secs();
    let rest = trimmed(format!("{:.3}", (milliseconds % 60_000) as f64 / 1_000.0));
    if seconds < 60 { format!("{rest}s") } else { format!("{}m{rest}s", seconds / 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_tag_is_the_latest() {
        for (image, expected) in [
            ("hello", "hello:latest"),
            ("localhost:5000/hello", "localhost:5000/hello:latest"),
            ("localhost:5000/hello:1", "localhost:5000/hello:1"),
            ("Registry.example/hello@sha256:00", "Registry.example/hello@sha256:00"),
        ] {
            assert_eq!(with_default_tag(image).as_deref(), Ok(expected));
        }
        for image in ["", "Hello", "a b", "a//b", "hello:", "a@b"] {
            assert!(with_default_tag(image).is_err(), "{image}");
        }
    }

    #[test]
    fn credentials_go_only_where_they_belong() {
        for (registry, image, expected) in [
            ("registry.example", "registry.example/team/app:1", true),
            ("https://registry.example/v2/", "registry.example/team/app:1", true),
            ("registry.example/team", "registry.example/team/app:1", true),
            ("registry.example/te", "registry.example/team/app:1", false),
            ("registry.example/other", "registry.example/team/app:1", false),
            ("*.example", "registry.example/app", true),
            ("*.example", "a.registry.example/app", false),
            ("https://index.docker.io/v1/", "library/hello:1", true),
            ("registry.example.evil", "registry.example/app", false),
        ] {
            assert_eq!(matches_registry(registry, image), expected, "{registry} {image}");
        }
    }

    #[test]
    fn durations_read_like_gos() {
        for (milliseconds, expected) in [(5, "5ms"), (1_250, "1.25s"), (2_000, "2s"), (61_500, "1m1.5s")] {
            assert_eq!(go_duration(Duration::from_millis(milliseconds)), expected);
        }
    }
}
