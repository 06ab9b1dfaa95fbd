//! Kinds of `flowcontrol.apiserver.k8s.io`.

mod flow_schema;
mod priority_level_configuration;

use std::collections::HashSet;

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use crate::{
    checks,
    json::{field, list, text},
    kind::Kind,
};

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "FlowSchema" => &flow_schema::FlowSchema,
        "PriorityLevelConfiguration" => &priority_level_configuration::PriorityLevelConfiguration,
        _ => return None,
    })
}

/// What is wrong with the status of either kind.
fn check_status(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("status").child("conditions");
    let mut seen = HashSet::new();
    for (index, condition) in list(field(object, "status"), "conditions").iter().enumerate() {
        let (path, kind) = (path.index(index).child("type"), text(condition, "type"));
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path, kind));
        }
        checks::required(errors, &path, kind);
    }
}
