//! Server-side apply: the object that a writer wants, merged into what there is, with who owns which fields.

use std::sync::Arc;

use apimachinery::kinds;
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::{Candidate, Context, Failure, body, create, options::WriteOptions, patch, update};
use crate::{
    chain::{self, authorize},
    core::Core,
    fail, keys, managed_fields,
    registry::meta,
    resources::Resource,
    schemas,
};

/// How often an object that comes and goes is looked for.
const ATTEMPTS: usize = 4;

/// Applies; creates the object when it is not there.
///
/// # Errors
/// 400 for what is no such object, 409 when it changes what others own, and as creations and updates fail.
pub async fn apply(
    core: &Arc<Core>,
    context: &Context,
    resource: &Arc<Resource>,
    side: Option<&str>,
    bytes: &Bytes,
    mut options: WriteOptions,
) -> Result<(StatusCode, Value), Failure> {
    options.applies = true;
    let config = read(resource, bytes)?;
    let manager = context.field_manager(options.field_manager.as_deref());
    let namespace = resource.namespace_of(&context.info).to_owned();
    let make = |live: Option<&Value>| -> Result<Value, Failure> {
        let now = core.clock.now();
        let mut applied = managed_fields::apply(resource, side, live, &config, &manager, options.force, now)?;
        let target = body::Target::of(resource);
        schemas::canonicalize(&target, &mut applied).map_err(|why| Box::new(fail::unknown(why)))?;
        apis::set_defaults(&target.group, &target.version, &target.kind, &mut applied);
        update::check_name(&applied, &context.info.name)?;
        Ok(applied)
    };
    let key = keys::object(&namespace, &context.info.name);
    let is_there = || resource.cache(&core.cacher).get(&key).is_some();
    for _ in 0..ATTEMPTS {
        core.cacher.fresh().await?;
        if !is_there() && side.is_none() {
            let object = make(None)?;
            let uid = meta::text(&object, "uid");
            if !uid.is_empty() {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(fail::conflict(&resource.group, &resource.name, &context.info.name, &why).into());
            }
            let mut attributes = chain::attributes(&context.info, &context.user);
            attributes.verb = "create".into();
            authorize::require(core, &attributes)?;
            match create::create_object(core, context, resource, object, &options).await {
                Err(failure) if fail::code_of(&failure) == 409 && is_there() => continue,
                created => return Ok((StatusCode::CREATED, created?)),
            }
        }
        let make = |live: Value| -> Result<Value, Failure> {
            let applied = make(Some(&live))?;
            patch::check_namespace(&applied, meta::text(&live, "namespace"))?;
            Ok(applied)
        };
        match update::update_object(core, context, resource, side, Candidate::Made(&make), &options).await {
            Err(failure) if fail::code_of(&failure) == 404 && side.is_none() && !is_there() => {}
            updated => return Ok((StatusCode::OK, updated?)),
        }
    }
    Err(fail::conflict(&resource.group, &resource.name, &context.info.name, "it comes and goes; try again").into())
}

/// Reads what is to be applied.
fn read(resource: &Resource, bytes: &Bytes) -> Result<Value, Failure> {
    let json =
        body::to_json(bytes).map_err(|why| Box::new(fail::bad_request(format!("error decoding YAML: {why}"))))?;
    let config: Value = serde_json::from_slice(&json)
        .map_err(|why| Box::new(fail::bad_request(format!("error decoding YAML: {why}"))))?;
    let text = |field: &str| config.get(field).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = kinds::split_api_version(text("apiVersion"));
    if (group, version, text("kind")) != (&resource.group, &resource.version, &resource.kind) {
        let why = format!("invalid object type: {group}/{version}, Kind={}", text("kind"));
        return Err(fail::bad_request(why).into());
    }
    Ok(config)
}
