//! `patch`: JSON patch, merge patch and strategic merge patch; apply patches are in `apply`.

use std::sync::Arc;

use apimachinery::{
    gotext,
    schema::{
        Tree,
        decode::{check_conversion, duplicates},
        strategic,
    },
};
use axum::body::Body;
use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::Value;

use super::{
    Answer, Candidate, Context, Failure, Presenter, Warnings, apply, body, gojson, negotiate,
    options::{FieldValidation, WriteOptions},
    update,
};
use crate::{core::Core, fail, registry::meta, resources::Resource, schemas};

/// Operations of one JSON patch at most.
const OPERATIONS_MAX: usize = 10_000;

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_YAML: &str = "application/apply-patch+yaml";

/// Answers with the patched object.
pub async fn patch(
    core: &Arc<Core>,
    context: &Context,
    resource: &Arc<Resource>,
    side: Option<&str>,
    request: Request<Body>,
) -> Answer {
    let presenter = Presenter::of(core, context, resource)?;
    let media = negotiate::content_type(&context.headers).to_owned();
    check_media(&media, resource)?;
    let options = WriteOptions::of(&context.uri, "PatchOptions")?;
    check_options(&options, &media)?;
    let bytes = body::read(request).await?;
    if media == APPLY_YAML {
        let (code, object) = apply::apply(core, context, resource, side, &bytes, options).await?;
        return presenter.object(code, object);
    }
    let target = body::Target::of(resource);
    let name = context.info.name.clone();
    let make = |present: Value| -> Result<Value, Failure> {
        let patched = apply_patch(&target, &media, &bytes, &present, options.field_validation, &context.warnings)?;
        update::check_name(&patched, &name)?;
        check_namespace(&patched, meta::text(&present, "namespace"))?;
        Ok(patched)
    };
    let object = update::update_object(core, context, resource, side, Candidate::Made(&make), &options).await?;
    presenter.object(StatusCode::OK, object)
}

/// A patch cannot move an object.
///
/// # Errors
/// 400 when it tries.
pub fn check_namespace(patched: &Value, namespace: &str) -> Result<(), Failure> {
    if meta::text(patched, "namespace") == namespace {
        return Ok(());
    }
    let why = "the namespace of the provided object does not match the namespace sent on the request";
    Err(fail::bad_request(why).into())
}

fn check_media(media: &str, resource: &Resource) -> Result<(), Failure> {
    match media {
        JSON_PATCH | MERGE_PATCH | APPLY_YAML => Ok(()),
        STRATEGIC_PATCH if resource.custom.is_none() => Ok(()),
        STRATEGIC_PATCH => {
            let message = format!(
                "the body of the request was in an unknown format - accepted media types include: {JSON_PATCH}, {MERGE_PATCH}, {APPLY_YAML}"
            );
            Err(fail::unsupported_media_type(message).into())
        }
        _ => Err(fail::unknown_patch().into()),
    }
}

/// What only an apply may, and must, say.
fn check_options(options: &WriteOptions, media: &str) -> Result<(), Failure> {
    let (field, reason, message) = if media == APPLY_YAML && options.field_manager.is_none() {
        ("fieldManager", "FieldValueRequired", "Required value: is required for apply patch")
    } else if media != APPLY_YAML && options.force {
        ("force", "FieldValueForbidden", "Forbidden: may not be specified for non-apply patch")
    } else {
        return Ok(());
    };
    Err(fail::invalid_one("meta.k8s.io", "PatchOptions", "", field, reason, message).into())
}

/// The object that a patch makes of `present`, in canonical form and with defaults.
///
/// # Errors
/// 400 for what is no patch, 422 for one that does not apply.
pub fn apply_patch(
    target: &body::Target,
    media: &str,
    bytes: &Bytes,
    present: &Value,
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<Value, Failure> {
    let refuse = |why: &str| Box::new(fail::bad_request(format!("error decoding patch: {why}")));
    let tree: Tree = serde_json::from_slice(bytes)
        .map_err(|error| refuse(&gojson::syntax_error(bytes).unwrap_or_else(|| error.to_string())))?;
    let mut problems = if media == JSON_PATCH { Vec::new() } else { duplicates(&tree) };
    let patch = Value::from(tree);
    let mut patched = match media {
        JSON_PATCH => {
            let Value::Array(operations) = &patch else {
                let why =
                    format!("json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp", go_kind(&patch));
                return Err(refuse(&why));
            };
            if operations.len() > OPERATIONS_MAX {
                let message = format!(
                    "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                    operations.len()
                );
                return Err(fail::status(413, "RequestEntityTooLarge", message, None).into());
            }
            json_patch(present, &patch).ok_or_else(|| Box::new(fail::unprocessable()))?
        }
        MERGE_PATCH | STRATEGIC_PATCH if !patch.is_object() => {
            let why =
                format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", go_kind(&patch));
            return Err(refuse(&why));
        }
        MERGE_PATCH => {
            let mut patched = present.clone();
            json_patch::merge(&mut patched, &patch);
            patched
        }
        STRATEGIC_PATCH => strategic_patch(target, present, &patch)?,
        _ => return Err(fail::unknown_patch().into()),
    };
    if !patched.is_object() {
        return Err(fail::unprocessable().into());
    }
    // A patch cannot make an object of another kind.
    patched["apiVersion"] = target.api_version().into();
    patched["kind"] = target.kind.clone().into();
    // What kube-apiserver decodes when it is done: the patch for a strategic one, else the patched object.
    let shown = if media == STRATEGIC_PATCH { gotext::plain(&patch) } else { gotext::json(&patched) };
    let invalid = |why: String| {
        let message = format!("Invalid value: {}: {why}", gotext::quote(&shown));
        Box::new(fail::invalid_one("", "", "", "patch", "FieldValueInvalid", &message))
    };
    if media == STRATEGIC_PATCH
        && let Some(schema) = schemas::of(target)
    {
        check_conversion(&schema, &patched).map_err(&invalid)?;
    }
    problems.extend(schemas::canonicalize(target, &mut patched).map_err(&invalid)?);
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => problems.into_iter().for_each(|problem| warnings.add(problem)),
        FieldValidation::Strict if problems.is_empty() => {}
        FieldValidation::Strict => return Err(invalid(format!("strict decoding error: {}", problems.join(", ")))),
    }
    apis::set_defaults(&target.group, &target.version, &target.kind, &mut patched);
    Ok(patched)
}

/// A JSON patch (RFC 6902) applied; `None` when it is none, or one of its operations does not apply.
fn json_patch(object: &Value, patch: &Value) -> Option<Value> {
    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).ok()?;
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &patch).ok()?;
    Some(patched)
}

fn strategic_patch(target: &body::Target, present: &Value, patch: &Value) -> Result<Value, Failure> {
    let Some(schema) = schemas::of(target) else { return Err(fail::unknown_patch().into()) };
    strategic::apply(&schema, present, patch).map_err(|error| match error {
        strategic::Error::Malformed(_) => fail::bad_request(error.to_string()).into(),
        strategic::Error::Unfit(_) => fail::unknown(error.to_string()).into(),
    })
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Null => "null",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(media: &str, patch: &str, validation: FieldValidation) -> Result<Value, Failure> {
        let target =
            body::Target { group: String::new(), version: "v1".into(), kind: "ConfigMap".into(), custom: None };
        let present = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
        apply_patch(&target, media, &Bytes::from(patch.to_owned()), &present, validation, &Warnings::default())
    }

    #[test]
    fn patches_of_three_kinds_make_a_canonical_object() {
        for (media, patch) in [
            (JSON_PATCH, r#"[{"op": "add", "path": "/data/b", "value": "2"}, {"op": "remove", "path": "/data/a"}]"#),
            (MERGE_PATCH, r#"{"data": {"a": null, "b": "2"}, "binaryData": {}}"#),
            (STRATEGIC_PATCH, r#"{"data": {"$patch": "replace", "b": "2"}}"#),
        ] {
            let object = patched(media, patch, FieldValidation::Strict).unwrap();
            assert_eq!(object["data"], json!({"b": "2"}), "{media}");
            assert!(object.get("binaryData").is_none());
        }
    }

    #[test]
    fn a_patch_that_breaks_the_object_is_refused_as_a_patch() {
        let failure = patched(STRATEGIC_PATCH, r#"{"data": {"b": 2}}"#, FieldValidation::Warn).unwrap_err();
        let why = r#" "" is invalid: patch: Invalid value: "map[data:map[b:2]]": cannot convert int64 to string"#;
        assert_eq!((fail::code_of(&failure), failure.message.as_str()), (422, why));
        let failure =
            patched(MERGE_PATCH, r#"{"nope": 1, "data": {"b": "1", "b": "2"}}"#, FieldValidation::Strict).unwrap_err();
        let why = r#"strict decoding error: duplicate field "data.b", unknown field "nope""#;
        assert!(failure.message.ends_with(why), "{}", failure.message);
    }
}
