//! `scale`: how many replicas a workload wants and has, in one form for all kinds of workloads.

use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::{
    convert,
    core::Core,
    endpoints::{
        Answer, Candidate, Context, Failure, Presenter, apply_patch, body, negotiate,
        options::{FieldValidation, WriteOptions},
        update_object,
    },
    fail, keys,
    registry::meta,
    resources::Resource,
};

/// Answers with the scale, changed if asked to.
pub async fn scale(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>, request: Request<Body>) -> Answer {
    let presenter = Presenter::of(core, context, resource)?;
    let info = &context.info;
    core.cacher.fresh().await?;
    let cache = resource.cache(&core.cacher);
    let entry = cache.get(&keys::object(resource.namespace_of(info), &info.name));
    let missing = || Box::new(fail::not_found(&resource.group, &resource.name, &info.name));
    let entry = entry.ok_or_else(missing)?;
    if info.verb == "get" {
        return presenter.write(StatusCode::OK, &of(resource, &convert::from_storage(resource, entry.decode())));
    }
    let kind = if info.verb == "patch" { "PatchOptions" } else { "UpdateOptions" };
    let options = WriteOptions::of(&context.uri, kind)?;
    let bytes = body::read(request).await?;
    let target = body::Target { group: "autoscaling".into(), version: "v1".into(), kind: "Scale".into(), custom: None };
    let given = if info.verb == "update" {
        let given = body::decode(core, &target, &context.headers, &bytes, options.field_validation, &context.warnings)?;
        check(&given, &info.name)?;
        Some(given)
    } else {
        None
    };
    let media = negotiate::content_type(&context.headers).to_owned();
    let make = |object: Value| -> Result<Value, Failure> {
        let wanted = match &given {
            Some(given) => given.clone(),
            None => {
                let present = of(resource, &object);
                let patched =
                    apply_patch(&target, &media, &bytes, &present, FieldValidation::Ignore, &context.warnings)?;
                check(&patched, &info.name)?;
                patched
            }
        };
        let mut changed = object;
        let version = meta::text(&wanted, "resourceVersion").to_owned();
        if !version.is_empty() {
            meta::set(&mut changed, "resourceVersion", version);
        }
        let replicas = wanted.pointer("/spec/replicas").cloned().unwrap_or_else(|| json!(0));
        match resource.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
            Some(scale) => scale.spec.set(&mut changed, replicas),
            None => changed["spec"]["replicas"] = replicas,
        }
        Ok(changed)
    };
    let object = update_object(core, context, resource, Some("scale"), Candidate::Made(&make), &options).await?;
    presenter.write(StatusCode::OK, &of(resource, &object))
}

fn check(scale: &Value, name: &str) -> Result<(), Failure> {
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let message = format!("Invalid value: {replicas}: must be greater than or equal to 0");
        return Err(
            fail::invalid_one("autoscaling", "Scale", name, "spec.replicas", "FieldValueInvalid", &message).into()
        );
    }
    Ok(())
}

/// The scale of a workload.
fn of(resource: &Resource, object: &Value) -> Value {
    if let Some(scale) = resource.custom.as_ref().and_then(|custom| custom.scale_of(object)) {
        return scale;
    }
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.pointer(&format!("/metadata/{field}")) {
            metadata[field] = value.clone();
        }
    }
    let mut spec = json!({});
    if let Some(replicas) = object.pointer("/spec/replicas").filter(|replicas| replicas.as_i64() != Some(0)) {
        spec["replicas"] = replicas.clone();
    }
    let replicas = object.pointer("/status/replicas").cloned().unwrap_or_else(|| json!(0));
    let mut status = json!({"replicas": replicas});
    let selector = selector_text(object.pointer("/spec/selector").unwrap_or(&Value::Null));
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// A selector as text, in the order in which Kubernetes writes it.
fn selector_text(selector: &Value) -> String {
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    let mut parts: Vec<(String, String)> = Vec::new();
    let plain = if labels.is_none() && expressions.is_none() { selector.as_object() } else { labels };
    for (key, value) in plain.into_iter().flatten() {
        if let Some(value) = value.as_str() {
            parts.push((key.clone(), format!("{key}={value}")));
        }
    }
    for expression in expressions.into_iter().flatten() {
        let key = expression.get("key").and_then(Value::as_str).unwrap_or_default();
        let mut values: Vec<&str> = expression
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match expression.get("operator").and_then(Value::as_str).unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        parts.push((key.to_owned(), text));
    }
    parts.sort();
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Table;

    #[test]
    fn a_scale_says_what_is_wanted_and_what_is() {
        let object = json!({
            "metadata": {"name": "d", "namespace": "a", "uid": "u", "labels": {"x": "y"}},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["z", "y"]}]}},
            "status": {"replicas": 2},
        });
        let table = Table::builtin();
        let resource = table.find("apps", "v1", "deployments").unwrap();
        let scale = of(resource, &object);
        assert_eq!(scale["spec"], json!({"replicas": 3}));
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "a=1,b=2,c in (y,z)"}));
        assert!(scale["metadata"].get("labels").is_none());
        let plain = json!({"metadata": {}, "spec": {"selector": {"app": "x"}}});
        assert_eq!(of(resource, &plain)["status"]["selector"], "app=x");
    }
}
