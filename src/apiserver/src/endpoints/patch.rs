//! `patch`: JSON patch, merge patch and strategic merge patch.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::Value;

use super::{
    Answer, Candidate, Context, Failure, Presenter, Warnings, body, gojson, negotiate,
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
const APPLY_CBOR: &str = "application/apply-patch+cbor";

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
    check_media(&media)?;
    let options = WriteOptions::of(&context.uri, "PatchOptions")?;
    let bytes = body::read(request).await?;
    let target = body::Target::of(resource);
    let name = context.info.name.clone();
    let make = |present: Value| -> Result<Value, Failure> {
        let patched = apply_patch(&target, &media, &bytes, &present, options.field_validation, &context.warnings)?;
        update::check_name(&patched, &name)?;
        let namespace = meta::text(&present, "namespace");
        let given = meta::text(&patched, "namespace");
        if given != namespace {
            let why = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(fail::bad_request(why).into());
        }
        Ok(patched)
    };
    let object = update::update_object(core, context, resource, side, Candidate::Made(&make), &options).await?;
    presenter.object(StatusCode::OK, object)
}

fn check_media(media: &str) -> Result<(), Failure> {
    match media {
        JSON_PATCH | MERGE_PATCH | STRATEGIC_PATCH => Ok(()),
        APPLY_YAML | APPLY_CBOR => {
            let message = format!(
                "server-side apply ({media}) is not there yet - accepted media types include: {JSON_PATCH}, {MERGE_PATCH}, {STRATEGIC_PATCH}"
            );
            Err(fail::unsupported_media_type(message).into())
        }
        _ => Err(fail::unknown_patch().into()),
    }
}

/// The object that a patch makes of `present`, checked and with defaults.
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
    check_media(media)?;
    let refuse = |why: &str| Box::new(fail::bad_request(format!("error decoding patch: {why}")));
    let patch: Value = serde_json::from_slice(bytes)
        .map_err(|error| refuse(&gojson::syntax_error(bytes).unwrap_or_else(|| error.to_string())))?;
    let mut patched = if media == JSON_PATCH {
        let Value::Array(operations) = &patch else {
            let why =
                format!("json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp", go_kind(&patch));
            return Err(refuse(&why));
        };
        if operations.len() > OPERATIONS_MAX {
            let message =
                format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", operations.len());
            return Err(fail::status(413, "RequestEntityTooLarge", message, None).into());
        }
        schemas::json_patch(present, &patch).map_err(|_| Box::new(fail::unprocessable()))?
    } else {
        if !patch.is_object() {
            let why =
                format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", go_kind(&patch));
            return Err(refuse(&why));
        }
        if media == MERGE_PATCH {
            schemas::merge_patch(present, &patch)
        } else {
            schemas::strategic_merge_patch(target, present, &patch)?
        }
    };
    if !patched.is_object() {
        return Err(fail::unprocessable().into());
    }
    // A patch cannot make an object of another kind.
    patched["apiVersion"] = target.api_version().into();
    patched["kind"] = target.kind.clone().into();
    body::recheck(target, patched, validation, warnings)
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
    use super::*;

    #[test]
    fn server_side_apply_is_refused_with_what_there_is_instead() {
        let failure = check_media(APPLY_YAML).unwrap_err();
        assert_eq!(fail::code_of(&failure), 415);
        assert!(failure.message.contains(MERGE_PATCH));
        assert_eq!(fail::code_of(&check_media("application/unknown").unwrap_err()), 415);
    }
}
