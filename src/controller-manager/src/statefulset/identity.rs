//! What a StatefulSet's pod is by its number: name, labels, claims. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::Resource;

use crate::{framework::controller_ref, pods};

/// The label that has the pod's name.
pub const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// The label that has its number.
pub const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
/// The label that has the name of its revision.
pub const REVISION: &str = "controller-revision-hash";

/// The set's name.
pub fn name(set: &StatefulSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}

/// How many replicas are wanted.
pub fn replicas(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// The numbers of its replicas.
pub fn ordinals(set: &StatefulSet) -> std::ops::Range<i32> {
    let start = set.spec.as_ref().and_then(|spec| spec.ordinals.as_ref()?.start).unwrap_or_default();
    start..start.saturating_add(replicas(set))
}

/// The number in a pod's name, if the name is one of the set's.
pub fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let (parent, number) = pod.metadata.name.as_deref()?.rsplit_once('-')?;
    (parent == name(set)).then(|| number.parse().ok().filter(|number| *number >= 0))?
}

/// The revision that a pod was made from.
pub fn revision(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(REVISION)).map_or("", String::as_str)
}

/// The name of the pod with a number.
pub fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", name(set))
}

/// The labels that say who a pod is.
pub fn labels(set: &StatefulSet, ordinal: i32) -> BTreeMap<String, String> {
    BTreeMap::from([(POD_NAME.to_owned(), pod_name(set, ordinal)), (POD_INDEX.to_owned(), ordinal.to_string())])
}

/// Whether a pod's labels say who it is.
pub fn is_labelled(set: &StatefulSet, pod: &Pod, ordinal: i32) -> bool {
    let there = pod.metadata.labels.as_ref();
    labels(set, ordinal).iter().all(|(key, value)| there.and_then(|there| there.get(key)) == Some(value))
}

/// The pod with a number, from `template`.
pub fn pod(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let mut pod = pods::from_template(template, name(set), controller_ref(set));
    pod.metadata.name = Some(pod_name(set, ordinal));
    pod.metadata.namespace.clone_from(&set.metadata.namespace);
    let pod_labels = pod.metadata.labels.get_or_insert_default();
    pod_labels.extend(labels(set, ordinal));
    pod_labels.insert(REVISION.to_owned(), revision.to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(pod_name(set, ordinal));
    spec.subdomain = set.spec.as_ref().and_then(|spec| spec.service_name.clone()).filter(|name| !name.is_empty());
    let claims = claims(set, ordinal);
    let claimed = |name: &str| claims.iter().any(|(volume, _)| volume == name);
    let mut volumes: Vec<Volume> = claims
        .iter()
        .map(|(volume, claim)| Volume {
            name: volume.clone(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.metadata.name.clone().unwrap_or_default(),
                read_only: None,
            }),
            ..Volume::default()
        })
        .collect();
    volumes.extend(spec.volumes.take().into_iter().flatten().filter(|volume| !claimed(&volume.name)));
    spec.volumes = Some(volumes).filter(|volumes| !volumes.is_empty());
    pod
}

/// The claims of the pod with a number, by the names of their volumes.
pub fn claims(set: &StatefulSet, ordinal: i32) -> Vec<(String, PersistentVolumeClaim)> {
    let Some(spec) = &set.spec else { return Vec::new() };
    let claim = |template: &PersistentVolumeClaim| {
        let volume = template.metadata.name.clone().unwrap_or_default();
        let mut claim = template.clone();
        claim.metadata.name = Some(format!("{volume}-{}", pod_name(set, ordinal)));
        claim.metadata.namespace.clone_from(&set.metadata.namespace);
        let labels = claim.metadata.labels.get_or_insert_default();
        labels.extend(spec.selector.match_labels.clone().into_iter().flatten());
        claim.status = None;
        (volume, claim)
    };
    spec.volume_claim_templates.iter().flatten().map(claim).collect()
}

/// Whom the retention policy lets own a pod's claims: the set, the pod, or nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimOwners {
    /// The set: they go with it.
    pub set: bool,
    /// The pod: they go with it, since it is scaled away.
    pub pod: bool,
}

/// What the set's policy says of the claims of the pod with a number.
pub fn claim_owners(set: &StatefulSet, ordinal: i32) -> ClaimOwners {
    let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    let deletes = |when: Option<&String>| when.is_some_and(|when| when == "Delete");
    let when_deleted = deletes(policy.and_then(|policy| policy.when_deleted.as_ref()));
    let when_scaled = deletes(policy.and_then(|policy| policy.when_scaled.as_ref()));
    let condemned = when_scaled && !ordinals(set).contains(&ordinal);
    ClaimOwners { set: when_deleted && !condemned, pod: condemned }
}

/// The owners that a claim is to have, if they are not those it has.
pub fn wanted_owners(
    claim: &PersistentVolumeClaim,
    set: &StatefulSet,
    pod: &Pod,
    wanted: ClaimOwners,
) -> Option<Vec<OwnerReference>> {
    let there = claim.metadata.owner_references.clone().unwrap_or_default();
    let (set_uid, pod_uid) = (set.meta().uid.as_deref(), pod.meta().uid.as_deref());
    let is = |owner: &OwnerReference, uid: Option<&str>| Some(owner.uid.as_str()) == uid;
    // What another controls is left alone.
    if there.iter().any(|owner| owner.controller == Some(true) && !is(owner, set_uid) && !is(owner, pod_uid)) {
        return None;
    }
    let mut owners: Vec<_> = there.iter().filter(|owner| !is(owner, set_uid) && !is(owner, pod_uid)).cloned().collect();
    let reference = |uid, new: OwnerReference| there.iter().find(|owner| is(owner, uid)).cloned().unwrap_or(new);
    if wanted.set {
        owners.push(reference(set_uid, controller_ref(set)));
    }
    if wanted.pod {
        owners.push(reference(pod_uid, controller_ref(pod)));
    }
    (owners != there).then_some(owners)
}

/// Whether a claim is still owned by an earlier pod of the same name, and so is about to go.
pub fn is_stale(claim: &PersistentVolumeClaim, pod_name: &str, pod_uid: Option<&str>) -> bool {
    let owners = claim.metadata.owner_references.iter().flatten();
    let mut owners = owners.filter(|owner| owner.kind == "Pod" && owner.name == pod_name);
    owners.any(|owner| Some(owner.uid.as_str()) != pod_uid)
}
