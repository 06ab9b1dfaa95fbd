//! What pods and claims of devices need of each other. Pure.

use k8s_openapi::{
    api::{
        core::v1::{Pod, PodResourceClaim, PodResourceClaimStatus},
        resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimStatus, ResourceClaimTemplate},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    framework::{controller_of, controller_ref},
    pods,
};

/// Names, on a claim that was made for a pod, what it is called there.
const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// Keeps a claim while devices are allocated to it.
pub const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// So many may use a claim at once.
const RESERVED_MAX: usize = 256;

/// The claims that a pod names.
pub fn claims(pod: &Pod) -> &[PodResourceClaim] {
    pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_deref()).unwrap_or_default()
}

/// Whether a pod uses nothing any more: it has ended, or goes without ever having had a node.
pub fn is_done(pod: &Pod) -> bool {
    pods::is_finished(pod) || (pods::is_deleting(pod) && pods::node_name(pod).is_empty())
}

/// What is known of one of a pod's claims.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// It is there, under that name; `None` where none is needed.
    Named(Option<String>),
    /// It is to be made from the template of that name.
    Make(String),
}

/// Where a pod's claim is: `made` are the claims of its namespace.
pub fn find<'a>(
    pod: &Pod,
    claim: &PodResourceClaim,
    made: impl IntoIterator<Item = &'a ResourceClaim>,
) -> Option<Found> {
    if let Some(name) = &claim.resource_claim_name {
        return Some(Found::Named(Some(name.clone())));
    }
    let template = claim.resource_claim_template_name.as_ref()?;
    let mut statuses = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
    if let Some(status) = statuses.find(|status| status.name == claim.name) {
        return Some(Found::Named(status.resource_claim_name.clone()));
    }
    let there = made.into_iter().find(|made| {
        let called = made.metadata.annotations.as_ref().and_then(|all| all.get(POD_CLAIM));
        called == Some(&claim.name) && owner_uid(made) == pod.metadata.uid.as_deref()
    });
    Some(match there {
        Some(made) => Found::Named(made.metadata.name.clone()),
        None => Found::Make(template.clone()),
    })
}

/// The uid of the pod that a claim was made for.
pub fn owner_uid(claim: &ResourceClaim) -> Option<&str> {
    controller_of(claim)
        .filter(|owner| owner.kind == "Pod" && owner.api_version == "v1")
        .map(|owner| owner.uid.as_str())
}

/// The claim that is made for `claim` of a pod.
pub fn make(pod: &Pod, claim: &PodResourceClaim, template: &ResourceClaimTemplate) -> ResourceClaim {
    let meta = template.spec.metadata.clone().unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(POD_CLAIM.to_owned(), claim.name.clone());
    ResourceClaim {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-{}-", pod.metadata.name.as_deref().unwrap_or_default(), claim.name)),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_ref(pod)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.spec.clone(),
        status: None,
    }
}

/// What a pod's status says of its claims, with those that were found; `None` when it says so.
pub fn statuses(pod: &Pod, found: &[(String, Option<String>)]) -> Option<Vec<PodResourceClaimStatus>> {
    let present = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.clone()).unwrap_or_default();
    let mut statuses = present.clone();
    for (name, claim) in found {
        if !statuses.iter().any(|status| status.name == *name) {
            statuses.push(PodResourceClaimStatus { name: name.clone(), resource_claim_name: claim.clone() });
        }
    }
    (statuses != present).then_some(statuses)
}

/// The status of a claim that is reserved for a pod too, which came to its node without the scheduler; `None` when it is, cannot be,
/// or nothing is allocated to it yet.
pub fn reserve(claim: &ResourceClaim, pod: &Pod) -> Option<ResourceClaimStatus> {
    let mut status = claim.status.clone().filter(|status| status.allocation.is_some())?;
    let reserved = status.reserved_for.get_or_insert_default();
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    if reserved.len() >= RESERVED_MAX || reserved.iter().any(|one| one.uid == uid) {
        return None;
    }
    reserved.push(ResourceClaimConsumerReference {
        api_group: None,
        name: pod.metadata.name.clone().unwrap_or_default(),
        resource: "pods".to_owned(),
        uid,
    });
    Some(status)
}

/// What is to be done with a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// Its status is to be this.
    Status(Box<ResourceClaimStatus>),
    /// Nothing holds it any more.
    Unprotect,
    /// The pod that it was made for needs it no more.
    Delete,
}

/// Decides. `uses` says whether who has reserved it still uses it, and `needed` whether the pod that it was made for still needs it.
pub fn plan(claim: &ResourceClaim, uses: impl Fn(&ResourceClaimConsumerReference) -> bool, needed: bool) -> Step {
    let status = claim.status.clone().unwrap_or_default();
    let reserved = status.reserved_for.clone().unwrap_or_default();
    let valid: Vec<_> = reserved.iter().filter(|one| uses(one)).cloned().collect();
    let protected = claim.metadata.finalizers.iter().flatten().any(|one| one == FINALIZER);
    let deleting = claim.metadata.deletion_timestamp.is_some();
    let (free, fewer) = (valid.is_empty(), valid.len() < reserved.len());
    let release = free && protected && status.allocation.is_some() && (fewer || deleting || !needed);
    if fewer || release {
        let allocation = if release { None } else { status.allocation };
        let reserved_for = (!free).then_some(valid);
        return Step::Status(Box::new(ResourceClaimStatus { allocation, reserved_for, ..status }));
    }
    if free && protected && status.allocation.is_none() {
        return Step::Unprotect;
    }
    if free && !needed && !deleting { Step::Delete } else { Step::Stay }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        let claims =
            json!([{"name": "gpu", "resourceClaimTemplateName": "t"}, {"name": "shared", "resourceClaimName": "s"}]);
        from_value(json!({"metadata": {"name": "p", "uid": "1"}, "spec": {"containers": [], "resourceClaims": claims}, "status": status}))
            .expect("a pod")
    }

    fn claim(change: impl Fn(&mut Value)) -> ResourceClaim {
        let mut claim = json!({"metadata": {"name": "c"}, "spec": {}});
        change(&mut claim);
        from_value(claim).expect("a claim")
    }

    #[test]
    fn a_claim_is_made_once_from_its_template_and_named_in_the_status() {
        let template = from_value(json!({"metadata": {"name": "t"}, "spec": {"metadata": {"labels": {"a": "b"}},
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "d"}}]}}}}))
        .expect("a template");
        let new = pod(json!({}));
        let [gpu, shared] = claims(&new) else { panic!("two claims") };
        assert_eq!(find(&new, shared, []), Some(Found::Named(Some("s".to_owned()))));
        assert_eq!(find(&new, gpu, []), Some(Found::Make("t".to_owned())));
        let mut made = make(&new, gpu, &template);
        assert_eq!(made.metadata.generate_name.as_deref(), Some("p-gpu-"));
        assert_eq!(made.metadata.annotations.as_ref().map(|all| all[POD_CLAIM].as_str()), Some("gpu"));
        made.metadata.name = Some("p-gpu-x".to_owned());
        let named = Found::Named(Some("p-gpu-x".to_owned()));
        assert_eq!(find(&new, gpu, [&made]), Some(named.clone()), "its answer was lost, or the status not yet written");
        let found = [("gpu".to_owned(), made.metadata.name.clone())];
        let told = statuses(&new, &found).expect("it does not say so yet");
        let known = pod(json!({"resourceClaimStatuses": told}));
        assert_eq!(statuses(&known, &found), None);
        assert_eq!(find(&known, gpu, []), Some(named));
    }

    #[test]
    fn who_has_ended_reserves_nothing_and_the_last_lets_the_devices_go() {
        let by = |uid: &str| json!({"resource": "pods", "name": uid, "uid": uid});
        let reserved = |uids: &[&str]| {
            claim(|claim| {
                claim["metadata"]["finalizers"] = json!([FINALIZER]);
                claim["status"] =
                    json!({"allocation": {}, "reservedFor": uids.iter().map(|uid| by(uid)).collect::<Vec<_>>()});
            })
        };
        let lives = |one: &ResourceClaimConsumerReference| one.uid == "lives";
        assert_eq!(plan(&reserved(&["lives"]), lives, true), Step::Stay);
        let Step::Status(status) = plan(&reserved(&["lives", "ended"]), lives, true) else { panic!("fewer") };
        assert_eq!(json!(status), json!({"allocation": {}, "reservedFor": [by("lives")]}));
        let Step::Status(status) = plan(&reserved(&["ended"]), lives, true) else { panic!("none") };
        assert_eq!(json!(status), json!({}));
        assert_eq!(plan(&reserved(&[]), lives, true), Step::Stay, "who allocated it may be about to reserve it");
        let released = claim(|claim| claim["metadata"]["finalizers"] = json!([FINALIZER]));
        assert_eq!(plan(&released, lives, true), Step::Unprotect);
        assert_eq!(plan(&claim(|_| ()), lives, true), Step::Stay);
        assert_eq!(plan(&claim(|_| ()), lives, false), Step::Delete);
    }

    #[test]
    fn a_pod_that_was_put_on_a_node_reserves_what_is_allocated() {
        let allocated = claim(|claim| claim["status"] = json!({"allocation": {}}));
        let status = reserve(&allocated, &pod(json!({}))).expect("it is not yet reserved");
        assert_eq!(json!(status.reserved_for), json!([{"resource": "pods", "name": "p", "uid": "1"}]));
        assert_eq!(reserve(&ResourceClaim { status: Some(status), ..allocated }, &pod(json!({}))), None);
        assert_eq!(reserve(&claim(|_| ()), &pod(json!({}))), None);
    }
}
