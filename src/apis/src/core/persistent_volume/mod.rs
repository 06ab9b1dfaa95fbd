//! PersistentVolumes.

mod shape;
mod source;

pub(crate) use shape::{NODE_SELECTOR, SPEC};

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    gotext, meta,
    quantity::Quantity,
};
use serde_json::{Value, json};

use super::{claim_spec::ACCESS_MODES, pod::affinity::check_node_selector};
use crate::{
    checks, difference,
    json::{default, default_text, entries, field, has, list, map, text, with},
    kind::Kind,
    metadata,
};

const ONE_POD: &str = "ReadWriteOncePod";
const RECLAIM_POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
/// Sources that have no driver any more, since when, and what they are called in warnings.
const GONE: &[(&str, &str, &str)] = &[
    ("cephfs", "spec.cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("photonPersistentDisk", "spec.photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "spec.scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "spec.storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "spec.glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "spec.rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

pub(crate) struct PersistentVolume;

impl Kind for PersistentVolume {
    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"phase": "Pending"})
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
            default(spec, "volumeMode", "Filesystem");
            spec_defaults(spec);
        });
        with(object, "status", |status| default_text(status, "phase", "Pending"));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        check_spec(field(object, "spec"), false, &Path::new("spec"), errors);
    }

    fn validate_metadata_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if subresource == Some("status") {
            metadata::validate_change(new, old, errors);
        } else {
            metadata::validate(&|name| self.check_name(name), new, errors);
        }
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if subresource == Some("status") {
            return;
        }
        let (path, spec, before) = (Path::new("spec"), field(new, "spec"), field(old, "spec"));
        // kube-apiserver checks a changed volume twice.
        check_spec(spec, false, &path, errors);
        metadata::validate(&|name| self.check_name(name), new, errors);
        check_spec(spec, false, &path, errors);
        let (now, then) = (shape::SOURCE.show(spec), shape::SOURCE.show(before));
        if now != then {
            let changes = difference::of_json(&then, &now);
            let detail = format!("spec.persistentvolumesource is immutable after creation\n{changes}");
            errors.push(FieldError::forbidden(&path.child("persistentvolumesource"), detail));
        }
        checks::immutable(errors, &Path::new("volumeMode"), spec, before, "volumeMode");
        if has(before, "nodeAffinity") && field(spec, "nodeAffinity") != field(before, "nodeAffinity") {
            let shown = NODE_SELECTOR.show_pointer(field(field(spec, "nodeAffinity"), "required"));
            let shown = if has(spec, "nodeAffinity") { format!("{{\"Required\":{shown}}}") } else { "null".into() };
            errors.push(checks::shown(ErrorKind::Invalid, &Path::new("nodeAffinity"), &shown, checks::IMMUTABLE));
        }
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>, warnings: &mut Vec<String>) {
        const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
        const OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
        for (name, since, field) in [(CLASS, "v1.8", "storageClassName"), (OPTIONS, "v1.31", "mountOptions")] {
            if meta::annotation(object, name).is_some() {
                warnings.push(format!(
                    "metadata.annotations[{name}]: deprecated since {since}; use {field:?} attribute instead"
                ));
            }
        }
        let spec = field(object, "spec");
        if text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
            warnings.push(
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use \
                 dynamic provisioning."
                    .into(),
            );
        }
        for (name, told, since) in GONE {
            if has(spec, name) {
                warnings.push(format!("{told}: {since}"));
            }
        }
    }
}

/// Fills in the spec of a volume, also where it stands in another object.
pub(crate) fn spec_defaults(spec: &mut Value) {
    with(spec, "hostPath", |source| default(source, "type", ""));
    with(spec, "iscsi", |source| default_text(source, "iscsiInterface", "default"));
    with(spec, "rbd", |source| {
        for (name, value) in [("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")] {
            default_text(source, name, value);
        }
    });
    with(spec, "azureDisk", |source| {
        default(source, "cachingMode", "ReadWrite");
        default(source, "kind", "Shared");
        default(source, "fsType", "ext4");
        default(source, "readOnly", false);
    });
    with(spec, "scaleIO", |source| {
        default_text(source, "storageMode", "ThinProvisioned");
        default_text(source, "fsType", "xfs");
    });
}

/// What is wrong with the spec of a volume; `inline` is one that is no object of its own.
pub(crate) fn check_spec(spec: &Value, inline: bool, path: &Path, errors: &mut ErrorList) {
    const INLINE: &str = "may not be specified in the context of inline volumes";
    if inline {
        if has(spec, "claimRef") {
            errors.push(FieldError::forbidden(&path.child("claimRef"), INLINE));
        }
        if entries(spec, "capacity").next().is_some() {
            errors.push(FieldError::forbidden(&path.child("capacity"), INLINE));
        }
        if !has(spec, "csi") {
            let detail = "has to be specified in the context of inline volumes";
            errors.push(FieldError::required(&path.child("csi"), detail));
        }
    }
    check_modes(list(spec, "accessModes"), &path.child("accessModes"), errors);
    if !inline {
        check_capacity(spec, &path.child("capacity"), errors);
    }
    check_policy(spec, inline, &path.child("persistentVolumeReclaimPolicy"), errors);
    if has(spec, "nodeAffinity") {
        let (at, affinity) = (path.child("nodeAffinity").child("required"), field(spec, "nodeAffinity"));
        if has(affinity, "required") {
            check_node_selector(errors, &at, field(affinity, "required"));
        } else {
            errors.push(FieldError::required(&at, "must specify required node constraints"));
        }
    }
    source::check(spec, path, errors);
    let root = field(spec, "hostPath").get("path").and_then(Value::as_str).is_some_and(|place| {
        !place.is_empty() && place.starts_with('/') && place.split('/').all(|part| matches!(part, "" | "."))
    });
    if root && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(&path.child("persistentVolumeReclaimPolicy"), detail));
    }
    let (at, class) = (path.child("storageClassName"), text(spec, "storageClassName"));
    if !class.is_empty() {
        if inline {
            errors.push(FieldError::forbidden(&at, INLINE));
        } else {
            checks::dns_subdomain(errors, &at, class);
        }
    }
    if has(spec, "volumeMode") {
        let (at, mode) = (path.child("volumeMode"), text(spec, "volumeMode"));
        if !inline {
            checks::one_of(errors, &at, mode, &["Block", "Filesystem"]);
        } else if mode != "Filesystem" {
            let detail = "may not specify volumeMode other than Filesystem in the context of inline volumes";
            errors.push(FieldError::forbidden(&at, detail));
        }
    }
    if has(spec, "volumeAttributesClassName") {
        check_attributes(spec, inline, path, errors);
    }
}

fn check_attributes(spec: &Value, inline: bool, path: &Path, errors: &mut ErrorList) {
    let (at, name) = (path.child("volumeAttributesClassName"), text(spec, "volumeAttributesClassName"));
    if inline {
        errors.push(FieldError::forbidden(&at, "may not be specified in the context of inline volumes"));
        return;
    }
    if name.is_empty() {
        errors.push(FieldError::required(&at, "an empty string is disallowed"));
    } else {
        checks::dns_subdomain(errors, &at, name);
    }
    if !has(spec, "csi") {
        let detail = "has to be specified when using volumeAttributesClassName";
        errors.push(FieldError::required(&path.child("csi"), detail));
    }
}

fn check_modes(modes: &[Value], path: &Path, errors: &mut ErrorList) {
    if modes.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    for mode in modes {
        checks::one_of(errors, path, mode.as_str().unwrap_or_default(), ACCESS_MODES);
    }
    let alone = |mode: &Value| mode == ONE_POD;
    if modes.iter().any(alone) && !modes.iter().all(alone) {
        let detail = format!("may not use {ONE_POD} with other access modes");
        errors.push(FieldError::forbidden(path, detail));
    }
}

fn check_capacity(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let capacity = map(spec, "capacity").filter(|capacity| !capacity.is_empty());
    if capacity.is_none() {
        errors.push(FieldError::required(path, ""));
    }
    if capacity.is_none_or(|capacity| capacity.len() > 1 || !capacity.contains_key("storage")) {
        errors.push(FieldError::not_supported(path, field(spec, "capacity").clone(), &["storage"]));
    }
    for (name, amount) in entries(spec, "capacity") {
        let Ok(amount) = Quantity::from_json(amount) else { continue };
        let path = path.key(name);
        if amount.value() < 0 {
            errors.push(FieldError::invalid(&path, amount.value(), "must be a valid resource quantity"));
        }
        if amount.sign() <= 0 {
            errors.push(FieldError::invalid(&path, amount.to_string(), "must be greater than zero"));
        }
    }
}

fn check_policy(spec: &Value, inline: bool, path: &Path, errors: &mut ErrorList) {
    let policy = text(spec, "persistentVolumeReclaimPolicy");
    if policy.is_empty() {
        return;
    }
    if !inline {
        checks::one_of(errors, path, policy, RECLAIM_POLICIES);
    } else if policy != "Retain" {
        let detail = format!("may only be {} in the context of inline volumes", gotext::quote("Retain"));
        errors.push(FieldError::forbidden(path, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(change: impl Fn(&mut Value)) -> Value {
        let mut spec =
            json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/a"}});
        change(&mut spec);
        let mut object = json!({"metadata": {"name": "v", "resourceVersion": "1"}, "spec": spec});
        crate::set_defaults("", "v1", "PersistentVolume", &mut object);
        object
    }

    fn said(change: impl Fn(&mut Value)) -> Vec<String> {
        let errors = crate::validate_create("", "PersistentVolume", &volume(change));
        errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect()
    }

    #[test]
    fn a_volume_has_one_source_and_one_size() {
        assert!(said(|_| {}).is_empty());
        assert_eq!(said(|spec| spec["nfs"] = json!({})), ["spec.nfs: Forbidden"]);
        assert_eq!(said(|spec| spec["hostPath"] = Value::Null), ["spec: Required value"]);
        assert_eq!(said(|spec| spec["capacity"] = json!({"storage": "0"})), ["spec.capacity[storage]: Invalid value"]);
        assert_eq!(said(|spec| spec["hostPath"] = json!({"path": "/a/.."})), ["spec.hostPath.path: Invalid value"]);
        let local = |spec: &mut Value| {
            spec["hostPath"] = Value::Null;
            spec["local"] = json!({"path": "/a"});
        };
        assert_eq!(said(local), ["spec.nodeAffinity: Required value"]);
        let csi = |spec: &mut Value| {
            spec["hostPath"] = Value::Null;
            spec["csi"] = json!({"driver": "a", "nodeStageSecretRef": {"name": "s"}});
        };
        assert_eq!(said(csi).len(), 2);
    }

    #[test]
    fn its_source_does_not_change() {
        let (old, new) = (volume(|_| {}), volume(|spec| spec["hostPath"] = json!({"path": "/b"})));
        let errors = crate::validate_update("", "PersistentVolume", None, &new, &old).to_string();
        assert!(errors.contains("-  \"Path\": \"/a\",\n+  \"Path\": \"/b\","), "{errors}");
    }
}
