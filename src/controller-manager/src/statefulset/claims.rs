//! The claims of a StatefulSet's pods: made before the pod, owned by whom the retention policy says.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod},
};

use super::identity;
use crate::framework::{Key, Objects, Recorder, SyncError, is_conflict, message_of};

/// Makes and keeps claims.
pub struct Claims {
    /// All claims.
    pub claims: Objects<PersistentVolumeClaim>,
    /// Where it is told.
    pub recorder: Recorder,
}

impl Claims {
    /// Whether a claim of the pod with this number still belongs to an earlier pod, so that a new one has to wait.
    pub fn are_stale(&self, set: &StatefulSet, ordinal: i32, pod_uid: Option<&str>) -> bool {
        let pod_name = identity::pod_name(set, ordinal);
        let claims = identity::claims(set, ordinal);
        let there = claims.iter().filter_map(|(_, claim)| self.claims.cache().get(&Key::of(claim)));
        there.into_iter().any(|claim| identity::is_stale(&claim, &pod_name, pod_uid))
    }

    /// Makes the claims that are missing.
    pub async fn make(&self, set: &StatefulSet, ordinal: i32) -> Result<(), SyncError> {
        let (pod_name, set_name) = (identity::pod_name(set, ordinal), identity::name(set));
        for (_, claim) in identity::claims(set, ordinal) {
            let key = Key::of(&claim);
            match self.claims.cache().get(&key) {
                Some(there) if there.metadata.deletion_timestamp.is_some() => {
                    return Err(SyncError::Other(format!("pvc {} is being deleted", key.name)));
                }
                Some(_) => continue,
                None => {}
            }
            match self.claims.create(&key.namespace, &claim).await {
                Ok(_) => {
                    let text = format!("Create Claim {} Pod {pod_name} in StatefulSet {set_name} success", key.name);
                    self.recorder.normal(set, "SuccessfulCreate", text);
                }
                Err(error) if is_conflict(&error) => {}
                Err(error) => {
                    let text = format!(
                        "Create Claim {} for Pod {pod_name} in StatefulSet {set_name} failed error: {}",
                        key.name,
                        message_of(&error)
                    );
                    self.recorder.warning(set, "FailedCreate", text);
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Gives a pod's claims the owners that the retention policy says.
    pub async fn own(&self, set: &StatefulSet, ordinal: i32, pod: &Pod) -> Result<(), SyncError> {
        let wanted = identity::claim_owners(set, ordinal);
        for (_, claim) in identity::claims(set, ordinal) {
            let Some(there) = self.claims.cache().get(&Key::of(&claim)) else { continue };
            if let Some(owners) = identity::wanted_owners(&there, set, pod, wanted) {
                let mut owned = PersistentVolumeClaim::clone(&there);
                owned.metadata.owner_references = Some(owners);
                self.claims.replace(&owned).await?;
            }
        }
        Ok(())
    }
}
