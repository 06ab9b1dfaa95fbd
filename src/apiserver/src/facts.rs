//! How the lists and maps of built-in kinds merge: which items are told apart by which keys, and what is one value.
//!
//! In the built-in API these facts follow from a field's name and the field it lies below; where one name means two things
//! (`ports`, `addresses`), the place decides.

/// How a list merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// As a whole.
    Atomic,
    /// By values.
    Set,
    /// By items: the key of strategic merge patches, and the keys by which ownership is kept.
    Keyed(&'static str, &'static [&'static str]),
}

/// How the list `field` below the field `parent` of a kind merges.
pub fn list(kind: &str, parent: &str, field: &str) -> List {
    let in_container = matches!(parent, "containers" | "initContainers" | "ephemeralContainers");
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "schedulingGates"
        | "webhooks"
        | "matchConditions"
        | "resourceClaims"
        | "resourceClaimStatuses"
        | "allocatedResourcesStatus" => List::Keyed("name", &["name"]),
        "secrets" if kind == "ServiceAccount" => List::Keyed("name", &["name"]),
        "drivers" if kind == "CSINode" => List::Keyed("name", &["name"]),
        "ports" if in_container => List::Keyed("containerPort", &["containerPort", "protocol"]),
        "ports" if kind == "Service" && parent == "spec" => List::Keyed("port", &["port", "protocol"]),
        "conditions" => List::Keyed("type", &["type"]),
        "addresses" if kind == "Node" => List::Keyed("type", &["type"]),
        "volumeMounts" => List::Keyed("mountPath", &["mountPath"]),
        "volumeDevices" => List::Keyed("devicePath", &["devicePath"]),
        "topologySpreadConstraints" => List::Keyed("topologyKey", &["topologyKey", "whenUnsatisfiable"]),
        "hostAliases" | "podIPs" | "hostIPs" => List::Keyed("ip", &["ip"]),
        "ownerReferences" => List::Keyed("uid", &["uid"]),
        "finalizers" if parent == "metadata" => List::Set,
        "podCIDRs" | "volumeLifecycleModes" => List::Set,
        _ => List::Atomic,
    }
}

/// Whether the map `field` is one value.
pub fn is_atomic_map(kind: &str, field: &str) -> bool {
    matches!(
        field,
        "selector"
            | "nodeSelector"
            | "labelSelector"
            | "podSelector"
            | "namespaceSelector"
            | "objectSelector"
            | "scopeSelector"
            | "involvedObject"
            | "regarding"
            | "related"
            | "targetRef"
            | "claimRef"
            | "roleRef"
            | "configMapKeyRef"
            | "secretKeyRef"
            | "fieldRef"
            | "resourceFieldRef"
            | "secretRef"
            | "matchConstraints"
            | "matchResources"
            | "paramKind"
            | "paramRef"
            | "requiredDuringSchedulingIgnoredDuringExecution"
            | "fieldsV1"
    ) || (kind == "ControllerRevision" && field == "data")
}

/// Whether the items of a keyed list are one value each.
pub fn is_atomic_item(field: &str) -> bool {
    matches!(field, "imagePullSecrets" | "secrets" | "ownerReferences")
}
