//! What happens to definitions: their names are accepted or refused, their resources served, and their objects deleted with
//! them.

use std::sync::Arc;

use apimachinery::status::Status;
use auth::UserInfo;
use http::HeaderMap;
use serde_json::{Value, json};

use super::{resources, strings, text};
use crate::{
    cacher::{Entry, Scope},
    chain::RequestInfo,
    core::Core,
    encoding,
    endpoints::{Context, Warnings, delete_object, options::DeleteOptions},
    fail, keys,
    registry::{commit::Mutation, meta},
    resources::{Resource, Table},
};

/// Holds a definition until its objects are gone.
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

const GROUP: &str = "apiextensions.k8s.io";
const RESOURCE: &str = "customresourcedefinitions";

/// Marks a definition that is to be deleted: it waits for its objects.
pub fn hold(definition: &mut Value, now: jiff::Timestamp) {
    if !text(definition, "/metadata/deletionTimestamp").is_empty() {
        return;
    }
    let mut finalizers: Vec<String> = meta::list(definition, "finalizers").into_iter().map(str::to_owned).collect();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    meta::set_finalizers(definition, finalizers);
    if !definition["status"].is_object() {
        definition["status"] = json!({});
    }
    let message =
        "CustomResourceDefinition marked for deletion; CustomResource deletion will be issued as soon as possible";
    let pending = ("True", "InstanceDeletionPending", message.to_owned());
    set_condition(&mut definition["status"], "Terminating", pending, &meta::time(now));
}

fn definitions(core: &Core) -> Vec<Arc<Entry>> {
    let Some(cache) = core.cacher.resource(GROUP, RESOURCE) else { return Vec::new() };
    cache.list(&Scope::All, None, |_| true).0
}

/// The resources of all established definitions.
pub fn served(core: &Core) -> Vec<Resource> {
    definitions(core)
        .iter()
        .map(|entry| entry.object())
        .filter(|definition| condition(definition, "Established") == Some("True"))
        .flat_map(|definition| resources(&definition))
        .collect()
}

fn condition<'d>(definition: &'d Value, kind: &str) -> Option<&'d str> {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array)?;
    conditions.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}

/// Keeps the served resources those of the definitions, for as long as the server runs.
pub async fn run(core: Arc<Core>) {
    let Some(cache) = core.cacher.resource(GROUP, RESOURCE) else { return };
    let stopping = core.tasks.stopping();
    let mut changes = cache.snapshot(&Scope::All).1;
    loop {
        let mut progress = core.cacher.progress();
        progress.mark_unchanged();
        let terminating = round(&core).await;
        tokio::select! {
            () = changes.woken() => {}
            // What holds up a definition that goes is any object of its resource.
            _ = progress.changed(), if terminating => {}
            () = stopping.cancelled() => return,
        }
    }
}

/// Looks at every definition once; whether one is still going.
async fn round(core: &Arc<Core>) -> bool {
    let all = definitions(core);
    for entry in &all {
        let definition = entry.object();
        let status = status_of(core, &definition, &all);
        if definition["status"] != status {
            let mut changed = (*definition).clone();
            changed["status"] = status;
            write(core, entry, &changed).await;
        }
    }
    let served = served(core);
    if served != present(&core.table()) {
        core.tables.store(Arc::new(Table::with(served)));
    }
    let mut terminating = false;
    for entry in &all {
        let definition = entry.object();
        if !text(&definition, "/metadata/deletionTimestamp").is_empty()
            && meta::list(&definition, "finalizers").contains(&FINALIZER)
        {
            terminating |= !clean(core, entry, &definition).await;
        }
    }
    terminating
}

fn present(table: &Table) -> Vec<Resource> {
    table.custom().map(|resource| (**resource).clone()).collect()
}

async fn write(core: &Core, entry: &Entry, object: &Value) {
    let key = keys::full(GROUP, RESOURCE, "", entry.name());
    let mut mutation = Mutation::default();
    mutation.unchanged(key.clone(), entry.written).put(key, encoding::encode(object).stored().clone());
    // Somebody else's change brings the definition back here, so a refusal needs nothing.
    if let Err(error) = mutation.commit(&core.store).await {
        tracing::warn!(%error, definition = entry.name(), "the status of a definition could not be written");
    }
}

/// The names that are in use in a group, of definitions other than `name`.
struct InUse {
    names: Vec<String>,
    kinds: Vec<String>,
}

fn in_use(group: &str, name: &str, all: &[Arc<Entry>]) -> InUse {
    let mut used = InUse { names: Vec::new(), kinds: Vec::new() };
    for entry in all.iter().filter(|entry| entry.name() != name) {
        let other = entry.object();
        if text(&other, "/spec/group") != group {
            continue;
        }
        let accepted = &other["status"]["acceptedNames"];
        used.names.extend([text(accepted, "/plural"), text(accepted, "/singular")].map(str::to_owned));
        used.names.extend(strings(accepted, "/shortNames"));
        used.kinds.extend([text(accepted, "/kind"), text(accepted, "/listKind")].map(str::to_owned));
    }
    used.names.retain(|name| !name.is_empty());
    used.kinds.retain(|kind| !kind.is_empty());
    used
}

/// The status that a definition should have.
fn status_of(core: &Core, definition: &Value, all: &[Arc<Entry>]) -> Value {
    let now = meta::time(core.clock.now());
    let mut status = if definition["status"].is_object() { definition["status"].clone() } else { json!({}) };
    let names = wanted_names(definition);
    let mut accepted = if status["acceptedNames"].is_object() { status["acceptedNames"].clone() } else { json!({}) };
    let used = in_use(text(definition, "/spec/group"), text(definition, "/metadata/name"), all);
    let (mut reason, mut messages) = ("", Vec::new());
    for (field, of_kind, why) in [
        ("plural", false, "PluralConflict"),
        ("singular", false, "SingularConflict"),
        ("shortNames", false, "ShortNamesConflict"),
        ("kind", true, "KindConflict"),
        ("listKind", true, "ListKindConflict"),
    ] {
        let wanted = match &names[field] {
            Value::String(name) => vec![name.clone()],
            _ => strings(&names, &format!("/{field}")),
        };
        let taken = if of_kind { &used.kinds } else { &used.names };
        let conflicts: Vec<String> = wanted
            .iter()
            .filter(|name| taken.contains(name))
            .map(|name| format!("{name:?} is already in use"))
            .collect();
        if conflicts.is_empty() {
            accepted[field] = names[field].clone();
        } else {
            reason = why;
            messages.extend(conflicts);
        }
    }
    accepted["categories"] = names["categories"].clone();
    for field in ["shortNames", "categories"] {
        if accepted[field].is_null() {
            accepted.as_object_mut().map(|fields| fields.remove(field));
        }
    }
    for field in ["plural", "kind"] {
        if accepted[field].is_null() {
            accepted[field] = "".into();
        }
    }
    status["acceptedNames"] = accepted;
    let accepted = if messages.is_empty() {
        ("True", "NoConflicts", "no conflicts found".to_owned())
    } else {
        ("False", reason, messages.join(", "))
    };
    let was_established = condition(definition, "Established") == Some("True");
    let established = if accepted.0 == "True" || was_established {
        ("True", "InitialNamesAccepted", "the initial names have been accepted".to_owned())
    } else {
        ("False", "NotAccepted", "not all names are accepted".to_owned())
    };
    set_condition(&mut status, "NamesAccepted", accepted, &now);
    set_condition(&mut status, "Established", established, &now);
    let mut stored = strings(&status, "/storedVersions");
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    for version in versions.filter(|version| version["storage"] == true) {
        let name = text(version, "/name").to_owned();
        if !stored.contains(&name) {
            stored.push(name);
        }
    }
    status["storedVersions"] = stored.into();
    status
}

/// The names that a definition asks for, with those that follow from others.
fn wanted_names(definition: &Value) -> Value {
    let mut names = definition.pointer("/spec/names").cloned().unwrap_or_else(|| json!({}));
    let kind = text(&names, "/kind").to_owned();
    if text(&names, "/singular").is_empty() {
        names["singular"] = kind.to_lowercase().into();
    }
    if text(&names, "/listKind").is_empty() {
        names["listKind"] = format!("{kind}List").into();
    }
    names
}

fn set_condition(status: &mut Value, kind: &str, (state, reason, message): (&str, &str, String), now: &str) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    let wanted = |since: Value| json!({"type": kind, "status": state, "reason": reason, "message": message, "lastTransitionTime": since});
    match conditions.iter_mut().find(|condition| condition["type"] == kind) {
        Some(present) => {
            let since = if present["status"] == state { present["lastTransitionTime"].clone() } else { now.into() };
            let mut next = wanted(since);
            if let Some(observed) = present.get("observedGeneration") {
                next["observedGeneration"] = observed.clone();
            }
            *present = next;
        }
        None => conditions.push(wanted(now.into())),
    }
}

/// Deletes the objects of a definition that goes, and lets it go when there is none; whether it could.
async fn clean(core: &Arc<Core>, entry: &Entry, definition: &Value) -> bool {
    let (group, plural) = (text(definition, "/spec/group"), text(definition, "/spec/names/plural"));
    let table = core.table();
    let resource = table.custom().find(|resource| resource.group == group && resource.name == plural).cloned();
    let Some(cache) = core.cacher.resource(group, plural) else { return true };
    if let Some(resource) = resource {
        for object in cache.list(&Scope::All, None, |_| true).0 {
            let context = context(&resource, &object);
            let options = DeleteOptions::default();
            match delete_object(core, &context, &resource, object.name(), &options).await {
                Ok(_) => {}
                Err(failure) if fail::code_of(&failure) == 404 => {}
                Err(failure) => log(&failure, object.name()),
            }
        }
        core.cacher.fresh().await.ok();
        if !cache.is_empty() {
            return false;
        }
    }
    let mut left = definition.clone();
    let finalizers: Vec<String> = meta::list(definition, "finalizers")
        .into_iter()
        .filter(|finalizer| *finalizer != FINALIZER)
        .map(str::to_owned)
        .collect();
    let key = keys::full(GROUP, RESOURCE, "", entry.name());
    let mut mutation = Mutation::default();
    mutation.unchanged(key.clone(), entry.written);
    if finalizers.is_empty() {
        mutation.delete(key);
    } else {
        meta::set_finalizers(&mut left, finalizers);
        mutation.put(key, encoding::encode(&left).stored().clone());
    }
    if let Err(error) = mutation.commit(&core.store).await {
        tracing::warn!(%error, definition = entry.name(), "a definition could not be let go");
    }
    true
}

fn log(failure: &Status, name: &str) {
    tracing::warn!(%failure, name, "an object of a definition that goes could not be deleted");
}

/// The server's own request for an object.
fn context(resource: &Resource, object: &Entry) -> Context {
    Context {
        info: RequestInfo {
            is_resource: true,
            verb: "delete".into(),
            group: resource.group.clone(),
            version: resource.version.clone(),
            resource: resource.name.clone(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            ..RequestInfo::default()
        },
        user: UserInfo {
            name: "system:apiserver".into(),
            groups: vec!["system:masters".into(), "system:authenticated".into()],
            ..UserInfo::default()
        },
        uri: http::Uri::from_static("/"),
        headers: HeaderMap::new(),
        warnings: Warnings::default(),
    }
}
