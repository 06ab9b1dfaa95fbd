//! What holds for every kind: names, labels, generations, and which side of an object a request may change.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    gotext,
    kinds::split_api_version,
    meta, names,
};
use serde_json::Value;
#[cfg(test)]
use serde_json::json;

use crate::{
    json::{field, flag, go_struct, has, int, invalid_go, keep, list, set, take, text},
    kind::Kind,
};

/// Said of a field that cannot change.
pub(crate) const IMMUTABLE: &str = "field is immutable";
/// Bytes of all annotations together, at most.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// A new object has its first generation and its first status.
pub(crate) fn prepare_for_create(kind: &dyn Kind, object: &mut Value) {
    if kind.has_generation() {
        meta::set(object, "generation", 1);
    }
    if kind.has_status() {
        let status = kind.first_status(object);
        set(object, "status", status);
    }
}

/// A request about the status changes nothing else but metadata, and one about the whole leaves the status alone.
pub(crate) fn keep_other_side(kind: &dyn Kind, subresource: Option<&str>, new: &mut Value, old: &Value) {
    match subresource {
        Some("status") => {
            let fields = new.as_object_mut().map(std::mem::take).unwrap_or_default();
            *new = old.clone();
            for name in ["status", "metadata"] {
                take(new, name);
            }
            for (name, value) in fields.into_iter().filter(|(name, _)| matches!(name.as_str(), "status" | "metadata")) {
                set(new, &name, value);
            }
        }
        Some("approval" | "binding" | "finalize") => {}
        _ if kind.has_status() => keep(new, old, "status"),
        _ => {}
    }
}

/// Counts a change of what is wanted.
pub(crate) fn count_generation(kind: &dyn Kind, subresource: Option<&str>, new: &mut Value, old: &Value) {
    if !kind.has_generation() || matches!(subresource, Some("status" | "approval" | "binding" | "finalize")) {
        return;
    }
    if !new.is_object() || !old.is_object() {
        return;
    }
    let generation = meta::generation(old) + i64::from(kind.is_new_generation(new, old));
    meta::set(new, "generation", generation);
}

/// Whether anything but status and metadata differs.
pub(crate) fn is_changed(new: &Value, old: &Value) -> bool {
    let (Some(one), Some(other)) = (new.as_object(), old.as_object()) else { return false };
    let wanted = |name: &&String| !matches!(name.as_str(), "status" | "metadata");
    one.keys().chain(other.keys()).filter(wanted).any(|name| one.get(name) != other.get(name))
}

/// What is wrong with a new object's metadata.
pub(crate) fn validate_create(kind: &dyn Kind, object: &Value, errors: &mut ErrorList) {
    validate(&|name| kind.check_name(name), object, errors);
}

/// What is wrong with a change's metadata: what is checked of every kind, then what the kind checks (again, mostly).
pub(crate) fn validate_update(
    kind: &dyn Kind,
    subresource: Option<&str>,
    new: &Value,
    old: &Value,
    errors: &mut ErrorList,
) {
    let path = Path::new("metadata");
    check_whole(&names::is_path_segment_name, new, &path, errors);
    check_change(new, old, &path, errors);
    kind.validate_metadata_update(subresource, new, old, errors);
}

/// What a kind checks of a changed object as if it were new.
pub(crate) fn validate(check_name: &dyn Fn(&str) -> Vec<String>, object: &Value, errors: &mut ErrorList) {
    let path = Path::new("metadata");
    check_whole(check_name, object, &path, errors);
    check_finalizers(object, &path, errors);
}

/// What a kind checks of a change.
pub(crate) fn validate_change(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("metadata");
    check_change(new, old, &path, errors);
    check_finalizers(new, &path, errors);
}

fn check_whole(check_name: &dyn Fn(&str) -> Vec<String>, object: &Value, path: &Path, errors: &mut ErrorList) {
    let metadata = field(object, "metadata");
    let base = text(metadata, "generateName");
    if !base.is_empty() {
        let problems = check_name(&names::mask_trailing_dash(base)).into_iter();
        errors.extend(problems.map(|problem| FieldError::invalid(&path.child("generateName"), base, problem)));
    }
    let name = text(metadata, "name");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    } else {
        let problems = check_name(name).into_iter();
        errors.extend(problems.map(|problem| FieldError::invalid(&path.child("name"), name, problem)));
    }
    let generation = int(metadata, "generation").unwrap_or_default();
    if generation < 0 {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&path.child("generation"), generation, why));
    }
    check_maps(metadata, path, errors);
    let path = path.child("finalizers");
    let finalizers = list(metadata, "finalizers");
    for finalizer in finalizers.iter().filter_map(Value::as_str) {
        let problems = names::is_qualified_name(finalizer).into_iter();
        errors.extend(problems.map(|problem| FieldError::invalid(&path, finalizer, problem)));
    }
    if ["orphan", "foregroundDeletion"].iter().all(|name| finalizers.iter().any(|finalizer| finalizer == name)) {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(&path, finalizers.to_vec(), why));
    }
}

/// Labels, annotations and owners.
fn check_maps(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    labels(field(metadata, "labels"), &path.child("labels"), errors);
    annotations(field(metadata, "annotations"), &path.child("annotations"), errors);
    owners(metadata, &path.child("ownerReferences"), errors);
}

/// What is wrong with a map of labels.
pub(crate) fn labels(labels: &Value, path: &Path, errors: &mut ErrorList) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        errors
            .extend(names::is_qualified_name(key).into_iter().map(|why| FieldError::invalid(path, key.as_str(), why)));
        let value = value.as_str().unwrap_or_default();
        errors.extend(names::is_label_value(value).into_iter().map(|why| FieldError::invalid(path, value, why)));
    }
}

/// What is wrong with a map of annotations.
pub(crate) fn annotations(annotations: &Value, path: &Path, errors: &mut ErrorList) {
    let mut bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        bytes += key.len() + value.as_str().map_or(0, str::len);
        let problems = names::is_qualified_name(&key.to_lowercase()).into_iter();
        errors.extend(problems.map(|why| FieldError::invalid(path, key.as_str(), why)));
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
}

fn owners(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    let mut controller: Option<String> = None;
    let owners = list(metadata, "ownerReferences");
    for owner in owners {
        let (_, version) = split_api_version(text(owner, "apiVersion"));
        let mut refuse = |name: &str, why: &str| {
            errors.push(FieldError::invalid(&path.child(name), text(owner, name), why));
        };
        if version.is_empty() {
            refuse("apiVersion", "version must not be empty");
        }
        for name in ["kind", "name", "uid"] {
            if text(owner, name).is_empty() {
                refuse(name, "must not be empty");
            }
        }
        if (text(owner, "apiVersion"), text(owner, "kind")) == ("v1", "Event") {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(invalid_go(path, &owner_text(owner), why));
        }
        if flag(owner, "controller") {
            let this = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            if let Some(first) = &controller {
                let all = owners.iter().map(owner_text).collect::<Vec<_>>().join(",");
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                );
                errors.push(invalid_go(path, &format!("[{all}]"), why));
            } else {
                controller = Some(this);
            }
        }
    }
}

/// An owner as Go writes it.
fn owner_text(owner: &Value) -> String {
    go_struct(owner, &["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"])
}

fn check_finalizers(object: &Value, path: &Path, errors: &mut ErrorList) {
    let finalizers = list(field(object, "metadata"), "finalizers").iter().enumerate();
    for (index, finalizer) in finalizers.filter_map(|(index, value)| Some((index, value.as_str()?))) {
        if !finalizer.contains('/') && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion") {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(&path.child("finalizers").index(index), finalizer, why));
        }
    }
}

fn check_change(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let (new, old) = (field(new, "metadata"), field(old, "metadata"));
    if has(old, "deletionTimestamp") {
        let before = list(old, "finalizers");
        let added: Vec<_> = list(new, "finalizers").iter().filter(|name| !before.contains(name)).collect();
        if !added.is_empty() {
            // Go prints the set of those added with %#v.
            let set: Vec<_> = added
                .iter()
                .filter_map(|name| name.as_str())
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .map(|name| format!("{}:sets.Empty{{}}", gotext::quote(name)))
                .collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers sets.String{{{}}}",
                set.join(", ")
            );
            errors.push(FieldError::forbidden(&path.child("finalizers"), why));
        }
    }
    let (generation, before) = (int(new, "generation").unwrap_or_default(), int(old, "generation").unwrap_or_default());
    if generation < before {
        errors.push(FieldError::invalid(&path.child("generation"), generation, "must not be decremented"));
    }
    for name in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        immutable(field(new, name), field(old, name), &path.child(name), errors);
    }
    check_maps(new, path, errors);
}

/// Refuses a change of a field.
pub(crate) fn immutable(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    if new != old {
        errors.push(FieldError::invalid(path, new.clone(), IMMUTABLE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{prepare_for_update, validate_create, validate_update};

    #[test]
    fn only_a_change_of_what_is_wanted_counts_as_a_generation() {
        let old =
            json!({"metadata": {"name": "d", "generation": 1}, "spec": {"replicas": 1}, "status": {"replicas": 1}});
        let mut new = old.clone();
        new["status"]["replicas"] = 5.into();
        prepare_for_update("apps", "Deployment", None, &mut new, &old);
        assert_eq!(new, old, "the status is not the client's to set");
        new["spec"]["replicas"] = 2.into();
        prepare_for_update("apps", "Deployment", None, &mut new, &old);
        assert_eq!(new["metadata"]["generation"], 2);
        let mut status = old.clone();
        status["spec"]["replicas"] = 9.into();
        status["status"]["replicas"] = 3.into();
        prepare_for_update("apps", "Deployment", Some("status"), &mut status, &old);
        assert_eq!((&status["spec"]["replicas"], &status["status"]["replicas"]), (&json!(1), &json!(3)));
    }

    fn texts(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(|error| error.to_string().chars().take(70).collect()).collect()
    }

    #[test]
    fn metadata_is_refused_in_kubernetes_words() {
        let cases = [
            (json!({}), vec!["metadata.name: Required value: name or generateName is required"]),
            (json!({"name": "A_b"}), vec!["metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain mu"]),
            (
                json!({"name": "a", "generateName": "a--", "finalizers": ["x"], "generation": -1}),
                vec![
                    "metadata.generation: Invalid value: -1: must be greater than or equal ",
                    "metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard",
                ],
            ),
            (
                json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}]}),
                vec!["metadata.ownerReferences: Invalid value: {\"apiVersion\":\"v1\",\"kind\":\"Ev"],
            ),
        ];
        for (metadata, expected) in cases {
            assert_eq!(texts(&validate_create("", "ConfigMap", &json!({"metadata": metadata}))), expected);
        }
    }

    #[test]
    fn what_names_an_object_cannot_change() {
        let old = json!({"metadata": {"name": "a", "uid": "1", "deletionTimestamp": "t", "finalizers": ["a/b"]}});
        assert!(validate_update("apps", "ControllerRevision", None, &old, &old).is_empty());
        let mut new = old.clone();
        new["metadata"]["uid"] = "2".into();
        new["metadata"]["finalizers"] = json!(["a/b", "a/c"]);
        let errors = texts(&validate_update("apps", "ControllerRevision", None, &new, &old));
        assert_eq!(errors[1], "metadata.uid: Invalid value: \"2\": field is immutable");
        assert!(errors[0].starts_with("metadata.finalizers: Forbidden: no new finalizers can be added"), "{errors:?}");
    }
}
