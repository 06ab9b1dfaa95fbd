//! Who owns which fields of a resource's objects: `apimachinery`'s rules with the resource's schema.

use apimachinery::{
    schema::Schema,
    structured::{self, ApplyError, Request},
};
use jiff::Timestamp;
use serde_json::{Value, json};

pub use apimachinery::structured::forget_times;

use crate::{
    endpoints::{Failure, body::Target},
    fail,
    registry::meta,
    resources::Resource,
    schemas,
};

fn schema_of(resource: &Resource) -> Option<Schema> {
    schemas::of(&Target::of(resource))
}

/// Says of a new object that `manager` owns what it set.
pub fn on_create(resource: &Resource, object: &mut Value, manager: &str, now: Timestamp) {
    let Some(schema) = schema_of(resource) else { return };
    let api_version = resource.api_version();
    let request = Request { schema: &schema, api_version: &api_version, side: None, manager, now };
    structured::create(&request, object);
}

/// Says of a changed object that `manager` owns what it changed.
pub fn on_update(
    resource: &Resource,
    side: Option<&str>,
    object: &mut Value,
    old: &Value,
    manager: &str,
    now: Timestamp,
) {
    let Some(schema) = schema_of(resource) else { return };
    if side == Some("binding") {
        // Who binds a pod writes no fields of it; the server does.
        match old.pointer("/metadata/managedFields") {
            Some(owners) => meta::set(object, "managedFields", owners.clone()),
            None => meta::remove(object, "managedFields"),
        }
        return;
    }
    let api_version = resource.api_version();
    let request = Request { schema: &schema, api_version: &api_version, side, manager, now };
    structured::update(&request, object, old);
}

/// What applying `config` makes of `live`, with its owners.
///
/// # Errors
/// 409 when it changes what others own, and 400 or 500 when it does not fit the schema.
pub fn apply(
    resource: &Resource,
    side: Option<&str>,
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
    now: Timestamp,
) -> Result<Value, Failure> {
    let Some(schema) = schema_of(resource) else { return Err(fail::unknown_patch().into()) };
    let api_version = resource.api_version();
    let request = Request { schema: &schema, api_version: &api_version, side, manager, now };
    let applied = structured::apply(&request, live, config, force).map_err(|error| match error {
        ApplyError::Conflicts(ref conflicts) => {
            let causes: Vec<Value> = conflicts
                .iter()
                .map(|conflict| {
                    let message = format!("conflict with {}", conflict.manager);
                    json!({"reason": "FieldManagerConflict", "message": message, "field": conflict.path})
                })
                .collect();
            fail::status(409, "Conflict", error.to_string(), Some(json!({"causes": causes})))
        }
        ApplyError::NamesOwners => fail::bad_request(error.to_string()),
        ApplyError::Unfit(why) => {
            let (namespace, name) = (meta::text(config, "namespace"), meta::text(config, "name"));
            let kind = format!("{}/{}, Kind={}", resource.group, resource.version, resource.kind);
            fail::unknown(format!("failed to create typed patch object ({namespace}/{name}; {kind}): {why}"))
        }
    })?;
    Ok(applied.object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Table;

    #[test]
    fn conflicts_are_causes_and_what_does_not_fit_is_named() {
        let table = Table::builtin();
        let resource = table.find("", "v1", "configmaps").unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let config = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": value}});
        let live = apply(resource, None, None, &config("1"), "one", false, now).unwrap();
        let failure = apply(resource, None, Some(&live), &config("2"), "two", false, now).unwrap_err();
        assert_eq!(fail::code_of(&failure), 409);
        assert_eq!(failure.message, "Apply failed with 1 conflict: conflict with \"one\": .data.a");
        let unfit = json!({"metadata": {"name": "c"}, "nope": 1});
        let failure = apply(resource, None, None, &unfit, "one", false, now).unwrap_err();
        assert_eq!(
            failure.message,
            "failed to create typed patch object (/c; /v1, Kind=ConfigMap): .nope: field not declared in schema"
        );
    }
}
