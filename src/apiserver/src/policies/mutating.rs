//! MutatingAdmissionPolicies.

use apimachinery::status::{GroupResource, Status};
use cel::{Key, Value as CelValue};
use serde_json::{Value, json};

use super::{Applies, Scene, applies, bound, compiled::Expression, matches, namespace, params};
use crate::{
    endpoints::{Failure, body::Target},
    managed_fields,
    registry::meta,
    schemas,
    webhooks::Asked,
};

/// Lets all policies that are bound to a request change its object, in the order of their names; those that want to see what others made
/// of it are asked once more.
///
/// # Errors
/// When one fails and must not.
pub fn mutate(asked: &Asked<'_>, object: &mut Value, old: Option<&Value>) -> Result<(), Failure> {
    let bound = bound(asked, "mutatingadmissionpolicies", "mutatingadmissionpolicybindings");
    let mut ran: Vec<(usize, Value)> = Vec::new();
    for (at, (policy, binding)) in bound.iter().enumerate() {
        if ask(asked, &policy.object(), binding, object, old)? {
            ran.push((at, object.clone()));
        }
    }
    for (at, seen) in ran {
        let (policy, binding) = &bound[at];
        let policy = policy.object();
        if policy["spec"]["reinvocationPolicy"] == "IfNeeded" && seen != *object {
            ask(asked, &policy, binding, object, old)?;
        }
    }
    Ok(())
}

/// Asks one policy, if it is about the request; whether it was.
fn ask(
    asked: &Asked<'_>,
    policy: &Value,
    binding: &Value,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<bool, Failure> {
    let covered = matches(asked, policy["spec"].get("matchConstraints"), Some(object), old)
        && matches(asked, binding["spec"].get("matchResources"), Some(object), old);
    if !covered {
        return Ok(false);
    }
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let refuse = |why: String| -> Result<bool, Failure> {
        if policy["spec"]["failurePolicy"] == "Ignore" {
            return Ok(true);
        }
        let resource = GroupResource::new(&asked.resource.group, &asked.resource.name);
        let why = format!(
            "MutatingAdmissionPolicy '{}' with binding '{}' denied request: {why}",
            name(policy),
            name(binding)
        );
        Err(Box::new(Status::forbidden(&resource, asked.name, &why)))
    };
    let all = match params(asked, policy, binding) {
        Ok(all) => all,
        Err(why) => return refuse(format!("failed to configure binding: {why}")),
    };
    let compiled = asked.core.policies.policy(policy);
    for params in all {
        for (index, (is_patch, expression)) in compiled.mutations.iter().enumerate() {
            let of_namespace = namespace(asked, Some(object), old);
            let mut scene = Scene::new(asked, Some(object), old, of_namespace.as_deref(), &compiled);
            scene.set_params(params.as_deref());
            if index == 0 {
                match applies(&scene) {
                    Applies::Yes => {}
                    Applies::No => break,
                    Applies::Unknown(why) => return refuse(why),
                }
            }
            let changed = if *is_patch {
                patched(&scene, expression, object)
            } else {
                applied(asked, &scene, expression, object)
            };
            match changed {
                Ok(changed) => *object = changed,
                Err(why) => return refuse(why),
            }
        }
    }
    let target = Target::of(asked.resource);
    schemas::canonicalize(&target, object).or_else(|why| refuse(why).map(|_| Vec::new()))?;
    apis::set_defaults(&target.group, &target.version, &target.kind, object);
    Ok(true)
}

/// The object with a JSON patch applied that an expression makes.
fn patched(scene: &Scene<'_>, expression: &Expression, object: &Value) -> Result<Value, String> {
    let operations = scene.run(expression)?.to_json().map_err(|error| error.to_string())?;
    let patch: json_patch::Patch =
        serde_json::from_value(operations).map_err(|error| format!("invalid JSONPatch: {error}"))?;
    let mut changed = object.clone();
    json_patch::patch(&mut changed, &patch).map_err(|error| format!("JSON Patch: {error}"))?;
    Ok(changed)
}

/// The object with a configuration applied that an expression makes: what it says nothing of stays as it is.
fn applied(asked: &Asked<'_>, scene: &Scene<'_>, expression: &Expression, object: &Value) -> Result<Value, String> {
    let value = scene.run(expression)?;
    check_names(&value, "Object")?;
    let mut config = value.to_json().map_err(|error| error.to_string())?;
    if !config.is_object() {
        return Err(format!("unsupported return type from ApplyConfiguration expression: {config}"));
    }
    for field in ["apiVersion", "kind"] {
        config[field] = object[field].clone();
    }
    if config.pointer("/metadata/managedFields").is_some() {
        return Err("managedFields must not be set by an ApplyConfiguration".into());
    }
    let (name, place) = (meta::text(object, "name"), meta::text(object, "namespace"));
    if !config["metadata"].is_object() {
        config["metadata"] = json!({});
    }
    config["metadata"]["name"] = name.into();
    if !place.is_empty() {
        config["metadata"]["namespace"] = place.into();
    }
    let now = asked.core.clock.now();
    let manager = "mutatingadmissionpolicy";
    let mut changed = managed_fields::apply(asked.resource, None, Some(object), &config, manager, true, now)
        .map_err(|failure| failure.message)?;
    // The fields are the writer's, not the policy's.
    match object.pointer("/metadata/managedFields") {
        Some(fields) => meta::set(&mut changed, "managedFields", fields.clone()),
        None => meta::remove(&mut changed, "managedFields"),
    }
    Ok(changed)
}

/// What is made for a field has the field's own type: `Object.spec` for `spec`.
fn check_names(value: &CelValue, path: &str) -> Result<(), String> {
    let Some((name, fields)) = value.message() else { return Ok(()) };
    if name != path {
        let why = format!(
            "unexpected type name {name:?}, expected {path:?}, which matches field name path from root Object type"
        );
        return Err(why);
    }
    for (key, field) in fields {
        let Key::String(key) = key else { continue };
        let below = format!("{path}.{key}");
        match field.items() {
            Some(items) => items.iter().try_for_each(|item| check_names(item, &below))?,
            None => check_names(field, &below)?,
        }
    }
    Ok(())
}
