//! The resource claim controller: makes the claims that pods have templates for, and lets devices go that nobody uses any more.

pub mod plan;

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate},
};
use kube::ResourceExt;
use serde_json::json;

use self::plan::{Found, Step};
use crate::{
    framework::{
        Change, Context, Informer, Key, Objects, Outcome, Queue, Recorder, SyncError, controller_of, is_conflict,
        is_gone, message_of, spawn_workers,
    },
    pods,
};

const NAME: &str = "resource-claim-controller";
/// As what it speaks in events.
const COMPONENT: &str = "resource_claim";
/// The index of pods by the claims and the templates that they name.
const BY_CLAIM: &str = "resource-claim";
const BY_TEMPLATE: &str = "resource-claim-template";

struct Controller {
    pods: Objects<Pod>,
    claims: Objects<ResourceClaim>,
    templates: Informer<ResourceClaimTemplate>,
    recorder: Recorder,
}

/// Starts it.
pub fn start(context: &Context) {
    let (client, recorder) = context.identity_as(NAME, COMPONENT);
    let (pods, claims) = (context.informers.of::<Pod>(), context.informers.of::<ResourceClaim>());
    let templates = context.informers.of::<ResourceClaimTemplate>();
    let path = |pod: &Pod, name: &str| format!("{}/{name}", pod.namespace().unwrap_or_default());
    pods.add_index(BY_CLAIM, move |pod| names_of(pod).map(|name| path(pod, &name)).collect());
    pods.add_index(BY_TEMPLATE, move |pod| {
        let names = plan::claims(pod).iter().filter_map(|claim| claim.resource_claim_template_name.as_deref());
        names.map(|name| path(pod, name)).collect()
    });
    let (of_pods, of_claims) = (Queue::new(context.clock.clone()), Queue::new(context.clock.clone()));
    let (pod_changed, claim_used) = (of_pods.clone(), of_claims.clone());
    pods.on_change(move |Change { old, new }| {
        let Some(pod) = new.as_ref().or(old.as_ref()).filter(|pod| !plan::claims(pod).is_empty()) else { return };
        if new.is_some() {
            pod_changed.add(Key::of(&**pod));
        }
        if new.as_ref().is_none_or(|new| plan::is_done(new)) {
            let namespace = pod.namespace().unwrap_or_default();
            names_of(pod).for_each(|name| claim_used.add(Key::new(namespace.as_str(), name)));
        }
    });
    let (claim_changed, pod_waits, users) = (of_claims.clone(), of_pods.clone(), pods.clone());
    claims.on_change(move |change| {
        let key = Key::of(&**change.object());
        users.by_index(BY_CLAIM, &key.to_string()).iter().for_each(|pod| pod_waits.add(Key::of(&**pod)));
        if let Some(pod) = controller_of(&**change.object()).filter(|_| change.new.is_none()) {
            pod_waits.add(Key::new(key.namespace.clone(), pod.name.as_str()));
        }
        claim_changed.add(key);
    });
    let (pod_waits, users) = (of_pods.clone(), pods.clone());
    templates.on_change(move |change| {
        let key = Key::of(&**change.object());
        users.by_index(BY_TEMPLATE, &key.to_string()).iter().for_each(|pod| pod_waits.add(Key::of(&**pod)));
    });
    let controller = Arc::new(Controller {
        pods: Objects::new(client.clone(), pods, context.clock.clone()),
        claims: Objects::new(client, claims, context.clock.clone()),
        templates,
        recorder,
    });
    let (making, letting_go) = (controller.clone(), controller);
    spawn_workers(context, NAME, 2, &of_pods, move |key| {
        let controller = making.clone();
        async move { controller.sync_pod(&key).await }
    });
    spawn_workers(context, NAME, 2, &of_claims, move |key| {
        let controller = letting_go.clone();
        async move { controller.sync_claim(&key).await }
    });
}

/// The names of the claims of a pod, as far as they are known.
fn names_of(pod: &Pod) -> impl Iterator<Item = String> {
    plan::claims(pod).iter().filter_map(|claim| match plan::find(pod, claim, [])? {
        Found::Named(name) => name,
        Found::Make(_) => None,
    })
}

impl Controller {
    /// Makes what a pod has templates for.
    async fn sync_pod(&self, key: &Key) -> Result<Outcome, SyncError> {
        let Some(pod) = self.pods.cache().get(key) else { return Ok(Outcome::Done) };
        if pods::is_deleting(&pod) || plan::is_done(&pod) {
            return Ok(Outcome::Done);
        }
        let mut found = Vec::new();
        for claim in plan::claims(&pod) {
            let made = self.claims.cache().controlled_by(pod.metadata.uid.as_deref().unwrap_or_default());
            let name = match plan::find(&pod, claim, made.iter().map(|made| &**made)) {
                None => continue,
                Some(Found::Named(name)) => name,
                Some(Found::Make(template)) => {
                    let made = self.make(&pod, key, claim, &template).await;
                    let made = made.inspect_err(|error| {
                        let words = format!("PodResourceClaim {}: {error}", claim.name);
                        self.recorder.warning(&*pod, "FailedResourceClaimCreation", words);
                    })?;
                    made.metadata.name
                }
            };
            if claim.resource_claim_template_name.is_some() {
                found.push((claim.name.clone(), name));
            }
        }
        if let Some(statuses) = plan::statuses(&pod, &found) {
            let meta = json!({"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version});
            let patch = json!({"metadata": meta, "status": {"resourceClaimStatuses": statuses}});
            match self.pods.patch_status(key, &patch).await {
                Err(error) if is_gone(&error) => return Ok(Outcome::Done),
                answer => drop(answer?),
            }
        }
        if !pods::node_name(&pod).is_empty() {
            for name in names_of(&pod) {
                self.reserve(&pod, &Key::new(key.namespace.clone(), name)).await?;
            }
        }
        Ok(Outcome::Done)
    }

    async fn make(
        &self,
        pod: &Pod,
        key: &Key,
        claim: &k8s_openapi::api::core::v1::PodResourceClaim,
        template: &str,
    ) -> Result<ResourceClaim, SyncError> {
        let found = self.templates.get(&Key::new(key.namespace.clone(), template));
        let template = found.ok_or_else(|| {
            let missing = format!("resourceclaimtemplate.resource.k8s.io {template:?} not found");
            SyncError::Other(format!("resource claim template {template:?}: {missing}"))
        })?;
        let made = self.claims.create(&key.namespace, &plan::make(pod, claim, &template)).await;
        made.map_err(|error| match error {
            error if is_conflict(&error) => error.into(),
            error => SyncError::Other(format!("create ResourceClaim : {}", message_of(&error))),
        })
    }

    /// Who came to a node without the scheduler reserves what is allocated there.
    async fn reserve(&self, pod: &Pod, key: &Key) -> Result<(), SyncError> {
        let Some(claim) = self.claims.cache().get(key) else { return Ok(()) };
        let Some(status) = plan::reserve(&claim, pod) else { return Ok(()) };
        self.write(&ResourceClaim { status: Some(status), ..ResourceClaim::clone(&claim) }).await
    }

    /// Lets go what nobody uses any more.
    async fn sync_claim(&self, key: &Key) -> Result<Outcome, SyncError> {
        let Some(claim) = self.claims.cache().get(key) else { return Ok(Outcome::Done) };
        let mut gone = Vec::new();
        for one in claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten()) {
            if !self.uses(key, one).await? {
                gone.push(one.uid.clone());
            }
        }
        let needed = match controller_of(&*claim).filter(|_| plan::owner_uid(&claim).is_some()) {
            Some(owner) => self.lives(&Key::new(key.namespace.clone(), owner.name.as_str()), &owner.uid).await?,
            None => true,
        };
        match plan::plan(&claim, |one| !gone.contains(&one.uid), needed) {
            Step::Stay => {}
            Step::Status(status) => {
                self.write(&ResourceClaim { status: Some(*status), ..ResourceClaim::clone(&claim) }).await?;
            }
            Step::Unprotect => {
                let rest: Vec<_> = claim.finalizers().iter().filter(|one| *one != plan::FINALIZER).collect();
                let meta = json!({"resourceVersion": claim.metadata.resource_version, "finalizers": rest});
                match self.claims.patch(key, &json!({"metadata": meta})).await {
                    Err(error) if !is_gone(&error) => return Err(error.into()),
                    _ => {}
                }
            }
            Step::Delete => self.claims.delete(&*claim).await?,
        }
        Ok(Outcome::Done)
    }

    /// Whether who has reserved a claim still uses it; what is no pod is not known here, and stays.
    async fn uses(&self, key: &Key, one: &ResourceClaimConsumerReference) -> Result<bool, SyncError> {
        if one.resource != "pods" || one.api_group.as_deref().is_some_and(|group| !group.is_empty()) {
            return Ok(true);
        }
        self.lives(&Key::new(key.namespace.clone(), one.name.as_str()), &one.uid).await
    }

    /// Whether a pod is there and not done. That it is gone is not said on the word of a cache.
    async fn lives(&self, key: &Key, uid: &str) -> Result<bool, SyncError> {
        let is = |pod: &Pod| pod.metadata.uid.as_deref() == Some(uid);
        if let Some(pod) = self.pods.cache().get(key).filter(|pod| is(pod)) {
            return Ok(!plan::is_done(&pod));
        }
        match self.pods.get(key).await {
            Ok(pod) => Ok(is(&pod) && !plan::is_done(&pod)),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn write(&self, claim: &ResourceClaim) -> Result<(), SyncError> {
        match self.claims.replace_status(claim).await {
            Err(error) if !is_gone(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}
