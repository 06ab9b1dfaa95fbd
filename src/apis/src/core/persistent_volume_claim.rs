//! PersistentVolumeClaims.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    quantity::Quantity,
};
use serde_json::{Value, json};

use super::claim_spec;
use crate::{
    difference,
    golang::{LABEL_SELECTOR, Shape, Struct},
    json::{default_text, field, has, keep, some, take, text, with},
    kind::Kind,
    metadata,
};

static REQUIREMENTS: Struct =
    Struct(&[("Limits", "limits", Shape::Quantities), ("Requests", "requests", Shape::Quantities)]);
static SOURCE: Struct =
    Struct(&[("APIGroup", "apiGroup", Shape::Any), ("Kind", "kind", Shape::Text), ("Name", "name", Shape::Text)]);
static SOURCE_REF: Struct = Struct(&[
    ("APIGroup", "apiGroup", Shape::Any),
    ("Kind", "kind", Shape::Text),
    ("Name", "name", Shape::Text),
    ("Namespace", "namespace", Shape::Any),
]);
static SPEC: Struct = Struct(&[
    ("AccessModes", "accessModes", Shape::Any),
    ("Selector", "selector", Shape::Pointer(&LABEL_SELECTOR)),
    ("Resources", "resources", Shape::Struct(&REQUIREMENTS)),
    ("VolumeName", "volumeName", Shape::Text),
    ("StorageClassName", "storageClassName", Shape::Any),
    ("VolumeMode", "volumeMode", Shape::Any),
    ("DataSource", "dataSource", Shape::Pointer(&SOURCE)),
    ("DataSourceRef", "dataSourceRef", Shape::Pointer(&SOURCE_REF)),
    ("VolumeAttributesClassName", "volumeAttributesClassName", Shape::Any),
]);

pub(crate) struct PersistentVolumeClaim;

impl Kind for PersistentVolumeClaim {
    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"phase": "Pending"})
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", spec_defaults);
        with(object, "status", |status| default_text(status, "phase", "Pending"));
    }

    fn prepare_for_create(&self, object: &mut Value) {
        with(object, "spec", join_sources);
    }

    fn prepare_for_update(&self, subresource: Option<&str>, new: &mut Value, _old: &Value) {
        if subresource.is_none() {
            with(new, "spec", join_sources);
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        claim_spec::check(errors, &Path::new("spec"), field(object, "spec"));
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
            validate_status(new, errors);
        } else {
            claim_spec::check(errors, &Path::new("spec"), field(new, "spec"));
            metadata::validate_change(new, old, errors);
            validate_change(new, old, errors);
        }
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>, warnings: &mut Vec<String>) {
        for message in spec_warnings(&Path::new("spec"), field(object, "spec")) {
            warnings.push(message);
        }
        const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
        if apimachinery::meta::annotation(object, CLASS).is_some() {
            warnings.push(format!(
                "metadata.annotations[{CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
            ));
        }
    }
}

/// Fills in the spec of a claim.
pub(crate) fn spec_defaults(spec: &mut Value) {
    crate::json::default(spec, "volumeMode", "Filesystem");
    // References across namespaces are not on: what only means something with them is dropped.
    with(spec, "dataSourceRef", |source| {
        if source.get("namespace").is_some_and(|namespace| namespace == "") {
            take(source, "namespace");
        }
    });
}

/// What is unwise in the spec of a claim.
pub(crate) fn spec_warnings(path: &Path, spec: &Value) -> Vec<String> {
    let amount = field(field(spec, "resources"), "requests").get("storage");
    let fraction =
        amount.is_some_and(|amount| Quantity::from_json(amount).is_ok_and(|amount| amount.milli_value() % 1000 != 0));
    let at = path.child("resources").child("requests").key("storage");
    fraction
        .then(|| {
            let shown = amount.and_then(Value::as_str).unwrap_or_default();
            format!("{at}: fractional byte value {shown:?} is invalid, must be an integer")
        })
        .into_iter()
        .collect()
}

/// A claim names its source by an older field and by a newer one, which say the same.
fn join_sources(spec: &mut Value) {
    if some(spec, "dataSourceRef").is_some_and(|source| !text(source, "namespace").is_empty()) {
        take(spec, "dataSourceRef");
    }
    if some(spec, "dataSource").is_some_and(|source| !is_usable(source)) {
        take(spec, "dataSource");
    }
    match (some(spec, "dataSource").cloned(), some(spec, "dataSourceRef").cloned()) {
        (Some(source), None) => spec["dataSourceRef"] = source,
        (None, Some(mut source)) => {
            take(&mut source, "namespace");
            spec["dataSource"] = source;
        }
        _ => {}
    }
}

/// The older field only ever took claims and snapshots; anything else in it is dropped.
fn is_usable(source: &Value) -> bool {
    matches!(
        (text(source, "apiGroup"), text(source, "kind")),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

/// Of a bound claim only the size may grow and the class of attributes may change.
fn validate_change(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let (spec, before) = (field(new, "spec"), field(old, "spec"));
    let mut like_new = before.clone();
    if text(before, "volumeName").is_empty() {
        // Binding gives it a volume.
        keep(&mut like_new, spec, "volumeName");
    }
    if text(field(old, "status"), "phase") == "Bound" {
        for name in ["requests"] {
            if let Some(resources) = like_new.get_mut("resources") {
                keep(resources, field(spec, "resources"), name);
            }
        }
        keep(&mut like_new, spec, "volumeAttributesClassName");
    }
    if !has(before, "storageClassName")
        && has(spec, "storageClassName")
        && apimachinery::meta::annotation(old, "volume.beta.kubernetes.io/storage-class").is_none()
    {
        // A class may be given to a claim that was made while there was no default one.
        keep(&mut like_new, spec, "storageClassName");
    }
    let (now, wanted) = (SPEC.show(spec), SPEC.show(&like_new));
    if now != wanted {
        let difference = difference::of_json(&SPEC.show(before), &now);
        let detail = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{difference}"
        );
        errors.push(FieldError::forbidden(&path, detail));
    }
    let amount = |object: &Value, pointer: &str| {
        object.pointer(pointer).and_then(|value| Quantity::from_json(value).ok()).unwrap_or_default()
    };
    let (asked, asked_before) =
        (amount(spec, "/resources/requests/storage"), amount(before, "/resources/requests/storage"));
    let given = amount(old, "/status/capacity/storage");
    if asked < asked_before && (asked < given || given.is_zero()) {
        let detail = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden(&path.child("resources").child("requests").child("storage"), detail));
    }
    let class =
        |spec: &Value| some(spec, "volumeAttributesClassName").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !class(before).is_empty() && class(spec).is_empty() {
        let detail = "update from non-nil value to nil is forbidden";
        errors.push(FieldError::forbidden(&path.child("volumeAttributesClassName"), detail));
    }
}

fn validate_status(new: &Value, errors: &mut ErrorList) {
    let (path, status) = (Path::new("status"), field(new, "status"));
    for name in ["capacity", "allocatedResources"] {
        for (resource, amount) in crate::json::entries(status, name) {
            let at = path.child(name).key(resource);
            if Quantity::from_json(amount).is_ok_and(|amount| amount.sign() < 0) {
                errors.push(FieldError::invalid(&at, amount.clone(), "must be greater than or equal to 0"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "c", "resourceVersion": "1"}, "spec": spec});
        crate::set_defaults("", "v1", "PersistentVolumeClaim", &mut object);
        crate::prepare_for_create("", "PersistentVolumeClaim", &mut object);
        object
    }

    fn size(size: &str) -> Value {
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}})
    }

    #[test]
    fn a_claim_says_how_much_and_how() {
        let said = |spec: Value| {
            let errors = crate::validate_create("", "PersistentVolumeClaim", &claim(spec));
            errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect::<Vec<_>>()
        };
        assert!(said(size("1Gi")).is_empty());
        assert_eq!(said(json!({})), ["spec.accessModes: Required value", "spec.resources[storage]: Required value"]);
        assert_eq!(said(size("0")), ["spec.resources[storage]: Invalid value"]);
        let mut odd = size("1");
        odd["accessModes"] = json!(["ReadWriteOncePod", "ReadOnlyMany"]);
        assert_eq!(said(odd), ["spec.accessModes: Forbidden"]);
    }

    #[test]
    fn a_bound_claim_may_grow_and_any_other_change_is_shown() {
        let mut old = claim(size("1Gi"));
        old["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
        let mut new = old.clone();
        let check = |new: &Value| crate::validate_update("", "PersistentVolumeClaim", None, new, &old).to_string();
        new["spec"]["resources"]["requests"]["storage"] = "2Gi".into();
        assert_eq!(check(&new), "");
        new["spec"]["accessModes"] = json!(["ReadOnlyMany"]);
        let said = check(&new);
        assert!(said.contains("- \"AccessModes\"") || said.contains("-  \"ReadWriteOnce\""), "{said}");
    }
}
