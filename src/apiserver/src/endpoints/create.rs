//! `create`.

use std::sync::Arc;

use admission::Operation;
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::Value;

use super::{Answer, Context, Failure, Presenter, body, options::WriteOptions};
use crate::{
    admit, convert,
    core::Core,
    encoding, fail, keys, managed_fields,
    registry::{
        commit::{Mutation, Outcome},
        escalation, meta, requester, services, strategy,
    },
    resources::Resource,
};

/// How often a creation is tried anew when an address, a port or a quota that it needs was taken or changed meanwhile.
const ATTEMPTS: usize = 32;
/// Names tried for a `generateName`.
const GENERATE_ATTEMPTS: usize = 8;

/// Answers with the created object.
pub async fn create(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>, request: Request<Body>) -> Answer {
    let presenter = Presenter::of(core, context, resource)?;
    let options = WriteOptions::of(&context.uri, "CreateOptions")?;
    let bytes = body::read(request).await?;
    let kind = body::Target::of(resource);
    let object = body::decode(core, &kind, &context.headers, &bytes, options.field_validation, &context.warnings)?;
    let object = create_object(core, context, resource, object, &options).await?;
    presenter.object(StatusCode::CREATED, object)
}

/// Creates an object; gives back what was stored.
///
/// # Errors
/// As `create` fails.
pub async fn create_object(
    core: &Arc<Core>,
    context: &Context,
    resource: &Arc<Resource>,
    mut object: Value,
    options: &WriteOptions,
) -> Result<Value, Failure> {
    // What admission looks up (namespaces, service accounts, addresses in use) must be what was acknowledged before.
    core.cacher.fresh().await?;
    let namespace = resource.namespace_of(&context.info).to_owned();
    check_namespace(resource, &mut object, &namespace)?;
    if !meta::text(&object, "resourceVersion").is_empty() {
        return Err(fail::unknown("resourceVersion should not be set on objects to be created").into());
    }
    let base = meta::text(&object, "generateName").to_owned();
    let generates = !base.is_empty() && meta::text(&object, "name").is_empty();
    meta::tidy(&mut object);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        meta::remove(&mut object, field);
    }
    if generates {
        // An answer must not be lost to two names that happen to be the same.
        for _ in 1..GENERATE_ATTEMPTS {
            let attempt = attempt(core, context, resource, object.clone(), &namespace, &base, options).await;
            match attempt {
                Err(failure) if fail::code_of(&failure) == 409 => {}
                other => return other,
            }
        }
    }
    attempt(core, context, resource, object, &namespace, if generates { &base } else { "" }, options).await
}

async fn attempt(
    core: &Arc<Core>,
    context: &Context,
    resource: &Arc<Resource>,
    mut object: Value,
    namespace: &str,
    base: &str,
    options: &WriteOptions,
) -> Result<Value, Failure> {
    let now = core.clock.now();
    if !base.is_empty() {
        meta::set(&mut object, "name", meta::generated(base, &core.entropy.suffix(meta::SUFFIX)));
    }
    meta::set(&mut object, "uid", core.entropy.uuid());
    meta::set(&mut object, "creationTimestamp", meta::time(now));
    let manager = context.field_manager(options.field_manager.as_deref());
    if !options.applies {
        managed_fields::on_create(resource, &mut object, &manager, now);
    }
    let admission = admit::Admission::new(core, context, resource, None, options.dry_run);
    admission.mutate(Operation::Create, &mut object, None).await?;
    escalation::check(core, context, resource, &object, None)?;
    object = convert::to_checked(resource, object);
    match &resource.custom {
        Some(custom) => custom.prepare_for_create(&mut object),
        None => apis::prepare_for_create(&resource.group, &resource.kind, &mut object),
    }
    requester::stamp(resource, &mut object, &context.user);
    let name = meta::text(&object, "name").to_owned();
    let mut errors = apis::validate_create(&resource.group, &resource.kind, &object);
    if let Some(custom) = &resource.custom {
        let (wrong, warnings) = custom.validate(&object, None);
        errors.extend(wrong);
        warnings.into_iter().for_each(|warning| context.warnings.add(warning));
    }
    admit::refuse_invalid(resource, &name, &errors)?;
    for warning in apis::warnings(&resource.group, &resource.kind, &object) {
        context.warnings.add(warning);
    }
    admission.validate(Operation::Create, Some(&object), None).await?;
    let (group, stored_name) = strategy::storage_of(&resource.group, &resource.name);
    let key = keys::full(group, stored_name, namespace, &name);
    let cached = resource.cache(&core.cacher).get(&keys::object(namespace, &name));
    if options.dry_run {
        if cached.is_some() {
            return Err(fail::already_exists(&resource.group, &resource.name, &name).into());
        }
        services::on_create(core, resource, &mut object, true)?;
        admission.charges(Operation::Create, &mut object, None)?;
        return Ok(convert::from_storage(resource, convert::to_storage(resource, object)));
    }
    for _ in 0..ATTEMPTS {
        let mut candidate = object.clone();
        let reservations = services::on_create(core, resource, &mut candidate, false)?;
        let charges = admission.charges(Operation::Create, &mut candidate, None)?;
        let reserved = !reservations.is_empty() || !charges.is_empty();
        let stored = convert::to_storage(resource, candidate);
        let encoded = encoding::encode(&stored);
        let mut mutation = Mutation::default();
        mutation
            .absent(key.clone())
            .put(key.clone(), encoded.stored().clone())
            .and(reservations.into_mutation())
            .and(charges);
        match mutation.commit(&core.store).await.map_err(|error| Box::new(fail::store(&error)))? {
            Outcome::Done(revision) => {
                let mut created = convert::from_storage(resource, stored);
                encoding::set_resource_version(&mut created, revision);
                return Ok(created);
            }
            Outcome::Refused => {
                // Either the name is taken, or an address or port that was free a moment ago.
                core.cacher.fresh().await?;
                if !reserved || resource.cache(&core.cacher).get(&keys::object(namespace, &name)).is_some() {
                    return Err(fail::already_exists(&resource.group, &resource.name, &name).into());
                }
            }
        }
    }
    Err(fail::internal("what the object needs (an address, a port, a share of a quota) changed too often; try again")
        .into())
}

/// Makes the object's namespace that of the request.
///
/// # Errors
/// 400 when it names another.
pub fn check_namespace(resource: &Resource, object: &mut Value, namespace: &str) -> Result<(), Failure> {
    let given = meta::text(object, "namespace");
    if !resource.namespaced {
        if given.is_empty() {
            return Ok(());
        }
        let why = "namespace is not allowed on an object that is not namespaced";
        return Err(fail::bad_request(why).into());
    }
    if given.is_empty() {
        meta::set(object, "namespace", namespace);
        return Ok(());
    }
    if given == namespace {
        return Ok(());
    }
    let why = "the namespace of the provided object does not match the namespace sent on the request";
    Err(fail::bad_request(why).into())
}
