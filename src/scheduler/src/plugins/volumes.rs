//! `VolumeBinding`, `VolumeRestrictions`, `VolumeZone` and `NodeVolumeLimits`: a pod goes where its volumes are, or can be.
//!
//! A claim that waits for its first consumer is bound when the pod's node is decided: to a volume that fits there, or to one
//! that the provisioner makes when it is told the node.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use apimachinery::quantity::Quantity as Amount;
use k8s_openapi::{
    api::{
        core::v1::{PersistentVolume, PersistentVolumeClaim},
        storage::v1::{CSINode, StorageClass},
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::ResourceExt;

use super::Refusal;
use crate::{
    cache::NodeInfo,
    framework::Cycle,
    labels::{node_matches, selects},
    pod::PodInfo,
};

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// Labels of a volume that say in which zones it can be used.
const ZONES: [&str; 4] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];

/// Claims, volumes and classes, as the scheduler sees them.
#[derive(Debug, Default)]
pub struct Volumes {
    /// Claims by namespace and name.
    pub claims: HashMap<(String, String), PersistentVolumeClaim>,
    /// Volumes by name, in the order in which they are tried.
    pub volumes: BTreeMap<String, PersistentVolume>,
    /// Classes by name.
    pub classes: HashMap<String, StorageClass>,
    /// What nodes say of their drivers.
    pub csi_nodes: HashMap<String, CSINode>,
}

/// What has to be done before a pod can be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// This volume is for this claim.
    Bind {
        /// The volume.
        volume: String,
        /// The claim.
        claim: String,
    },
    /// The provisioner is told the node.
    Provision {
        /// The claim.
        claim: String,
    },
}

impl Volumes {
    fn claim(&self, namespace: &str, name: &str) -> Option<&PersistentVolumeClaim> {
        self.claims.get(&(namespace.to_owned(), name.to_owned()))
    }

    fn class_of(&self, claim: &PersistentVolumeClaim) -> Option<&StorageClass> {
        self.classes.get(class_name(claim)?)
    }

    fn waits(&self, claim: &PersistentVolumeClaim) -> bool {
        let mode = self.class_of(claim).and_then(|class| class.volume_binding_mode.as_deref());
        mode == Some("WaitForFirstConsumer")
    }

    /// Whether all claims of a pod are bound.
    pub fn all_bound(&self, pod: &PodInfo) -> bool {
        claim_names(pod).iter().all(|(name, _)| self.claim(&pod.namespace, name).is_some_and(is_bound))
    }
}

/// The claims that a pod names, and whether each is made for it.
fn claim_names(pod: &PodInfo) -> Vec<(String, bool)> {
    let volumes = pod.pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    volumes
        .iter()
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => Some((claim.claim_name.clone(), false)),
            (None, Some(_)) => Some((format!("{}-{}", pod.name, volume.name), true)),
            _ => None,
        })
        .collect()
}

fn class_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    let annotated = claim.annotations().get("volume.beta.kubernetes.io/storage-class").map(String::as_str);
    annotated.or_else(|| claim.spec.as_ref()?.storage_class_name.as_deref())
}

fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    volume_name(claim).is_some() && (claim.annotations().contains_key(BIND_COMPLETED) || phase == Some("Bound"))
}

fn modes(claim: &PersistentVolumeClaim) -> &[String] {
    claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default()
}

fn amount(quantity: Option<&Quantity>) -> Amount {
    quantity.and_then(|quantity| quantity.0.parse().ok()).unwrap_or_else(Amount::zero)
}

/// Why no node at all can take the pod.
pub fn before(pod: &PodInfo, volumes: &Volumes) -> Option<String> {
    for (name, ephemeral) in claim_names(pod) {
        let Some(claim) = volumes.claim(&pod.namespace, &name) else {
            return Some(if ephemeral {
                format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
            } else {
                format!("persistentvolumeclaim {name:?} not found")
            });
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return Some(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        let lost = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost");
        if lost {
            let volume = volume_name(claim).unwrap_or_default();
            return Some(format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"));
        }
        if ephemeral && !claim.owner_references().iter().any(|owner| owner.uid == pod.uid) {
            let (namespace, pod) = (&pod.namespace, &pod.name);
            return Some(format!(
                "PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"
            ));
        }
    }
    let unbound = claim_names(pod).into_iter().any(|(name, _)| {
        let claim = volumes.claim(&pod.namespace, &name);
        claim.is_some_and(|claim| !is_bound(claim) && !volumes.waits(claim))
    });
    unbound.then(|| "pod has unbound immediate PersistentVolumeClaims".to_owned())
}

/// Refuses while another pod has what only one may have.
pub fn restrictions(cycle: &Cycle<'_>, _node: &NodeInfo) -> Result<(), Refusal> {
    let alone: BTreeSet<String> = claim_names(cycle.pod)
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| {
            let claim = cycle.cache.volumes.claim(&cycle.pod.namespace, name);
            claim.is_some_and(|claim| modes(claim).iter().any(|mode| mode == "ReadWriteOncePod"))
        })
        .collect();
    if alone.is_empty() {
        return Ok(());
    }
    let others = cycle.nodes.iter().flat_map(|node| node.pods.values());
    let taken = others
        .filter(|other| other.namespace == cycle.pod.namespace && other.uid != cycle.pod.uid)
        .any(|other| claim_names(other).iter().any(|(name, _)| alone.contains(name)));
    if taken {
        let why = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by \
                   another pod";
        return Err(Refusal::resolvable(why));
    }
    Ok(())
}

/// Refuses nodes from which the pod's volumes are not reached, or where those that it waits for cannot be.
pub fn binding(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    plan(cycle, node).map(drop)
}

/// What has to be done so that the pod's volumes are usable on `node`.
///
/// # Errors
/// Why they cannot be.
pub fn plan(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<Vec<Step>, Refusal> {
    let volumes = &cycle.cache.volumes;
    let mut steps = Vec::new();
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    let mut reasons = Vec::new();
    for (name, _) in claim_names(cycle.pod) {
        let Some(claim) = volumes.claim(&cycle.pod.namespace, &name) else { continue };
        if is_bound(claim) {
            let Some(volume) = volume_name(claim).and_then(|volume| volumes.volumes.get(volume)) else {
                let why = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
                return Err(Refusal::unresolvable(why));
            };
            if !reaches(volume, node) {
                reasons.push("node(s) didn't match PersistentVolume's node affinity");
            }
            continue;
        }
        match find(volumes, claim, node, &taken) {
            Some(volume) => {
                taken.insert(volume);
                steps.push(Step::Bind { volume: volume.to_owned(), claim: name });
            }
            None if can_provision(volumes.class_of(claim), node) => steps.push(Step::Provision { claim: name }),
            None => reasons.push("node(s) didn't find available persistent volumes to bind"),
        }
    }
    if reasons.is_empty() {
        return Ok(steps);
    }
    reasons.sort_unstable();
    reasons.dedup();
    Err(Refusal { reasons: reasons.into_iter().map(str::to_owned).collect(), unresolvable: true })
}

fn reaches(volume: &PersistentVolume, node: &NodeInfo) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    affinity.is_none_or(|selector| node_matches(selector, &node.name, &node.labels))
}

/// The smallest volume that would do for a claim on a node; one that is meant for the claim before all others.
fn find<'v>(
    volumes: &'v Volumes,
    claim: &PersistentVolumeClaim,
    node: &NodeInfo,
    taken: &BTreeSet<&str>,
) -> Option<&'v str> {
    let spec = claim.spec.as_ref()?;
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let wanted = amount(requests.and_then(|requests| requests.get("storage")));
    let capacity = |volume: &PersistentVolume| {
        let spec = volume.spec.as_ref();
        amount(spec.and_then(|spec| spec.capacity.as_ref()).and_then(|capacity| capacity.get("storage")))
    };
    let meant_for = |volume: &PersistentVolume| {
        let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
        let same = reference.name.as_deref() == Some(&claim.name_any())
            && reference.namespace.as_deref() == claim.metadata.namespace.as_deref()
            && reference.uid.as_ref().is_none_or(|uid| claim.metadata.uid.as_ref() == Some(uid));
        Some(same)
    };
    let fits = |volume: &&PersistentVolume| {
        let Some(own) = volume.spec.as_ref() else { return false };
        let own_modes = own.access_modes.as_deref().unwrap_or_default();
        meant_for(volume) != Some(false)
            && !taken.contains(volume.metadata.name.as_deref().unwrap_or_default())
            && volume.metadata.deletion_timestamp.is_none()
            && own.storage_class_name.as_deref().unwrap_or_default() == class_name(claim).unwrap_or_default()
            && own.volume_mode.as_deref().unwrap_or("Filesystem") == spec.volume_mode.as_deref().unwrap_or("Filesystem")
            && modes(claim).iter().all(|mode| own_modes.contains(mode))
            && spec.selector.as_ref().is_none_or(|selector| selects(Some(selector), volume.labels()))
            && capacity(volume) >= wanted
            && reaches(volume, node)
    };
    let candidates = volumes.volumes.values().filter(fits);
    let best = candidates.min_by(|one, other| {
        (meant_for(other) == Some(true))
            .cmp(&(meant_for(one) == Some(true)))
            .then_with(|| capacity(one).cmp(&capacity(other)))
    })?;
    best.metadata.name.as_deref()
}

fn can_provision(class: Option<&StorageClass>, node: &NodeInfo) -> bool {
    let Some(class) = class.filter(|class| class.provisioner != NO_PROVISIONER) else { return false };
    let allowed = class.allowed_topologies.as_deref().unwrap_or_default();
    allowed.is_empty()
        || allowed.iter().any(|term| {
            term.match_label_expressions.iter().flatten().all(|expression| {
                node.labels.get(&expression.key).is_some_and(|value| expression.values.contains(value))
            })
        })
}

/// Refuses nodes in other zones than the pod's volumes.
pub fn zones(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    let volumes = &cycle.cache.volumes;
    let claims = claim_names(cycle.pod);
    let bound = claims.iter().filter_map(|(name, _)| volumes.claim(&cycle.pod.namespace, name));
    for volume in bound.filter_map(|claim| volumes.volumes.get(volume_name(claim)?)) {
        for (key, wanted) in volume.labels().iter().filter(|(key, _)| ZONES.contains(&key.as_str())) {
            // Several zones are written with two underscores between.
            let here = node.labels.get(key);
            if !here.is_some_and(|here| wanted.split("__").any(|zone| zone == here)) {
                return Err(Refusal::unresolvable("node(s) had no available volume zone"));
            }
        }
    }
    Ok(())
}

/// Refuses nodes whose drivers have as many volumes as they take.
pub fn limits(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    let volumes = &cycle.cache.volumes;
    let Some(csi) = volumes.csi_nodes.get(&node.name) else { return Ok(()) };
    let used_by = |pod: &PodInfo| -> Vec<(String, String)> {
        claim_names(pod)
            .iter()
            .filter_map(|(name, _)| volumes.claim(&pod.namespace, name))
            .filter_map(|claim| match volume_name(claim) {
                Some(volume) => {
                    let source = volumes.volumes.get(volume)?.spec.as_ref()?.csi.as_ref()?;
                    Some((source.driver.clone(), source.volume_handle.clone()))
                }
                // One that is yet to be made counts as well.
                None => Some((
                    volumes.class_of(claim)?.provisioner.clone(),
                    format!("{}/{}", pod.namespace, claim.name_any()),
                )),
            })
            .collect()
    };
    let wanted = used_by(cycle.pod);
    if wanted.is_empty() {
        return Ok(());
    }
    let present: BTreeSet<(String, String)> = node.pods.values().flat_map(|pod| used_by(pod)).collect();
    for driver in csi.spec.drivers.iter() {
        let Some(most) = driver.allocatable.as_ref().and_then(|allocatable| allocatable.count) else { continue };
        let of =
            |list: &mut dyn Iterator<Item = &(String, String)>| list.filter(|(name, _)| *name == driver.name).count();
        let new = of(&mut wanted.iter().filter(|volume| !present.contains(*volume)));
        let all = i64::try_from(of(&mut present.iter()) + new).unwrap_or(i64::MAX);
        if new > 0 && all > i64::from(most) {
            return Err(Refusal::resolvable("node(s) exceed max volume count"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, from_value, json};

    use super::*;
    use crate::cache::Cache;

    fn cluster(mode: &str, volumes: &[Value]) -> Cache {
        let mut cache = Cache::default();
        for name in ["a", "b"] {
            let labels = json!({"kubernetes.io/hostname": name});
            cache.set_node(&from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap());
        }
        let class = json!({"metadata": {"name": "k"}, "provisioner": NO_PROVISIONER, "volumeBindingMode": mode});
        cache.volumes.classes.insert("k".into(), from_value(class).unwrap());
        let claim = json!({"metadata": {"name": "c", "namespace": "n"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "storageClassName": "k", "resources": {"requests": {"storage": "1Gi"}}}});
        cache.volumes.claims.insert(("n".into(), "c".into()), from_value(claim).unwrap());
        for volume in volumes {
            let volume: PersistentVolume = from_value(volume.clone()).unwrap();
            cache.volumes.volumes.insert(volume.name_any(), volume);
        }
        cache
    }

    fn volume(name: &str, size: &str, host: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "k",
            "capacity": {"storage": size}, "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions":
                [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}]}}}})
    }

    fn pod() -> PodInfo {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "p"}, "spec": {"containers": [],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
        PodInfo::new(Arc::new(from_value(pod).unwrap()))
    }

    #[test]
    fn a_claim_that_waits_takes_the_smallest_volume_that_does() {
        let cache = cluster(
            "WaitForFirstConsumer",
            &[volume("big", "9Gi", "b"), volume("fit", "2Gi", "b"), volume("small", "1Mi", "b")],
        );
        let pod = pod();
        assert_eq!(before(&pod, &cache.volumes), None);
        let cycle = Cycle::new(&pod, &cache, cache.nodes().collect());
        let plan_on = |name: &str| plan(&cycle, cache.node(name).unwrap());
        assert_eq!(plan_on("b"), Ok(vec![Step::Bind { volume: "fit".into(), claim: "c".into() }]));
        assert_eq!(plan_on("a").unwrap_err().reasons, ["node(s) didn't find available persistent volumes to bind"]);
    }

    #[test]
    fn what_no_node_can_help_is_said_at_once() {
        let mut cache = cluster("Immediate", &[]);
        let pod = pod();
        let why = before(&pod, &cache.volumes);
        assert_eq!(why.as_deref(), Some("pod has unbound immediate PersistentVolumeClaims"));
        cache.volumes.claims.clear();
        assert_eq!(before(&pod, &cache.volumes).as_deref(), Some("persistentvolumeclaim \"c\" not found"));
    }

    #[test]
    fn a_bound_volume_decides_the_node() {
        let mut cache = cluster("Immediate", &[volume("v", "1Gi", "b")]);
        let claim = cache.volumes.claims.get_mut(&("n".into(), "c".into())).unwrap();
        claim.spec.as_mut().unwrap().volume_name = Some("v".into());
        claim.annotations_mut().insert(BIND_COMPLETED.into(), "yes".into());
        let pod = pod();
        let cycle = Cycle::new(&pod, &cache, cache.nodes().collect());
        assert_eq!(plan(&cycle, cache.node("b").unwrap()), Ok(Vec::new()));
        let refused = plan(&cycle, cache.node("a").unwrap()).unwrap_err();
        assert_eq!(refused.reasons, ["node(s) didn't match PersistentVolume's node affinity"]);
    }
}
