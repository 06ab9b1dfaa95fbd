//! `delete` and `deletecollection`.

use std::sync::Arc;

use admission::Operation;
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{
    Answer, Context, Failure, Presenter, body, list,
    options::{DeleteOptions, ListOptions},
};
use crate::{
    admit,
    cacher::Entry,
    convert,
    core::Core,
    custom, encoding, fail, keys,
    registry::{
        commit::{Mutation, Outcome},
        deletion::{self, Manners, Step},
        meta, services, strategy,
    },
    resources::Resource,
};

/// How often a deletion is tried anew on top of somebody else's change.
const ATTEMPTS: usize = 8;

/// What a deletion left behind.
#[derive(Debug, Clone, PartialEq)]
pub enum Deleted {
    /// The object is gone; this is what it was.
    Gone(Value),
    /// The object is going.
    Going(Value),
}

/// Answers with what was deleted.
pub async fn delete(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>, request: Request<Body>) -> Answer {
    let presenter = Presenter::of(core, context, resource)?;
    let bytes = body::read(request).await?;
    let given = body::decode_options(&context.headers, &bytes)?;
    let options = DeleteOptions::of(&context.uri, given.as_ref())?;
    warn_of_orphans(context, resource, &options);
    let deleted = delete_object(core, context, resource, &context.info.name, &options).await?;
    match deleted {
        Deleted::Gone(object) if !strategy::returns_deleted(&resource.group, &resource.name) => {
            let name = meta::text(&object, "name");
            let mut details = json!({"name": name, "kind": resource.name, "uid": meta::text(&object, "uid")});
            if !resource.group.is_empty() {
                details["group"] = resource.group.clone().into();
            }
            let status =
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
            presenter.write(StatusCode::OK, &status)
        }
        Deleted::Gone(object) | Deleted::Going(object) => presenter.object(StatusCode::OK, object),
    }
}

/// Jobs leave their pods behind unless told otherwise, which nobody expects.
fn warn_of_orphans(context: &Context, resource: &Resource, options: &DeleteOptions) {
    let silent = options.propagation.is_none() && options.orphan_dependents.is_none();
    if silent && resource.group == "batch" && resource.name == "jobs" {
        context.warnings.add(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set \
             propagationPolicy=Orphan to suppress this warning",
        );
    }
}

/// Deletes one object.
///
/// # Errors
/// 404 when it does not exist, 409 when a precondition does not hold, 403 when admission refuses.
pub async fn delete_object(
    core: &Arc<Core>,
    context: &Context,
    resource: &Arc<Resource>,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, Failure> {
    let namespace = resource.namespace_of(&context.info).to_owned();
    let cache = resource.cache(&core.cacher);
    let cache_key = keys::object(&namespace, name);
    for _ in 0..ATTEMPTS {
        core.cacher.fresh().await?;
        let missing = || Box::new(fail::not_found(&resource.group, &resource.name, name));
        let entry = cache.get(&cache_key).ok_or_else(missing)?;
        if let Some(deleted) = attempt(core, context, resource, &entry, options).await? {
            return Ok(deleted);
        }
    }
    Err(fail::modified(&resource.group, &resource.name, name).into())
}

async fn attempt(
    core: &Arc<Core>,
    context: &Context,
    resource: &Arc<Resource>,
    entry: &Arc<Entry>,
    options: &DeleteOptions,
) -> Result<Option<Deleted>, Failure> {
    let mut stored = entry.decode();
    let object = convert::from_storage(resource, stored.clone());
    let name = entry.name();
    check_preconditions(resource, &object, options)?;
    let admission = admit::Admission::named(core, context, resource, name, options.dry_run);
    admission.validate(Operation::Delete, None, Some(&object)).await?;
    let (group, stored_name) = strategy::storage_of(&resource.group, &resource.name);
    let key = keys::full(group, stored_name, entry.namespace(), name);
    let now = core.clock.now();
    if (group, stored_name) == ("apiextensions.k8s.io", "customresourcedefinitions") {
        custom::hold(&mut stored, now);
    }
    let step = if group.is_empty() && stored_name == "namespaces" {
        namespace_step(&stored, now)
    } else {
        let manners = Manners {
            graceful: group.is_empty() && stored_name == "pods",
            orphans: strategy::orphans_by_default(group, stored_name),
            collected: strategy::collects_garbage(group, stored_name),
        };
        deletion::decide(&stored, options, manners, now)
    };
    let mut mutation = Mutation::default();
    mutation.unchanged(key.clone(), entry.written);
    let (left, gone) = match step {
        Step::Pending => return Ok(Some(Deleted::Going(object))),
        Step::Mark(marked) => {
            mutation.put(key, encoding::encode(&marked).stored().clone());
            (marked, false)
        }
        Step::MarkAndRemove(marked) => {
            mutation.delete(key).and(services::on_delete(resource, &object).into_mutation());
            (marked, true)
        }
        Step::Remove => {
            mutation.delete(key).and(services::on_delete(resource, &object).into_mutation());
            (stored, true)
        }
    };
    let mut left = convert::from_storage(resource, left);
    encoding::set_resource_version(&mut left, entry.revision);
    if !options.dry_run {
        match mutation.commit(&core.store).await.map_err(|error| Box::new(fail::store(&error)))? {
            Outcome::Done(revision) => encoding::set_resource_version(&mut left, revision),
            Outcome::Refused => return Ok(None),
        }
    }
    Ok(Some(if gone { Deleted::Gone(left) } else { Deleted::Going(left) }))
}

/// A namespace is marked first, emptied by its controller, and goes when both kinds of finalizers are gone.
fn namespace_step(namespace: &Value, now: jiff::Timestamp) -> Step {
    let mut marked = namespace.clone();
    if meta::text(namespace, "deletionTimestamp").is_empty() {
        meta::set(&mut marked, "deletionTimestamp", meta::time(now));
    }
    let held = namespace.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
        || !meta::list(namespace, "finalizers").is_empty();
    if !held {
        return Step::Remove;
    }
    marked["status"]["phase"] = "Terminating".into();
    if marked == *namespace { Step::Pending } else { Step::Mark(marked) }
}

fn check_preconditions(resource: &Resource, object: &Value, options: &DeleteOptions) -> Result<(), Failure> {
    let name = meta::text(object, "name");
    let conflict = |why: String| -> Failure { Box::new(fail::conflict(&resource.group, &resource.kind, name, &why)) };
    if let Some(uid) = &options.uid {
        let record = meta::text(object, "uid");
        if uid != record {
            return Err(conflict(format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({record}). The object might have been deleted and then recreated"
            )));
        }
    }
    if let Some(version) = &options.resource_version {
        let record = meta::text(object, "resourceVersion");
        if version != record {
            return Err(conflict(format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({record}). The object might have been modified"
            )));
        }
    }
    Ok(())
}

/// Deletes all objects that the selectors take, and answers with their list as it was.
pub async fn collection(
    core: &Arc<Core>,
    context: &Context,
    resource: &Arc<Resource>,
    request: Request<Body>,
) -> Answer {
    let presenter = Presenter::of(core, context, resource)?;
    let bytes = body::read(request).await?;
    let given = body::decode_options(&context.headers, &bytes)?;
    let options = DeleteOptions::of(&context.uri, given.as_ref())?;
    warn_of_orphans(context, resource, &options);
    let list_options = ListOptions::of(&context.uri, false)?;
    let scope = resource.scope_of(&context.info);
    let page = list::page(core, resource, &scope, &list_options).await?;
    for entry in &page.entries {
        match delete_object(core, context, resource, entry.name(), &options).await {
            Ok(_) => {}
            // Somebody else was faster: it is gone, as asked.
            Err(failure) if fail::code_of(&failure) == 404 => {}
            Err(failure) => return Err(failure),
        }
    }
    presenter.list(&page)
}
