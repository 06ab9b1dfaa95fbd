//! Writes of one kind. Answers enter the shared cache, so that the next look sees them.

use std::{fmt::Debug, sync::Arc};

use apimachinery::selectors::LabelSelector;
use component_base::SharedClock;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
    core::Request,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Informer, Key, SyncError, claim, controller_ref, refs};

/// The objects of a kind, as one identity may write them.
pub struct Objects<K> {
    client: Client,
    informer: Informer<K>,
    clock: SharedClock,
}

impl<K> Clone for Objects<K> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), informer: self.informer.clone(), clock: self.clock.clone() }
    }
}

impl<K> Objects<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// Writes as `client`, told to `informer`.
    pub fn new(client: Client, informer: Informer<K>, clock: SharedClock) -> Self {
        Self { client, informer, clock }
    }

    /// The cache that it tells.
    pub fn cache(&self) -> &Informer<K> {
        &self.informer
    }

    /// Reads one past the cache.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn get(&self, key: &Key) -> kube::Result<K> {
        decode(&answer(&self.client, build(self.at(&key.namespace).get(&key.name, &Default::default()))?).await?)
    }

    /// Creates `object` in `namespace` (empty for a cluster-scoped kind).
    ///
    /// # Errors
    /// What the API server says.
    pub async fn create(&self, namespace: &str, object: &K) -> kube::Result<K> {
        let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
        self.written(build(self.at(namespace).create(&PostParams::default(), body))?).await
    }

    /// Replaces `object` whole, which must not come from the cache.
    ///
    /// # Errors
    /// What the API server says; a conflict when it has changed since it was read.
    pub async fn replace(&self, object: &K) -> kube::Result<K> {
        let (key, body) = (Key::of(object), serde_json::to_vec(object).map_err(kube::Error::SerdeError)?);
        self.written(build(self.at(&key.namespace).replace(&key.name, &PostParams::default(), body))?).await
    }

    /// Merges `patch` into the object; with `metadata.resourceVersion` in it, only if it is at that version, with `metadata.uid`
    /// only if it is that object.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn patch(&self, key: &Key, patch: &Value) -> kube::Result<K> {
        let request = self.at(&key.namespace).patch(&key.name, &PatchParams::default(), &Patch::Merge(patch));
        self.written(build(request)?).await
    }

    /// Like [`Objects::patch`], as a strategic merge patch: lists are merged by their keys.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn patch_strategic(&self, key: &Key, patch: &Value) -> kube::Result<K> {
        let request = self.at(&key.namespace).patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch));
        self.written(build(request)?).await
    }

    /// Merges `patch` into the object's `status` subresource; `patch` is of the whole object, so it begins with `status`.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn patch_status(&self, key: &Key, patch: &Value) -> kube::Result<K> {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let request = self.at(&key.namespace).patch_subresource("status", &key.name, &params, &patch);
        self.written(build(request)?).await
    }

    /// Replaces the object's status by that of `object`.
    ///
    /// # Errors
    /// What the API server says; a conflict when it has changed since `object` was read.
    pub async fn replace_status(&self, object: &K) -> kube::Result<K> {
        let (key, body) = (Key::of(object), serde_json::to_vec(object).map_err(kube::Error::SerdeError)?);
        let request = self.at(&key.namespace).replace_subresource("status", &key.name, &PostParams::default(), body);
        self.written(build(request)?).await
    }

    /// Deletes `object`, that one and none that took its name since, in the background.
    ///
    /// # Errors
    /// What the API server says; that it is gone already is none.
    pub async fn delete(&self, object: &K) -> kube::Result<()> {
        self.delete_as(object, PropagationPolicy::Background).await
    }

    /// Like [`Objects::delete`], with a policy for what it owns.
    ///
    /// # Errors
    /// What the API server says; that it is gone already is none.
    pub async fn delete_as(&self, object: &K, policy: PropagationPolicy) -> kube::Result<()> {
        let (key, uid) = (Key::of(object), object.meta().uid.clone());
        let preconditions = Preconditions { uid: uid.clone(), resource_version: None };
        let params =
            DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() }.preconditions(preconditions);
        let request = build(self.at(&key.namespace).delete(&key.name, &params))?;
        match answer(&self.client, request).await {
            Err(error) if is_gone(&error) || is_conflict(&error) => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        self.informer.deleting(&key, uid.as_deref().unwrap_or_default(), Time(self.clock.now()));
        Ok(())
    }

    /// Takes in and lets go of `candidates` for `owner`, as its selector says; what it then has comes back.
    ///
    /// # Errors
    /// When one cannot be taken in or let go, or when the owner is gone meanwhile.
    pub async fn claim<O>(
        &self,
        owners: &Objects<O>,
        owner: &O,
        selector: &LabelSelector,
        candidates: Vec<Arc<K>>,
    ) -> Result<Vec<Arc<K>>, SyncError>
    where
        O: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        self.claim_with(owners, owner, selector, candidates, None).await
    }

    /// Like [`Objects::claim`]; what is taken in gets `finalizer`.
    ///
    /// # Errors
    /// As there.
    pub async fn claim_with<O>(
        &self,
        owners: &Objects<O>,
        owner: &O,
        selector: &LabelSelector,
        candidates: Vec<Arc<K>>,
        finalizer: Option<&str>,
    ) -> Result<Vec<Arc<K>>, SyncError>
    where
        O: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let mut claimed = claim(owner, selector, candidates);
        let uid = owner.meta().uid.clone().unwrap_or_default();
        for object in &claimed.release {
            match self.patch(&Key::of(&**object), &refs::release_patch(&**object, &uid)).await {
                // Gone, or another one by now: nothing to let go.
                Err(error) if !is_gone(&error) && !is_invalid(&error) => return Err(error.into()),
                _ => {}
            }
        }
        if !claimed.adopt.is_empty() {
            // Nothing is adopted on the word of a cache: the owner may just have been deleted.
            let key = Key::of(owner);
            let fresh = owners.get(&key).await?;
            if fresh.meta().uid != owner.meta().uid || fresh.meta().deletion_timestamp.is_some() {
                return Err(SyncError::Other(format!("{} {key} is gone and can adopt nothing", O::kind(&()))));
            }
        }
        let controller = controller_ref(owner);
        for object in &claimed.adopt {
            match self.patch(&Key::of(&**object), &refs::adopt_patch(&**object, &controller, finalizer)).await {
                Ok(object) => claimed.owned.push(Arc::new(object)),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(claimed.owned)
    }

    fn at(&self, namespace: &str) -> Request {
        Request::new(K::url_path(&(), (!namespace.is_empty()).then_some(namespace)))
    }

    async fn written(&self, request: http::Request<Vec<u8>>) -> kube::Result<K> {
        let object: K = decode(&answer(&self.client, request).await?)?;
        self.informer.written(object.clone());
        Ok(object)
    }
}

/// Sends a request. Not a method, so that it is compiled once and not for every kind.
async fn answer(client: &Client, request: http::Request<Vec<u8>>) -> kube::Result<String> {
    client.request_text(request).await
}

fn decode<K: DeserializeOwned>(text: &str) -> kube::Result<K> {
    serde_json::from_str(text).map_err(kube::Error::SerdeError)
}

fn build(request: Result<http::Request<Vec<u8>>, kube::core::request::Error>) -> kube::Result<http::Request<Vec<u8>>> {
    request.map_err(kube::Error::BuildRequest)
}

/// Whether the object was not there.
pub fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the object had changed (or, on create, was there).
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn is_invalid(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 422)
}

/// Whether nothing can be created because the namespace is going.
pub fn is_terminating_namespace(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// What the API server said, in its own words.
pub fn message_of(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
