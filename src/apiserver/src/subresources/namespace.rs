//! `namespaces/finalize`: how the namespace controller lets an emptied namespace go.

use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::{
    core::Core,
    endpoints::{Answer, Candidate, Context, Failure, Presenter, body, options::WriteOptions, update_object},
    registry::meta,
    resources::Resource,
};

/// Sets the finalizers of a namespace's spec; nothing else of the body counts.
pub async fn finalize(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>, request: Request<Body>) -> Answer {
    let presenter = Presenter::of(core, context, resource)?;
    let options = WriteOptions::of(&context.uri, "UpdateOptions")?;
    let bytes = body::read(request).await?;
    let target = body::Target::of(resource);
    let given = body::decode(core, &target, &context.headers, &bytes, options.field_validation, &context.warnings)?;
    let make = |namespace: Value| -> Result<Value, Failure> {
        let mut namespace = namespace;
        let version = meta::text(&given, "resourceVersion").to_owned();
        if !version.is_empty() {
            meta::set(&mut namespace, "resourceVersion", version);
        }
        let finalizers = given.pointer("/spec/finalizers").cloned().unwrap_or_else(|| json!([]));
        if finalizers.as_array().is_none_or(Vec::is_empty) {
            if let Some(spec) = namespace.get_mut("spec").and_then(Value::as_object_mut) {
                spec.remove("finalizers");
            }
        } else {
            namespace["spec"]["finalizers"] = finalizers;
        }
        Ok(namespace)
    };
    let object = update_object(core, context, resource, Some("finalize"), Candidate::Made(&make), &options).await?;
    presenter.object(StatusCode::OK, object)
}
