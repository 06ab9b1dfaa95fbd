//! `update`, and the loop that every change of an existing object goes through.

use std::sync::Arc;

use admission::Operation;
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::Value;

use super::{Answer, Context, Failure, Presenter, body, create, options::WriteOptions};
use crate::{
    admit,
    cacher::Entry,
    convert,
    core::Core,
    encoding, fail, keys, managed_fields,
    registry::{
        commit::{Mutation, Outcome},
        deletion, escalation, meta, services, strategy,
    },
    resources::Resource,
};

/// How often a change is made anew on top of somebody else's.
const ATTEMPTS: usize = 8;

/// Where the new state comes from.
pub enum Candidate<'a> {
    /// The client sent it.
    Given(Value),
    /// It is made from the present one; may be asked several times.
    Made(&'a (dyn Fn(Value) -> Result<Value, Failure> + Send + Sync)),
}

/// Answers with the updated object.
pub async fn update(
    core: &Arc<Core>,
    context: &Context,
    resource: &Arc<Resource>,
    side: Option<&str>,
    request: Request<Body>,
) -> Answer {
    let presenter = Presenter::of(core, context, resource)?;
    let options = WriteOptions::of(&context.uri, "UpdateOptions")?;
    let bytes = body::read(request).await?;
    let kind = body::Target::of(resource);
    let mut object = body::decode(core, &kind, &context.headers, &bytes, options.field_validation, &context.warnings)?;
    let namespace = resource.namespace_of(&context.info);
    create::check_namespace(resource, &mut object, namespace)?;
    check_name(&object, &context.info.name)?;
    if side.is_none()
        && strategy::creates_on_update(&resource.group, &resource.name)
        && resource.cache(&core.cacher).get(&keys::object(namespace, &context.info.name)).is_none()
    {
        core.cacher.fresh().await?;
        if resource.cache(&core.cacher).get(&keys::object(namespace, &context.info.name)).is_none() {
            meta::remove(&mut object, "resourceVersion");
            let created = create::create_object(core, context, resource, object, &options).await?;
            return presenter.object(StatusCode::CREATED, created);
        }
    }
    let object = update_object(core, context, resource, side, Candidate::Given(object), &options).await?;
    presenter.object(StatusCode::OK, object)
}

/// The name in the body must be that of the URL.
///
/// # Errors
/// 400 otherwise.
pub fn check_name(object: &Value, name: &str) -> Result<(), Failure> {
    let given = meta::text(object, "name");
    if given == name {
        return Ok(());
    }
    if given.is_empty() {
        let why = format!("the name of the object ({name} based on URL) was undeterminable: name must be provided");
        return Err(fail::bad_request(why).into());
    }
    Err(fail::bad_request(format!("the name of the object ({given}) does not match the name on the URL ({name})"))
        .into())
}

/// Changes an existing object, again on top of somebody else's change where the request allows it.
///
/// # Errors
/// 404 when it does not exist, 409 when it changed, and as its checks refuse it.
pub async fn update_object(
    core: &Arc<Core>,
    context: &Context,
    resource: &Arc<Resource>,
    side: Option<&str>,
    candidate: Candidate<'_>,
    options: &WriteOptions,
) -> Result<Value, Failure> {
    let namespace = resource.namespace_of(&context.info);
    let name = &context.info.name;
    let key = keys::object(namespace, name);
    let cache = resource.cache(&core.cacher);
    let missing = || Box::new(fail::not_found(&resource.group, &resource.name, name));
    // Also what admission looks up, and a change that turns out to be none, must be of a state that was acknowledged.
    core.cacher.fresh().await?;
    let mut entry = cache.get(&key).ok_or_else(missing)?;
    let mut certain = false;
    for _ in 0..ATTEMPTS {
        let result = attempt(core, context, resource, side, &candidate, &entry, options).await;
        match result {
            Ok(Attempt::Done(object)) => return Ok(object),
            Ok(Attempt::Stale) => {}
            // The refusal may be due to a state that is no longer the present one.
            Err(failure) if certain => return Err(failure),
            Err(failure) => {
                core.cacher.fresh().await?;
                match cache.get(&key) {
                    Some(current) if current.revision == entry.revision => return Err(failure),
                    _ => {}
                }
            }
        }
        core.cacher.fresh().await?;
        entry = cache.get(&key).ok_or_else(missing)?;
        certain = true;
    }
    Err(fail::modified(&resource.group, &resource.name, name).into())
}

enum Attempt {
    Done(Value),
    Stale,
}

async fn attempt(
    core: &Arc<Core>,
    context: &Context,
    resource: &Arc<Resource>,
    side: Option<&str>,
    candidate: &Candidate<'_>,
    entry: &Arc<Entry>,
    options: &WriteOptions,
) -> Result<Attempt, Failure> {
    let name = &context.info.name;
    let old = convert::from_storage(resource, entry.decode());
    let mut new = match candidate {
        Candidate::Given(object) => object.clone(),
        Candidate::Made(make) => make(old.clone())?,
    };
    let conditional = check_version(resource, &new, &old, entry.revision, matches!(candidate, Candidate::Made(_)))?;
    let uid = meta::text(&new, "uid");
    if matches!(candidate, Candidate::Given(_)) && !uid.is_empty() && uid != meta::text(&old, "uid") {
        let why =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", meta::text(&old, "uid"));
        return Err(fail::conflict(&resource.group, &resource.name, name, &why).into());
    }
    let now = core.clock.now();
    meta::tidy(&mut new);
    meta::carry_over(&mut new, &old);
    meta::remove(&mut new, "resourceVersion");
    let manager = context.field_manager(options.field_manager.as_deref());
    if !options.applies {
        managed_fields::on_update(resource, side, &mut new, &old, &manager, now);
    }
    let admission = admit::Admission::new(core, context, resource, side, options.dry_run);
    admission.mutate(Operation::Update, &mut new, Some(&old)).await?;
    meta::carry_over(&mut new, &old);
    let checked_old = convert::to_checked(resource, old.clone());
    new = convert::to_checked(resource, new);
    match &resource.custom {
        Some(custom) => custom.prepare_for_update(side, &mut new, &checked_old),
        None => apis::prepare_for_update(&resource.group, &resource.kind, side, &mut new, &checked_old),
    }
    // A binding is not a client's change of the pod: what it sets was made, and checked, by `subresources::binding`.
    if side != Some("binding") {
        let mut errors = apis::validate_update(&resource.group, &resource.kind, side, &new, &checked_old);
        if let Some(custom) = &resource.custom {
            let (wrong, warnings) = custom.validate(&new, Some(&checked_old));
            errors.extend(wrong);
            warnings.into_iter().for_each(|warning| context.warnings.add(warning));
        }
        admit::refuse_invalid(resource, name, &errors)?;
    }
    for warning in apis::update_warnings(&resource.group, &resource.kind, side, &new, &checked_old) {
        context.warnings.add(warning);
    }
    admission.validate(Operation::Update, Some(&new), Some(&old)).await?;
    escalation::check(core, context, resource, &new, Some(&old))?;
    let charges = admission.charges(Operation::Update, &mut new, Some(&old))?;
    let reservations = services::on_update(core, resource, &mut new, &checked_old, options.dry_run)?;
    let stored = convert::to_storage(resource, new);
    let encoded = encoding::encode(&stored);
    let mut answer = convert::from_storage(resource, stored.clone());
    let (group, stored_name) = strategy::storage_of(&resource.group, &resource.name);
    let key = keys::full(group, stored_name, resource.namespace_of(&context.info), name);
    let ends = side != Some("status") && ends_deletion(resource, &stored, &old);
    if options.dry_run {
        encoding::set_resource_version(&mut answer, entry.revision);
        return Ok(Attempt::Done(answer));
    }
    if !ends && reservations.is_empty() && is_same(&encoded, entry) {
        // Nothing changes, so nothing is written and nobody is told.
        encoding::set_resource_version(&mut answer, entry.revision);
        keep_managed_fields(&mut answer, &old);
        return Ok(Attempt::Done(answer));
    }
    let mut mutation = Mutation::default();
    mutation.unchanged(key.clone(), entry.written).and(reservations.into_mutation()).and(charges);
    if ends {
        mutation.delete(key).and(services::on_delete(resource, &old).into_mutation());
    } else {
        mutation.put(key, encoded.stored().clone());
    }
    match mutation.commit(&core.store).await.map_err(|error| Box::new(fail::store(&error)))? {
        Outcome::Done(revision) => {
            encoding::set_resource_version(&mut answer, revision);
            Ok(Attempt::Done(answer))
        }
        Outcome::Refused => {
            core.cacher.fresh().await?;
            // What changed may be something else that the write depends on, such as a quota.
            let current = resource.cache(&core.cacher).get(&entry.key);
            if conditional && current.is_none_or(|current| current.written != entry.written) {
                return Err(fail::modified(&resource.group, &resource.name, name).into());
            }
            Ok(Attempt::Stale)
        }
    }
}

/// Whether the update leaves behind an object that was only waiting for it to go.
fn ends_deletion(resource: &Resource, new: &Value, old: &Value) -> bool {
    if !deletion::ends_with_update(new, old) {
        return false;
    }
    // A namespace also waits for the finalizers of its spec.
    !(resource.group.is_empty() && resource.name == "namespaces")
        || new.pointer("/spec/finalizers").and_then(Value::as_array).is_none_or(Vec::is_empty)
}

/// Whether the request depends on the revision it names; refuses one that has passed.
fn check_version(resource: &Resource, new: &Value, old: &Value, revision: u64, patched: bool) -> Result<bool, Failure> {
    let given = meta::text(new, "resourceVersion");
    let name = meta::text(old, "name");
    if given.is_empty() || given == "0" {
        if !patched && !strategy::allows_unconditional_update(&resource.group, &resource.name) {
            let message = "Invalid value: 0: must be specified for an update";
            let cause = ("metadata.resourceVersion", "FieldValueInvalid", message);
            return Err(fail::invalid_one(&resource.group, &resource.name, name, cause.0, cause.1, cause.2).into());
        }
        return Ok(false);
    }
    if given == revision.to_string() {
        // A patch that does not name it carries the one it was made from.
        return Ok(!patched);
    }
    if given.parse::<u64>().is_err() {
        let why = super::list::parse_version(given).err().unwrap_or_default();
        return Err(fail::bad_request(format!("invalid resource version: {why}")).into());
    }
    Err(fail::modified(&resource.group, &resource.name, name).into())
}

/// Whether the object is what is stored already, apart from who owned its fields when.
fn is_same(encoded: &encoding::Encoded, entry: &Entry) -> bool {
    if encoded.stored() == entry.encoded.stored() {
        return true;
    }
    let (Ok(mut one), Ok(mut other)) = (encoded.decode(0), entry.encoded.decode(0)) else { return false };
    managed_fields::forget_times(&mut one);
    managed_fields::forget_times(&mut other);
    one == other
}

fn keep_managed_fields(answer: &mut Value, old: &Value) {
    match old.pointer("/metadata/managedFields") {
        Some(fields) => meta::set(answer, "managedFields", fields.clone()),
        None => meta::remove(answer, "managedFields"),
    }
}
