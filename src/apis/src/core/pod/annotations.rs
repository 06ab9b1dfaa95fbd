//! Annotations of pods that Kubernetes reads: what was said by them before there were fields.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use crate::json::{entries, field, has, list, some, text};

const MIRROR: &str = "kubernetes.io/config.mirror";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Checks annotations at `path` against the spec that they are about.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, annotations: &Value, spec: &Value) {
    if let Some(value) = some(annotations, MIRROR).and_then(Value::as_str)
        && text(spec, "nodeName").is_empty()
    {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(&path.key(MIRROR), value, why));
    }
    for (key, value) in annotations.as_object().into_iter().flatten() {
        let Some(container) = key.strip_prefix(APP_ARMOR) else { continue };
        let mut lists = ["containers", "initContainers", "ephemeralContainers"].into_iter();
        if !lists.any(|name| list(spec, name).iter().any(|one| text(one, "name") == container)) {
            errors.push(FieldError::invalid(&path.key(key), container, "container not found"));
        }
        let profile = value.as_str().unwrap_or_default();
        let fine = matches!(profile, "" | "runtime/default" | "unconfined") || profile.starts_with("localhost/");
        if !fine {
            let why = format!("invalid AppArmor profile name: {}", apimachinery::gotext::quote(profile));
            errors.push(FieldError::invalid(&path.key(key), profile, why));
        }
    }
}

/// In a new pod an annotation about AppArmor and the field of the same meaning say the same.
pub(crate) fn check_fields_agree(errors: &mut ErrorList, pod: &Value) {
    let spec = field(pod, "spec");
    for (key, value) in entries(field(pod, "metadata"), "annotations") {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        for list_name in ["initContainers", "containers"] {
            for (index, container) in list(spec, list_name).iter().enumerate() {
                if text(container, "name") != name {
                    continue;
                }
                let own = some(field(container, "securityContext"), "appArmorProfile");
                let Some(profile) = own else { continue };
                let said = value.as_str().unwrap_or_default();
                let (kind, local) = match said {
                    "runtime/default" => ("RuntimeDefault", None),
                    "unconfined" => ("Unconfined", None),
                    other => ("Localhost", other.strip_prefix("localhost/")),
                };
                let path = Path::new("spec").child(list_name).index(index).child("securityContext");
                let path = path.child("appArmorProfile");
                if text(profile, "type") != kind {
                    let why = "apparmor type in annotation and field must match";
                    errors.push(FieldError::forbidden(&path.child("type"), why));
                } else if has(profile, "localhostProfile") && local != Some(text(profile, "localhostProfile")) {
                    let why = "apparmor profile in annotation and field must match";
                    errors.push(FieldError::forbidden(&path.child("localhostProfile"), why));
                }
            }
        }
    }
}

/// Annotations of a pod that exists may not be changed where a container was started by them.
pub(crate) fn check_update(errors: &mut ErrorList, new: &Value, old: &Value) {
    let path = Path::new("metadata").child("annotations");
    let (new, old) = (field(field(new, "metadata"), "annotations"), field(field(old, "metadata"), "annotations"));
    let all = old.as_object().into_iter().chain(new.as_object()).flat_map(|map| map.keys());
    let mut seen = std::collections::BTreeSet::new();
    for key in all.filter(|key| key.starts_with(APP_ARMOR)) {
        if seen.insert(key) && field(new, key) != field(old, key) {
            let why = "may not remove or update AppArmor annotations";
            errors.push(FieldError::forbidden(&path.key(key), why));
        }
    }
    if field(new, MIRROR) != field(old, MIRROR) {
        errors.push(FieldError::forbidden(&path.key(MIRROR), "may not be added, updated or removed"));
    }
}
