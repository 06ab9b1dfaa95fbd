//! The garbage collector: what was owned goes when all its owners are gone, or is let go when it was asked to be.
//!
//! The [`graph`] says whom to look at; each is then looked at as the API server has it, and the [`plan`] decides. The graph may
//! lag behind: nothing is deleted but at the uid and version that was just read.

pub mod graph;
pub mod plan;

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy},
    core::Request,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use self::{
    graph::{FOREGROUND, Graph, Node, ORPHAN, Uid, Work},
    plan::{OwnerState, Step},
};
use crate::{
    framework::{Context, Outcome, Queue, Recorder, Severity, SyncError, is_conflict, is_gone, spawn_workers},
    inventory::{Inventory, Meta, Owner, Partial, Resource, Told},
};

const NAME: &str = "generic-garbage-collector";
/// How many objects are worked on at a time.
const WORKERS: usize = 8;

struct Collector {
    client: Client,
    inventory: Inventory,
    graph: Mutex<Graph>,
    delete: Queue<Uid>,
    orphan: Queue<Uid>,
    recorder: Recorder,
}

/// Starts it.
pub fn start(context: &Context, inventory: &Inventory) {
    let (client, recorder) = context.identity(NAME);
    let collector = Arc::new(Collector {
        client,
        inventory: inventory.clone(),
        graph: Mutex::default(),
        delete: Queue::new(context.clock.clone()),
        orphan: Queue::new(context.clock.clone()),
        recorder,
    });
    let told = collector.clone();
    inventory.on_change(move |change| told.take_in(change));
    let (one, two) = (collector.clone(), collector.clone());
    spawn_workers(context, NAME, WORKERS, &collector.delete, move |uid| {
        let collector = one.clone();
        async move {
            collector.inventory.synced().await;
            collector.attempt_to_delete(&uid).await.map(|()| Outcome::Done)
        }
    });
    spawn_workers(context, NAME, 2, &collector.orphan, move |uid| {
        let collector = two.clone();
        async move {
            collector.inventory.synced().await;
            collector.attempt_to_orphan(&uid).await.map(|()| Outcome::Done)
        }
    });
}

impl Collector {
    fn take_in(&self, told: &Told) {
        let work = {
            let mut graph = self.graph.lock();
            match told {
                Told::Seen(resource, meta) => graph.seen(resource, meta),
                Told::Gone(_, meta) => graph.gone(&meta.uid),
                Told::Listed(resource, uids) => graph.listed(resource, uids),
            }
        };
        self.report(&work);
        work.delete.into_iter().for_each(|uid| self.delete.add(uid));
        work.orphan.into_iter().for_each(|uid| self.orphan.add(uid));
    }

    fn report(&self, work: &Work) {
        for (uid, owner) in &work.misplaced {
            let Some(node) = self.node(uid) else { continue };
            let object = ObjectReference {
                api_version: Some(node.resource.api_version()),
                kind: Some(node.resource.kind.clone()),
                namespace: Some(node.namespace.to_string()),
                name: Some(node.name.to_string()),
                uid: Some(uid.to_string()),
                ..ObjectReference::default()
            };
            let words = format!(
                "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace {:?}",
                owner.api_version, owner.kind, node.namespace, owner.name, owner.uid, &*node.namespace
            );
            self.recorder.event_of(object, Severity::Warning, "OwnerRefInvalidNamespace", words);
        }
    }

    fn node(&self, uid: &str) -> Option<Node> {
        self.graph.lock().get(uid).cloned()
    }

    async fn attempt_to_delete(&self, uid: &Uid) -> Result<(), SyncError> {
        let Some(node) = self.node(uid) else { return Ok(()) };
        if node.deleting && !node.foreground {
            // It is on its way; its dependents follow when it is gone.
            return Ok(());
        }
        let Some(latest) = self.get(&node.resource, &node.namespace, &node.name).await? else { return Ok(()) };
        if latest.uid != **uid {
            return Ok(());
        }
        if node.foreground {
            return self.process_dependents(uid, &node).await;
        }
        let mut states = Vec::with_capacity(latest.owner_references.len());
        for owner in &latest.owner_references {
            states.push(self.state_of(owner, &node).await?);
        }
        let (has_dependents, circle) = {
            let graph = self.graph.lock();
            let mut dependents = graph.dependents(uid).peekable();
            let has = dependents.peek().is_some();
            (has, dependents.any(|uid| graph.get(uid).is_some_and(|node| node.foreground)))
        };
        match plan::plan(&latest, &states, has_dependents) {
            Step::Stay => Ok(()),
            Step::Disown(uids) => self.disown(&node, uid, &uids).await,
            Step::Delete(policy) => {
                if policy == PropagationPolicy::Foreground && circle && states.contains(&OwnerState::Waiting) {
                    self.unblock(&node, uid).await?;
                }
                self.delete(&node, &latest, policy).await
            }
        }
    }

    /// An owner that waits for its dependents.
    async fn process_dependents(&self, uid: &Uid, node: &Node) -> Result<(), SyncError> {
        let blocking = self.graph.lock().blocking(uid);
        if blocking.is_empty() {
            return self.remove_finalizer(node, uid, FOREGROUND).await;
        }
        let graph = self.graph.lock();
        for dependent in blocking {
            if graph.get(&dependent).is_some_and(|node| !node.foreground) {
                self.delete.add(dependent);
            }
        }
        Ok(())
    }

    async fn attempt_to_orphan(&self, uid: &Uid) -> Result<(), SyncError> {
        let Some(node) = self.node(uid) else { return Ok(()) };
        let dependents: Vec<(Uid, Node)> = {
            let graph = self.graph.lock();
            graph.dependents(uid).filter_map(|uid| Some((uid.clone(), graph.get(uid)?.clone()))).collect()
        };
        for (dependent, of) in &dependents {
            self.disown(of, dependent, &[uid.to_string()]).await?;
        }
        self.remove_finalizer(&node, uid, ORPHAN).await
    }

    /// What an owner turned out to be, as the API server has it.
    async fn state_of(&self, owner: &Owner, of: &Node) -> Result<OwnerState, SyncError> {
        if self.graph.lock().is_gone(&owner.uid) {
            return Ok(OwnerState::Dangling);
        }
        let (group, _) = apimachinery::kinds::split_api_version(&owner.api_version);
        let resource = self.inventory.of_kind(group, &owner.kind).ok_or_else(|| {
            let found = self.inventory.found().error.map(|error| format!(" ({error})")).unwrap_or_default();
            SyncError::Other(format!(
                "owner {} {} of {} is of a kind that is not served{found}",
                owner.api_version, owner.kind, of.name
            ))
        })?;
        if resource.namespaced && of.namespace.is_empty() {
            // No object of the whole cluster can be owned by one in a namespace; it is left alone.
            return Ok(OwnerState::Solid);
        }
        Ok(match self.get(&resource, &of.namespace, &owner.name).await? {
            Some(found) if found.uid != owner.uid => OwnerState::Dangling,
            Some(found)
                if found.deletion_timestamp.is_some() && found.finalizers.iter().any(|one| one == FOREGROUND) =>
            {
                OwnerState::Waiting
            }
            Some(_) => OwnerState::Solid,
            None => OwnerState::Dangling,
        })
    }

    async fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Option<Meta>, SyncError> {
        let request = Request::new(resource.path(namespace)).get_metadata(name, &Default::default());
        match self.client.request::<Partial>(request.map_err(kube::Error::BuildRequest)?).await {
            Ok(object) => Ok(Some(object.metadata)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn patch(&self, node: &Node, patch: &Value) -> Result<(), SyncError> {
        let request = Request::new(node.resource.path(&node.namespace));
        let request = request.patch_metadata(&node.name, &PatchParams::default(), &Patch::Merge(patch));
        match self.client.request::<Partial>(request.map_err(kube::Error::BuildRequest)?).await {
            Err(error) if !is_gone(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Takes owners away from an object.
    async fn disown(&self, node: &Node, uid: &Uid, owners: &[String]) -> Result<(), SyncError> {
        self.change_owners(node, uid, |all| {
            all.retain(|owner| !owners.iter().any(|uid| owner.get("uid").and_then(Value::as_str) == Some(uid)));
        })
        .await
    }

    /// Lets an object's owners go without it: it is in a circle.
    async fn unblock(&self, node: &Node, uid: &Uid) -> Result<(), SyncError> {
        self.change_owners(node, uid, |all| {
            all.iter_mut().for_each(|owner| owner["blockOwnerDeletion"] = false.into());
        })
        .await
    }

    async fn change_owners(&self, node: &Node, uid: &Uid, change: impl Fn(&mut Vec<Value>)) -> Result<(), SyncError> {
        self.change_list(node, uid, "ownerReferences", change).await
    }

    async fn remove_finalizer(&self, node: &Node, uid: &Uid, finalizer: &str) -> Result<(), SyncError> {
        self.change_list(node, uid, "finalizers", |all| all.retain(|one| one.as_str() != Some(finalizer))).await
    }

    /// Reads a list of the metadata, changes it and writes it back if nobody else did meanwhile.
    async fn change_list(
        &self,
        node: &Node,
        uid: &Uid,
        field: &str,
        change: impl Fn(&mut Vec<Value>),
    ) -> Result<(), SyncError> {
        let request = Request::new(node.resource.path(&node.namespace)).get_metadata(&node.name, &Default::default());
        let object: Value = match self.client.request(request.map_err(kube::Error::BuildRequest)?).await {
            Err(error) if is_gone(&error) => return Ok(()),
            answer => answer?,
        };
        let meta = &object["metadata"];
        let before = meta[field].as_array().cloned().unwrap_or_default();
        let mut after = before.clone();
        change(&mut after);
        if meta["uid"].as_str() != Some(&**uid) || before == after {
            return Ok(());
        }
        let patch = json!({"metadata": {"uid": &**uid, "resourceVersion": meta["resourceVersion"], field: after}});
        self.patch(node, &patch).await
    }

    /// Deletes the object as it was read.
    async fn delete(&self, node: &Node, latest: &Meta, policy: PropagationPolicy) -> Result<(), SyncError> {
        let only =
            Preconditions { uid: Some(latest.uid.clone()), resource_version: Some(latest.resource_version.clone()) };
        let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() }.preconditions(only);
        let request = Request::new(node.resource.path(&node.namespace)).delete(&node.name, &params);
        match self.client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await {
            Err(error) if is_gone(&error) => Ok(()),
            // It has changed since: it is looked at again.
            Err(error) if is_conflict(&error) => Err(error.into()),
            done => Ok(done.map(|_| ())?),
        }
    }
}
