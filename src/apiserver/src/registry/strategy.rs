//! What sets one resource's behaviour apart from another's, beyond its fields: one fact a function.

/// Where a resource's objects are stored: its own group, or that of the resource whose other face it is.
pub fn storage_of<'a>(group: &'a str, resource: &'a str) -> (&'a str, &'a str) {
    match (group, resource) {
        ("events.k8s.io", "events") => ("", "events"),
        other => other,
    }
}

/// The version in which clients are told that a resource is stored.
pub fn storage_version<'a>(group: &str, resource: &str, served: &'a str) -> &'a str {
    match (group, resource) {
        ("autoscaling", "horizontalpodautoscalers") => "v2",
        // Kubernetes keeps these in older versions, so that an older server can still read them.
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies" | "mutatingadmissionpolicybindings")
        | ("apiextensions.k8s.io", "customresourcedefinitions") => "v1beta1",
        _ => served,
    }
}

/// Whether a deletion answers with the object that is gone, and not with a `Status`.
pub fn returns_deleted(group: &str, resource: &str) -> bool {
    matches!(
        (group, resource),
        (
            "",
            "pods"
                | "podtemplates"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "resourcequotas"
                | "services"
                | "serviceaccounts"
        ) | (
            "storage.k8s.io",
            "storageclasses" | "volumeattachments" | "csinodes" | "csidrivers" | "volumeattributesclasses"
        )
    )
}

/// Whether an update of an object that does not exist creates it.
pub fn creates_on_update(group: &str, resource: &str) -> bool {
    matches!(
        (group, resource),
        ("", "endpoints" | "events" | "limitranges" | "podtemplates")
            | ("events.k8s.io", "events")
            | ("coordination.k8s.io", "leases")
            | ("rbac.authorization.k8s.io", _)
    )
}

/// Whether an update may leave out the `resourceVersion`.
pub fn allows_unconditional_update(group: &str, resource: &str) -> bool {
    !matches!(
        (group, resource),
        ("coordination.k8s.io", "leases")
            | ("apiextensions.k8s.io" | "apiregistration.k8s.io" | "admissionregistration.k8s.io", _)
            | ("storage.k8s.io", "csidrivers" | "csinodes" | "volumeattachments")
            | ("node.k8s.io", "runtimeclasses")
            | ("networking.k8s.io", "ipaddresses" | "servicecidrs")
    )
}

/// Whether a deletion without a propagation policy leaves the dependents alone.
pub fn orphans_by_default(group: &str, resource: &str) -> bool {
    matches!((group, resource), ("", "replicationcontrollers") | ("batch", "jobs"))
}

/// Whether garbage collection knows the resource's objects: events are too many to be owners.
pub fn collects_garbage(group: &str, resource: &str) -> bool {
    !matches!((group, resource), ("", "events") | ("events.k8s.io", "events"))
}

/// A warning that every request for the resource is answered with.
pub fn deprecation(group: &str, version: &str, resource: &str) -> Option<&'static str> {
    match (group, version, resource) {
        ("", "v1", "endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ("", "v1", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}
