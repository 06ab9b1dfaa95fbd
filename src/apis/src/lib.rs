//! Defaults and validation of the built-in kinds: pure functions over JSON objects, in the words and the order of kube-apiserver.
//!
//! `metadata` is what holds for every kind; a kind adds to it what it has of its own as a `kind::Kind`, in a file of its own in the
//! folder of its group.
//!
//! To add a kind: write `GROUP/KIND.rs` with a unit struct that implements `kind::Kind` (only the methods in which it is special), and
//! name it in `find` of `GROUP/mod.rs`. Read fields with the functions of `json`; say what is wrong with
//! [`apimachinery::field::FieldError`], in the order in which kube-apiserver finds it; names are checked by [`apimachinery::names`]. What
//! several kinds share (selectors, pod templates, resource lists) is a module of the group that it comes from. Objects are not cloned.

mod checks;
mod conditions;
mod difference;
mod golang;
mod ip;
mod json;
mod kind;
mod labels;
mod metadata;
mod url;

mod admissionregistration;
mod apiextensions;
mod apiregistration;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod coordination;
mod core;
mod discovery;
mod events;
mod flowcontrol;
mod networking;
mod node;
mod policy;
mod rbac;
mod resource;
mod scheduling;
mod storage;

use apimachinery::field::ErrorList;
use serde_json::Value;

pub use admissionregistration::expressions::{environment, with_variables};
pub use apiextensions::schema::rule_environment;

use crate::kind::Kind;

/// What a kind has of its own.
fn find(group: &str, kind: &str) -> &'static dyn Kind {
    let found: Option<&'static dyn Kind> = match group {
        "" => core::find(kind),
        "admissionregistration.k8s.io" => admissionregistration::find(kind),
        "apiextensions.k8s.io" => apiextensions::find(kind),
        "apiregistration.k8s.io" => apiregistration::find(kind),
        "apps" => apps::find(kind),
        "autoscaling" => autoscaling::find(kind),
        "batch" => batch::find(kind),
        "certificates.k8s.io" => certificates::find(kind),
        "coordination.k8s.io" => coordination::find(kind),
        "discovery.k8s.io" => discovery::find(kind),
        "events.k8s.io" => events::find(kind),
        "flowcontrol.apiserver.k8s.io" => flowcontrol::find(kind),
        "networking.k8s.io" => networking::find(kind),
        "node.k8s.io" => node::find(kind),
        "policy" => policy::find(kind),
        "rbac.authorization.k8s.io" => rbac::find(kind),
        "resource.k8s.io" => resource::find(kind),
        "scheduling.k8s.io" => scheduling::find(kind),
        "storage.k8s.io" => storage::find(kind),
        _ => None,
    };
    found.unwrap_or(&kind::PLAIN)
}

/// Fills in what a client may leave out.
pub fn set_defaults(group: &str, version: &str, kind: &str, object: &mut Value) {
    if object.is_object() {
        find(group, kind).defaults(version, object);
    }
}

/// Makes a decoded object one that can be created: what only the server sets is dropped or set.
pub fn prepare_for_create(group: &str, kind: &str, object: &mut Value) {
    let kind = find(group, kind);
    metadata::prepare_for_create(kind, object);
    kind.prepare_for_create(object);
}

/// Keeps from `old` what a request about this side of an object cannot change, and counts generations.
pub fn prepare_for_update(group: &str, kind: &str, subresource: Option<&str>, new: &mut Value, old: &Value) {
    let kind = find(group, kind);
    metadata::keep_other_side(kind, subresource, new, old);
    kind.prepare_for_update(subresource, new, old);
    metadata::count_generation(kind, subresource, new, old);
}

/// What is wrong with a new object.
pub fn validate_create(group: &str, kind: &str, object: &Value) -> ErrorList {
    let kind = find(group, kind);
    let mut errors = ErrorList::new();
    metadata::validate_create(kind, object, &mut errors);
    kind.validate_create(object, &mut errors);
    errors
}

/// What is wrong with a changed object.
pub fn validate_update(group: &str, kind: &str, subresource: Option<&str>, new: &Value, old: &Value) -> ErrorList {
    let kind = find(group, kind);
    let mut errors = ErrorList::new();
    metadata::validate_update(kind, subresource, new, old, &mut errors);
    kind.validate_update(subresource, new, old, &mut errors);
    errors
}

/// What is allowed and yet unwise in a new object.
pub fn warnings(group: &str, kind: &str, object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    find(group, kind).warnings(object, None, &mut warnings);
    warnings
}

/// What is allowed and yet unwise in a change; nothing is said about what is written by the system (`Kind`s with a `subresource`).
pub fn update_warnings(group: &str, kind: &str, subresource: Option<&str>, new: &Value, old: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if subresource.is_none() {
        find(group, kind).warnings(new, Some(old), &mut warnings);
    }
    warnings
}
