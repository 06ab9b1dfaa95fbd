//! What is scaled: whatever has a `scale`.

use apimachinery::kinds::split_api_version;
use k8s_openapi::api::autoscaling::{v1::Scale, v2::CrossVersionObjectReference};
use kube::{Client, api::PostParams, core::Request};

use super::words;
use crate::inventory::{Inventory, Resource};

/// The scale of an object, with where it is.
pub struct Target {
    resource: std::sync::Arc<Resource>,
    /// The scale, as it was read.
    pub scale: Scale,
}

impl Target {
    /// Reads it.
    ///
    /// # Errors
    /// Why it cannot be had, in Kubernetes' words.
    pub async fn find(
        client: &Client,
        inventory: &Inventory,
        namespace: &str,
        reference: &CrossVersionObjectReference,
    ) -> Result<Self, String> {
        let version = reference.api_version.as_deref().unwrap_or_default();
        if version.matches('/').count() > 1 {
            return Err(format!("unexpected GroupVersion string: {version}"));
        }
        let (group, kind) = (split_api_version(version).0, &reference.kind);
        inventory.synced().await;
        let resource =
            inventory.of_kind(group, kind).ok_or_else(|| format!("no matches for kind {kind:?} in group {group:?}"))?;
        let request = Request::new(resource.path(namespace)).get_subresource("scale", &reference.name);
        let scale = match request.map_err(kube::Error::BuildRequest) {
            Ok(request) => client.request::<Scale>(request).await,
            Err(error) => Err(error),
        };
        let scale = scale.map_err(|error| words::of(&error, "get", &resource.plural, Some(&reference.name)))?;
        Ok(Self { resource, scale })
    }

    /// So many are wanted.
    pub fn wanted(&self) -> i32 {
        self.scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default()
    }

    /// So many there are.
    pub fn present(&self) -> i32 {
        self.scale.status.as_ref().map_or(0, |status| status.replicas)
    }

    /// What selects its pods, as a text; empty when it does not say.
    pub fn selector(&self) -> &str {
        self.scale.status.as_ref().and_then(|status| status.selector.as_deref()).unwrap_or_default()
    }

    /// Wants `replicas` from now on; refused when somebody else has changed it since it was read.
    ///
    /// # Errors
    /// Why not, in Kubernetes' words.
    pub async fn rescale(&self, client: &Client, namespace: &str, replicas: i32) -> Result<(), String> {
        let mut scale = self.scale.clone();
        scale.spec.get_or_insert_default().replicas = Some(replicas);
        let name = scale.metadata.name.clone().unwrap_or_default();
        let body = serde_json::to_vec(&scale).map_err(|error| error.to_string())?;
        let request = Request::new(self.resource.path(namespace)).replace_subresource(
            "scale",
            &name,
            &PostParams::default(),
            body,
        );
        let answer = match request.map_err(kube::Error::BuildRequest) {
            Ok(request) => client.request::<Scale>(request).await,
            Err(error) => Err(error),
        };
        answer.map(drop).map_err(|error| words::of(&error, "put", &self.resource.plural, Some(&name)))
    }
}
