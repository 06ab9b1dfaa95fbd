//! The next step that brings a claim or a volume nearer to rest. Each is small and can be lost: the next look takes it up.

use std::{collections::BTreeMap, sync::Arc};

use apimachinery::{quantity::Quantity, selectors::LabelSelector};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{
            ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus,
            PersistentVolumeStatus,
        },
        storage::v1::StorageClass,
    },
    apimachinery::pkg::{api::resource, apis::meta::v1::Time},
};
use serde_json::json;

use crate::framework::{Severity, labels_of, parse_selector};

/// Says of a claim that it has been bound, once.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONERS: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// What is said of an object.
pub type Said = (Severity, &'static str, String);

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing more can be done; this is said.
    Rest(Option<Said>),
    /// The volume is replaced.
    Volume(Box<PersistentVolume>),
    /// The volume's status is replaced; this is said.
    VolumeStatus(Box<PersistentVolume>, Option<Said>),
    /// The claim is replaced.
    Claim(Box<PersistentVolumeClaim>),
    /// The claim's status is replaced; this is said.
    ClaimStatus(Box<PersistentVolumeClaim>, Option<Said>),
}

/// What a claim is judged by.
pub struct View<'a> {
    /// All volumes.
    pub volumes: &'a [Arc<PersistentVolume>],
    /// All storage classes.
    pub classes: &'a [Arc<StorageClass>],
    /// The pods without a node that use the claim.
    pub waiting: Vec<String>,
    /// What time it is.
    pub now: Timestamp,
}

fn annotation<'a>(meta: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
    meta.get(key).map(String::as_str)
}

fn annotations<K: kube::Resource>(object: &K) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    object.meta().annotations.as_ref().unwrap_or(&NONE)
}

fn class_of_claim(claim: &PersistentVolumeClaim) -> Option<&str> {
    let own = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(annotations(claim), OLD_CLASS).or(own)
}

fn class_of_volume(volume: &PersistentVolume) -> &str {
    let own = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(annotations(volume), OLD_CLASS).or(own).unwrap_or_default()
}

fn claim_ref(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref())
}

/// Whether a volume says that it is this claim's.
fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim_ref(volume).is_some_and(|reference| {
        reference.name == claim.metadata.name
            && reference.namespace == claim.metadata.namespace
            && reference.uid.as_ref().is_none_or(|uid| uid.is_empty() || Some(uid) == claim.metadata.uid.as_ref())
    })
}

fn quantity(map: Option<&BTreeMap<String, resource::Quantity>>) -> Quantity {
    map.and_then(|map| map.get("storage"))
        .and_then(|amount| Quantity::from_json(&json!(amount)).ok())
        .unwrap_or_else(Quantity::zero)
}

fn capacity(volume: &PersistentVolume) -> Quantity {
    quantity(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()))
}

fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    quantity(
        claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()).and_then(|resources| resources.requests.as_ref()),
    )
}

fn phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn mode(mode: Option<&String>) -> &str {
    mode.map_or("Filesystem", String::as_str)
}

/// Why a volume cannot be a claim's; `None` when it can.
fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<&'static str> {
    let (have, want) = (volume.spec.as_ref()?, claim.spec.as_ref()?);
    let modes = have.access_modes.as_deref().unwrap_or_default();
    if capacity(volume) < requested(claim) {
        Some("requested PV is too small")
    } else if class_of_volume(volume) != class_of_claim(claim).unwrap_or_default() {
        Some("storageClassName does not match")
    } else if mode(have.volume_mode.as_ref()) != mode(want.volume_mode.as_ref()) {
        Some("incompatible volumeMode")
    } else if want.access_modes.iter().flatten().any(|mode| !modes.contains(mode)) {
        Some("incompatible accessMode")
    } else {
        None
    }
}

/// The volume for a claim: one that names it, else the smallest that is large enough.
fn best<'a>(claim: &PersistentVolumeClaim, view: &'a View<'_>, delayed: bool) -> Option<&'a Arc<PersistentVolume>> {
    let given = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let selector = given.map_or_else(LabelSelector::everything, |selector| {
        parse_selector(Some(selector)).unwrap_or_else(|_| LabelSelector::nothing())
    });
    let fits = |volume: &&Arc<PersistentVolume>| {
        volume.metadata.deletion_timestamp.is_none()
            && match mismatch(volume, claim) {
                None => true,
                // One that names the claim need not be of its class.
                Some(why) => is_for(volume, claim) && why == "storageClassName does not match",
            }
    };
    let fitting = || view.volumes.iter().filter(fits);
    if let Some(named) = fitting().find(|volume| is_for(volume, claim)) {
        return Some(named);
    }
    if delayed {
        return None;
    }
    fitting()
        .filter(|volume| {
            claim_ref(volume).is_none() && phase(volume) == "Available" && selector.matches(labels_of(&***volume))
        })
        .min_by(|one, other| {
            capacity(one).cmp(&capacity(other)).then_with(|| one.metadata.name.cmp(&other.metadata.name))
        })
}

/// The next step of a claim.
pub fn claim(claim: &PersistentVolumeClaim, view: &View<'_>) -> Step {
    let spec = claim.spec.clone().unwrap_or_default();
    let name = spec.volume_name.as_deref().unwrap_or_default();
    let volume = view.volumes.iter().find(|volume| volume.metadata.name.as_deref() == Some(name));
    if annotations(claim).contains_key(BIND_COMPLETED) {
        return match volume {
            _ if name.is_empty() => lost(
                claim,
                "ClaimLost",
                "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
            ),
            None => lost(claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"),
            Some(volume) if claim_ref(volume).is_none() || is_for(volume, claim) => bind(claim, volume, view.now),
            Some(_) => {
                lost(claim, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
            }
        };
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Step::Rest(None);
    }
    if name.is_empty() {
        return unbound(claim, view);
    }
    match volume {
        None => pending(claim, None),
        Some(volume) if is_for(volume, claim) => bind(claim, volume, view.now),
        Some(volume) if claim_ref(volume).is_some() => pending(
            claim,
            Some((Severity::Warning, "FailedBinding", format!("volume {name:?} already bound to a different claim."))),
        ),
        Some(volume) => match mismatch(volume, claim) {
            None => bind(claim, volume, view.now),
            Some(why) => {
                let words = format!("Cannot bind to requested volume {name:?}: {why}");
                pending(claim, Some((Severity::Warning, "VolumeMismatch", words)))
            }
        },
    }
}

fn unbound(claim: &PersistentVolumeClaim, view: &View<'_>) -> Step {
    let find = |name: &str| view.classes.iter().find(|class| class.metadata.name.as_deref() == Some(name));
    let named = class_of_claim(claim);
    let class = named.and_then(find);
    let waits = class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    if let Some(volume) = best(claim, view, waits) {
        return bind(claim, volume, view.now);
    }
    if named.is_none()
        && let Some(default) = default_class(view.classes)
    {
        let mut claim = claim.clone();
        claim.spec.get_or_insert_default().storage_class_name = default.metadata.name.clone();
        return Step::Claim(Box::new(claim));
    }
    let warn = |words: String| Some((Severity::Warning, "ProvisioningFailed", words));
    let said = match named.unwrap_or_default() {
        _ if waits && !annotations(claim).contains_key(SELECTED_NODE) => Some(match view.waiting.as_slice() {
            [] => (
                Severity::Normal,
                "WaitForFirstConsumer",
                "waiting for first consumer to be created before binding".to_owned(),
            ),
            [pod] => (Severity::Normal, "WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
            pods => (
                Severity::Normal,
                "WaitForPodScheduled",
                format!("waiting for pods {} to be scheduled", pods.join(",")),
            ),
        }),
        "" => Some((
            Severity::Normal,
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set".to_owned(),
        )),
        name => match class {
            None => warn(format!("storageclass.storage.k8s.io {name:?} not found")),
            Some(class) if class.provisioner.starts_with("kubernetes.io/") => {
                warn("no volume plugin matched".to_owned())
            }
            Some(class) => {
                if PROVISIONERS.iter().any(|key| annotation(annotations(claim), key) != Some(&class.provisioner)) {
                    let mut claim = claim.clone();
                    let all = claim.metadata.annotations.get_or_insert_default();
                    all.extend(PROVISIONERS.map(|key| (key.to_owned(), class.provisioner.clone())));
                    return Step::Claim(Box::new(claim));
                }
                let words = format!(
                    "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system \
                     administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.",
                    class.provisioner
                );
                Some((Severity::Normal, "ExternalProvisioning", words))
            }
        },
    };
    pending(claim, said)
}

/// The class of claims that name none: the newest that says so.
fn default_class(classes: &[Arc<StorageClass>]) -> Option<&Arc<StorageClass>> {
    let says = |class: &&Arc<StorageClass>| annotation(annotations(&***class), DEFAULT_CLASS) == Some("true");
    classes.iter().filter(says).max_by_key(|class| {
        (class.metadata.creation_timestamp.as_ref().map(|time| time.0), std::cmp::Reverse(class.metadata.name.clone()))
    })
}

fn claim_phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn pending(claim: &PersistentVolumeClaim, said: Option<Said>) -> Step {
    if claim_phase(claim) == "Pending" {
        return Step::Rest(said);
    }
    let status =
        PersistentVolumeClaimStatus { phase: Some("Pending".to_owned()), ..claim.status.clone().unwrap_or_default() };
    Step::ClaimStatus(Box::new(PersistentVolumeClaim { status: Some(status), ..claim.clone() }), None)
}

fn lost(claim: &PersistentVolumeClaim, reason: &'static str, words: &str) -> Step {
    if claim_phase(claim) == "Lost" {
        return Step::Rest(None);
    }
    let status =
        PersistentVolumeClaimStatus { phase: Some("Lost".to_owned()), ..PersistentVolumeClaimStatus::default() };
    let claim = PersistentVolumeClaim { status: Some(status), ..claim.clone() };
    Step::ClaimStatus(Box::new(claim), Some((Severity::Warning, reason, words.to_owned())))
}

/// The next step by which a volume and a claim become each other's: the volume first, since it can have one claim alone.
fn bind(claim: &PersistentVolumeClaim, volume: &PersistentVolume, now: Timestamp) -> Step {
    let reference = claim_ref(volume);
    if reference.and_then(|reference| reference.uid.as_ref()) != claim.metadata.uid.as_ref() {
        let mut bound = volume.clone();
        if !is_for(volume, claim) {
            bound.metadata.annotations.get_or_insert_default().insert(BY_CONTROLLER.to_owned(), "yes".to_owned());
        }
        bound.spec.get_or_insert_default().claim_ref =
            Some(ObjectReference { field_path: None, ..crate::framework::reference(claim) });
        return Step::Volume(Box::new(bound));
    }
    if phase(volume) != "Bound" {
        return volume_phase(volume, "Bound", None, now);
    }
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_ref()) == volume.metadata.name.as_ref();
    if !named || !annotations(claim).contains_key(BIND_COMPLETED) {
        let mut bound = claim.clone();
        let all = bound.metadata.annotations.get_or_insert_default();
        all.insert(BIND_COMPLETED.to_owned(), "yes".to_owned());
        if !named {
            all.insert(BY_CONTROLLER.to_owned(), "yes".to_owned());
            bound.spec.get_or_insert_default().volume_name.clone_from(&volume.metadata.name);
        }
        return Step::Claim(Box::new(bound));
    }
    if claim_phase(claim) == "Bound" {
        return Step::Rest(None);
    }
    let spec = volume.spec.clone().unwrap_or_default();
    let status = PersistentVolumeClaimStatus {
        phase: Some("Bound".to_owned()),
        access_modes: spec.access_modes,
        capacity: spec.capacity.map(|capacity| capacity.into_iter().filter(|(name, _)| name == "storage").collect()),
        ..claim.status.clone().unwrap_or_default()
    };
    Step::ClaimStatus(Box::new(PersistentVolumeClaim { status: Some(status), ..claim.clone() }), None)
}

fn volume_phase(volume: &PersistentVolume, phase: &str, message: Option<String>, now: Timestamp) -> Step {
    let status = PersistentVolumeStatus {
        phase: Some(phase.to_owned()),
        message,
        last_phase_transition_time: Some(Time(now)),
        reason: None,
    };
    Step::VolumeStatus(Box::new(PersistentVolume { status: Some(status), ..volume.clone() }), None)
}

/// The next step of a volume; `claim` is what has the name of the claim that it names.
pub fn volume(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>, now: Timestamp) -> Step {
    let to = |wanted: &str| {
        if phase(volume) == wanted { Step::Rest(None) } else { volume_phase(volume, wanted, None, now) }
    };
    let Some(reference) = claim_ref(volume) else { return to("Available") };
    let Some(uid) = reference.uid.as_ref().filter(|uid| !uid.is_empty()) else { return to("Available") };
    let Some(claim) = claim.filter(|claim| claim.metadata.uid.as_ref() == Some(uid)) else {
        return released(volume, now);
    };
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
    if named.is_empty() {
        // The claim's own turn binds it.
        return Step::Rest(None);
    }
    if Some(named) == volume.metadata.name.as_deref() {
        return to("Bound");
    }
    // The claim has another volume.
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    if annotations(volume).contains_key(PROVISIONED_BY) && policy == Some("Delete") {
        return released(volume, now);
    }
    let mut free = volume.clone();
    let ours = free.metadata.annotations.as_mut().and_then(|all| all.remove(BY_CONTROLLER)).is_some();
    let spec = free.spec.get_or_insert_default();
    if ours {
        spec.claim_ref = None;
    } else if let Some(reference) = &mut spec.claim_ref {
        // Somebody meant it for a claim of that name.
        reference.uid = None;
        reference.resource_version = None;
    }
    Step::Volume(Box::new(free))
}

/// What becomes of a volume whose claim is gone.
fn released(volume: &PersistentVolume, now: Timestamp) -> Step {
    if !matches!(phase(volume), "Released" | "Failed") {
        return volume_phase(volume, "Released", None, now);
    }
    let spec = volume.spec.clone().unwrap_or_default();
    let provisioner = annotation(annotations(volume), PROVISIONED_BY);
    let why = match spec.persistent_volume_reclaim_policy.as_deref() {
        // Whoever made it deletes it.
        Some("Delete") if provisioner.is_some_and(|name| !name.starts_with("kubernetes.io/")) => {
            return Step::Rest(None);
        }
        Some("Delete") => match &spec.host_path {
            Some(source) => format!("host_path deleter only supports /tmp/.+ but received provided {}", source.path),
            None => {
                let name = volume.metadata.name.as_deref().unwrap_or_default();
                format!("error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched")
            }
        },
        Some("Recycle") => "No recycler plugin found for the volume!".to_owned(),
        _ => return Step::Rest(None),
    };
    if phase(volume) == "Failed" {
        return Step::Rest(None);
    }
    let reason = if spec.persistent_volume_reclaim_policy.as_deref() == Some("Recycle") {
        "VolumeFailedRecycle"
    } else {
        "VolumeFailedDelete"
    };
    match volume_phase(volume, "Failed", Some(why.clone()), now) {
        Step::VolumeStatus(volume, _) => Step::VolumeStatus(volume, Some((Severity::Warning, reason, why))),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().expect("a moment")
    }

    fn pv(name: &str, size: &str, class: &str) -> PersistentVolume {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": {"phase": "Available"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "storageClassName": class, "hostPath": {"path": "/x"},
            "persistentVolumeReclaimPolicy": "Retain"}}))
        .expect("a volume")
    }

    fn pvc(spec: Value) -> PersistentVolumeClaim {
        serde_json::from_value(
            json!({"metadata": {"name": "c", "namespace": "n", "uid": "1", "resourceVersion": "5"}, "spec": spec}),
        )
        .expect("a claim")
    }

    fn asking(size: &str, class: Value) -> PersistentVolumeClaim {
        pvc(
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, "storageClassName": class}),
        )
    }

    /// Takes steps until there are none, as the controller does; what was said on the way.
    fn settle(
        claim_: &mut Option<PersistentVolumeClaim>,
        volumes: &mut Vec<Arc<PersistentVolume>>,
        classes: &[Arc<StorageClass>],
    ) -> Vec<&'static str> {
        let mut reasons = Vec::new();
        let put = |volumes: &mut Vec<Arc<PersistentVolume>>, volume: Box<PersistentVolume>| {
            let at = volumes.iter().position(|one| one.metadata.name == volume.metadata.name).expect("it is there");
            volumes[at] = Arc::new(*volume);
        };
        for _ in 0..20 {
            let mut moved = false;
            let mut steps: Vec<Step> = volumes
                .iter()
                .map(|one| volume(one, claim_.as_ref(), now()))
                .filter(|step| !matches!(step, Step::Rest(_)))
                .take(1)
                .collect();
            if let (Some(one), true) = (&*claim_, steps.is_empty()) {
                let view = View { volumes, classes, waiting: Vec::new(), now: now() };
                steps.push(claim(one, &view));
            }
            for step in steps {
                let said = match step {
                    Step::Rest(said) => said,
                    Step::Volume(volume) => {
                        moved = true;
                        put(volumes, volume);
                        None
                    }
                    Step::VolumeStatus(volume, said) => {
                        moved = true;
                        put(volumes, volume);
                        said
                    }
                    Step::Claim(changed) => {
                        moved = true;
                        *claim_ = Some(*changed);
                        None
                    }
                    Step::ClaimStatus(changed, said) => {
                        moved = true;
                        *claim_ = Some(*changed);
                        said
                    }
                };
                reasons.extend(said.map(|(_, reason, _)| reason));
            }
            if !moved {
                return reasons;
            }
        }
        panic!("it does not come to rest");
    }

    #[test]
    fn a_claim_gets_the_smallest_volume_that_is_large_enough_and_lets_it_go() {
        let mut volumes: Vec<_> =
            [pv("big", "9Gi", "s"), pv("small", "500Mi", "s"), pv("right", "2Gi", "s"), pv("other", "1Gi", "t")]
                .map(Arc::new)
                .to_vec();
        let mut claim = Some(asking("1Gi", json!("s")));
        assert_eq!(settle(&mut claim, &mut volumes, &[]), Vec::<&str>::new());
        let bound = json!(claim);
        assert_eq!(bound["spec"]["volumeName"], "right");
        assert_eq!(bound["metadata"]["annotations"], json!({BIND_COMPLETED: "yes", BY_CONTROLLER: "yes"}));
        assert_eq!(
            bound["status"],
            json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}})
        );
        let volume = json!(volumes[2]);
        assert_eq!((&volume["status"]["phase"], &volume["spec"]["claimRef"]["uid"]), (&json!("Bound"), &json!("1")));
        let mut gone = None;
        settle(&mut gone, &mut volumes, &[]);
        assert_eq!(
            volumes.iter().map(|volume| phase(volume)).collect::<Vec<_>>(),
            ["Available", "Available", "Released", "Available"]
        );
    }

    #[test]
    fn a_claim_without_a_volume_says_what_it_waits_for() {
        let class = |name: &str, provisioner: &str, mode: &str, default: &str| -> Arc<StorageClass> {
            let meta = json!({"name": name, "annotations": {DEFAULT_CLASS: default}});
            Arc::new(
                serde_json::from_value(
                    json!({"metadata": meta, "provisioner": provisioner, "volumeBindingMode": mode}),
                )
                .expect("a class"),
            )
        };
        let later = class("later", "a.test/p", "WaitForFirstConsumer", "false");
        let now = class("now", "a.test/p", "Immediate", "true");
        let cases = [
            (asking("1Gi", json!("")), vec![], "FailedBinding"),
            (asking("1Gi", json!("none")), vec![], "ProvisioningFailed"),
            (asking("1Gi", json!("later")), vec![later.clone()], "WaitForFirstConsumer"),
            (asking("1Gi", Value::Null), vec![later, now], "ExternalProvisioning"),
        ];
        for (claim, classes, reason) in cases {
            let mut claim = Some(claim);
            assert_eq!(settle(&mut claim, &mut Vec::new(), &classes), [reason]);
            assert_eq!(claim_phase(&claim.expect("a claim")), "Pending");
        }
    }

    #[test]
    fn a_volume_can_be_meant_for_a_claim_and_a_claim_for_a_volume() {
        let mut meant = pv("meant", "1Gi", "");
        meant.spec.as_mut().expect("a spec").claim_ref =
            Some(ObjectReference { name: Some("c".into()), namespace: Some("n".into()), ..Default::default() });
        let mut volumes = vec![Arc::new(meant), Arc::new(pv("free", "1Gi", ""))];
        let mut claim = Some(asking("1Gi", json!("")));
        settle(&mut claim, &mut volumes, &[]);
        assert_eq!(json!(claim)["spec"]["volumeName"], "meant");
        assert!(!annotations(&*volumes[0]).contains_key(BY_CONTROLLER));
        let mut second = asking("2Gi", json!(""));
        second.metadata.uid = Some("2".into());
        second.metadata.name = Some("d".into());
        second.spec.as_mut().expect("a spec").volume_name = Some("free".into());
        let view = View { volumes: &volumes, classes: &[], waiting: Vec::new(), now: now() };
        let said = pending(&second, None);
        assert!(matches!(said, Step::ClaimStatus(..)));
        second.status = Some(PersistentVolumeClaimStatus { phase: Some("Pending".into()), ..Default::default() });
        let Step::Rest(Some((_, reason, words))) = super::claim(&second, &view) else { panic!("it is too small") };
        assert_eq!(
            (reason, words.as_str()),
            ("VolumeMismatch", "Cannot bind to requested volume \"free\": requested PV is too small")
        );
    }

    #[test]
    fn a_claim_whose_volume_went_is_lost_and_a_volume_that_nobody_deletes_has_failed() {
        let mut volumes = vec![Arc::new(pv("v", "1Gi", ""))];
        let mut claim = Some(asking("1Gi", json!("")));
        settle(&mut claim, &mut volumes, &[]);
        assert_eq!(settle(&mut claim, &mut Vec::new(), &[]), ["ClaimLost"]);
        let mut volume = PersistentVolume::clone(&volumes[0]);
        volume.spec.as_mut().expect("a spec").persistent_volume_reclaim_policy = Some("Delete".into());
        let mut volumes = vec![Arc::new(volume)];
        assert_eq!(settle(&mut None, &mut volumes, &[]), ["VolumeFailedDelete"]);
        assert_eq!(phase(&volumes[0]), "Failed");
    }
}
