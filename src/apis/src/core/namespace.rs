//! Namespaces.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    meta, names,
};
use serde_json::{Value, json};

use crate::{
    checks,
    json::{self, default, keep, object_at},
    kind::Kind,
};

pub(crate) struct Namespace;

impl Kind for Namespace {
    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"phase": "Active"})
    }

    fn check_name(&self, name: &str) -> Vec<String> {
        names::is_dns1123_label(name)
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        let name = meta::name(object).to_owned();
        if !name.is_empty()
            && let Some(metadata) = object.get_mut("metadata")
            && let Some(labels) = object_at(metadata, "labels")
        {
            default(labels, "kubernetes.io/metadata.name", name);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        let Some(spec) = object_at(object, "spec") else { return };
        let Some(finalizers) = spec.as_object_mut().map(|spec| spec.entry("finalizers").or_insert_with(|| json!([])))
        else {
            return;
        };
        if finalizers.is_null() {
            *finalizers = json!([]);
        }
        if let Some(list) = finalizers.as_array_mut()
            && !list.iter().any(|finalizer| finalizer == "kubernetes")
        {
            list.push("kubernetes".into());
        }
    }

    fn prepare_for_update(&self, subresource: Option<&str>, new: &mut Value, old: &Value) {
        match subresource {
            Some("finalize") => keep(new, old, "status"),
            _ => keep(new, old, "spec"),
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        let path = Path::new("spec").child("finalizers");
        for finalizer in json::list(json::field(object, "spec"), "finalizers") {
            check_finalizer(errors, &path, finalizer.as_str().unwrap_or_default());
        }
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        match subresource {
            Some("status") => {
                let phase = json::text(json::field(new, "status"), "phase");
                let (wanted, state) =
                    if meta::is_deleting(new) { ("Terminating", "not empty") } else { ("Active", "empty") };
                if phase != wanted {
                    let detail = format!("may only be '{wanted}' if `deletionTimestamp` is {state}");
                    errors.push(FieldError::invalid(&Path::new("status").child("Phase"), phase, detail));
                }
            }
            Some("finalize") => {
                let path = Path::new("spec").child("finalizers");
                for (index, finalizer) in json::list(json::field(new, "spec"), "finalizers").iter().enumerate() {
                    check_finalizer(errors, &path.index(index), finalizer.as_str().unwrap_or_default());
                }
            }
            _ => {}
        }
    }
}

/// A finalizer is one that Kubernetes knows, or named by a domain.
pub(crate) fn check_finalizer(errors: &mut ErrorList, path: &Path, finalizer: &str) {
    checks::label_name(errors, path, finalizer);
    if !finalizer.contains('/') && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion") {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid(path, finalizer, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_says_whether_it_is_going() {
        let mut namespace = json!({"metadata": {"name": "n", "resourceVersion": "1"}, "status": {"phase": "Active"}});
        let check = |new: &Value| crate::validate_update("", "Namespace", Some("status"), new, new).len();
        assert_eq!(check(&namespace), 0);
        namespace["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:00Z".into();
        assert_eq!(check(&namespace), 1);
    }

    #[test]
    fn finalizers_are_only_changed_through_their_own_endpoint() {
        let old =
            json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let mut new = old.clone();
        new["spec"]["finalizers"] = json!([]);
        crate::prepare_for_update("", "Namespace", None, &mut new, &old);
        assert_eq!(new["spec"], old["spec"]);
        new["spec"]["finalizers"] = json!([]);
        crate::prepare_for_update("", "Namespace", Some("finalize"), &mut new, &old);
        assert_eq!(new["spec"]["finalizers"], json!([]));
    }
}
