//! The persistent volume binder: brings claims and volumes together, and says what becomes of a volume whose claim is gone.
//!
//! It deletes no data: that is for whoever provisioned a volume.

pub mod plan;

use std::sync::Arc;

use component_base::SharedClock;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use kube::ResourceExt;

use self::plan::{BIND_COMPLETED, Said, Step, View};
use crate::{
    framework::{Context, Informer, Key, Objects, Outcome, Queue, Recorder, SyncError, is_gone, spawn_workers},
    pods,
    pvcprotection::{BY_CLAIM, index_by_claim},
};

const NAME: &str = "persistent-volume-binder";
const COMPONENT: &str = "persistentvolume-controller";
/// More steps than any way to rest has.
const STEPS_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Work {
    Volume(Key),
    Claim(Key),
}

struct Binder {
    volumes: Objects<PersistentVolume>,
    claims: Objects<PersistentVolumeClaim>,
    classes: Informer<StorageClass>,
    pods: Informer<Pod>,
    recorder: Recorder,
    clock: SharedClock,
}

/// Starts it.
pub fn start(context: &Context) {
    let (client, recorder) = context.identity(NAME);
    let (volumes, claims) =
        (context.informers.of::<PersistentVolume>(), context.informers.of::<PersistentVolumeClaim>());
    let (classes, pods) = (context.informers.of::<StorageClass>(), context.informers.of::<Pod>());
    index_by_claim(&pods);
    let queue = Queue::new(context.clock.clone());
    let (of_volume, all) = (queue.clone(), claims.clone());
    volumes.on_change(move |change| {
        of_volume.add(Work::Volume(Key::of(&**change.object())));
        // It may be what others wait for.
        for claim in all.list() {
            let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_ref());
            if !claim.annotations().contains_key(BIND_COMPLETED) || named == change.object().metadata.name.as_ref() {
                of_volume.add(Work::Claim(Key::of(&*claim)));
            }
        }
    });
    let (of_claim, all) = (queue.clone(), volumes.clone());
    claims.on_change(move |change| {
        let key = Key::of(&**change.object());
        for volume in all.list() {
            let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            if reference.is_some_and(|claim| {
                claim.name.as_deref() == Some(&key.name) && claim.namespace.as_deref() == Some(&key.namespace)
            }) {
                of_claim.add(Work::Volume(Key::of(&*volume)));
            }
        }
        of_claim.add(Work::Claim(key));
    });
    let (of_class, all) = (queue.clone(), claims.clone());
    classes.on_change(move |_| {
        let waiting = all.list();
        let waiting = waiting.iter().filter(|claim| !claim.annotations().contains_key(BIND_COMPLETED));
        waiting.for_each(|claim| of_class.add(Work::Claim(Key::of(&**claim))));
    });
    let binder = Arc::new(Binder {
        volumes: Objects::new(client.clone(), volumes, context.clock.clone()),
        claims: Objects::new(client, claims, context.clock.clone()),
        classes,
        pods,
        recorder,
        clock: context.clock.clone(),
    });
    // One worker: two could give one volume to two claims.
    spawn_workers(context, COMPONENT, 1, &queue, move |work| {
        let binder = binder.clone();
        async move {
            for _ in 0..STEPS_MAX {
                if !binder.step(&work).await? {
                    return Ok(Outcome::Done);
                }
            }
            Err(SyncError::Other("it does not come to rest; somebody else keeps changing it".to_owned()))
        }
    });
}

impl Binder {
    /// Takes the next step; whether there may be another.
    async fn step(&self, work: &Work) -> Result<bool, SyncError> {
        let now = self.clock.now();
        let step = match work {
            Work::Volume(key) => {
                let Some(volume) = self.volumes.cache().get(key) else { return Ok(false) };
                let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
                let key = reference.map(|claim| {
                    Key::new(claim.namespace.as_deref().unwrap_or_default(), claim.name.as_deref().unwrap_or_default())
                });
                let claim = key.and_then(|key| self.claims.cache().get(&key));
                plan::volume(&volume, claim.as_deref(), now)
            }
            Work::Claim(key) => {
                let Some(claim) = self.claims.cache().get(key) else { return Ok(false) };
                let users = self.pods.by_index(BY_CLAIM, &key.to_string());
                let waiting = users.iter().filter(|pod| pods::node_name(pod).is_empty() && pods::is_active(pod));
                let (volumes, classes) = (self.volumes.cache().list(), self.classes.list());
                let waiting = waiting.map(|pod| pod.name_any()).collect();
                plan::claim(&claim, &View { volumes: &volumes, classes: &classes, waiting, now })
            }
        };
        let done = match &step {
            Step::Rest(_) => Ok(()),
            Step::Volume(volume) => self.volumes.replace(volume).await.map(|_| ()),
            Step::VolumeStatus(volume, _) => self.volumes.replace_status(volume).await.map(|_| ()),
            Step::Claim(claim) => self.claims.replace(claim).await.map(|_| ()),
            Step::ClaimStatus(claim, _) => self.claims.replace_status(claim).await.map(|_| ()),
        };
        match done {
            Err(error) if is_gone(&error) => return Ok(false),
            done => done?,
        }
        if let Step::Rest(Some(said)) | Step::VolumeStatus(_, Some(said)) | Step::ClaimStatus(_, Some(said)) = &step {
            self.say(work, said);
        }
        Ok(!matches!(step, Step::Rest(_)))
    }

    fn say(&self, work: &Work, (severity, reason, words): &Said) {
        match work {
            Work::Volume(key) => {
                if let Some(volume) = self.volumes.cache().get(key) {
                    self.recorder.event(&*volume, *severity, reason, words.as_str());
                }
            }
            Work::Claim(key) => {
                if let Some(claim) = self.claims.cache().get(key) {
                    self.recorder.event(&*claim, *severity, reason, words.as_str());
                }
            }
        }
    }
}
