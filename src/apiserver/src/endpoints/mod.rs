//! What answers a request that came through the chain.

mod apply;
pub mod body;
mod create;
mod delete;
pub mod gojson;
mod list;
pub mod negotiate;
pub mod options;
mod patch;
mod paths;
mod present;
mod protobuf;
mod read;
pub mod selectors;
mod update;
mod watch;

use std::sync::Arc;

use apimachinery::status::Status;
use auth::UserInfo;
use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use parking_lot::Mutex;
use tower::ServiceExt;

pub use self::{
    create::create_object,
    delete::{Deleted, delete_object},
    patch::apply_patch,
    present::Presenter,
    update::{Candidate, update_object},
};
use crate::{
    chain::RequestInfo, core::Core, fail, registry::strategy, resources::Resource, respond, reviews, subresources,
};

/// A failure on its way to the client.
pub type Failure = Box<Status>;

/// What endpoints answer.
pub type Answer = Result<Response<Body>, Failure>;

/// Warnings that the answer will carry.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Adds one, once.
    pub fn add(&self, warning: impl Into<String>) {
        let warning = warning.into();
        let mut warnings = self.0.lock();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// All of them.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

/// Who asks for what, and how.
#[derive(Debug, Clone)]
pub struct Context {
    /// What the request is about.
    pub info: RequestInfo,
    /// Who asks.
    pub user: UserInfo,
    /// The request's URI.
    pub uri: Uri,
    /// The request's headers.
    pub headers: HeaderMap,
    /// Warnings for the answer.
    pub warnings: Warnings,
}

impl Context {
    /// The owner of the fields that the request changes.
    pub fn field_manager(&self, given: Option<&str>) -> String {
        if let Some(given) = given {
            return given.to_owned();
        }
        let agent = self.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let product = agent.split('/').next().unwrap_or_default();
        let manager: String = product.chars().filter(|character| !character.is_control()).take(128).collect();
        if manager.is_empty() { self.user.name.clone() } else { manager }
    }
}

/// Finds the endpoint and answers.
///
/// # Errors
/// Whatever the endpoint fails with.
pub async fn route(core: &Arc<Core>, context: Context, request: Request<Body>) -> Answer {
    let info = &context.info;
    if !info.is_resource {
        if info.path.starts_with("/coracle/") {
            return own_path(core, context, request).await;
        }
        return paths::route(core, &context);
    }
    let table = core.table();
    let Some(resource) = table.find(&info.group, &info.version, &info.resource) else {
        if !info.group.is_empty() && table.versions(&info.group).is_empty() {
            return Ok(respond::text(StatusCode::NOT_FOUND, "404 page not found\n"));
        }
        return Err(fail::no_resource().into());
    };
    let resource = resource.clone();
    if let Some(warning) = strategy::deprecation(&info.group, &info.version, &info.resource) {
        context.warnings.add(warning);
    }
    if let Some(custom) = &resource.custom {
        if let Some(warning) = &custom.deprecation {
            context.warnings.add(warning);
        }
        if custom.is_terminating && info.verb == "create" {
            let why = "create not allowed while custom resource definition is terminating";
            return Err(fail::status(405, "MethodNotAllowed", why, Some(serde_json::json!({}))).into());
        }
    }
    if !resource.namespaced && !info.namespace.is_empty() && resource.name != "namespaces" {
        return Err(fail::no_resource().into());
    }
    if !info.subresource.is_empty() {
        return subresources::route(core, &context, &resource, request).await;
    }
    if !allows(&resource, info) {
        return Err(fail::no_method().into());
    }
    if !resource.is_stored() {
        return reviews::route(core, &context, &resource, request).await;
    }
    match info.verb.as_str() {
        "get" => read::get(core, &context, &resource).await,
        "list" => list::list(core, &context, &resource).await,
        "watch" => watch::watch(core, &context, &resource).await,
        "create" => create::create(core, &context, &resource, request).await,
        "update" => update::update(core, &context, &resource, None, request).await,
        "patch" => patch::patch(core, &context, &resource, None, request).await,
        "delete" => delete::delete(core, &context, &resource, request).await,
        "deletecollection" => delete::collection(core, &context, &resource, request).await,
        _ => Err(fail::no_method().into()),
    }
}

/// What Kubernetes has not.
async fn own_path(core: &Core, context: Context, mut request: Request<Body>) -> Answer {
    request.extensions_mut().insert(context.user);
    let Ok(response) = core.own_paths.clone().oneshot(request).await;
    Ok(response)
}

/// Reads, updates or patches a subresource that is the object itself seen from one side, such as `status`.
///
/// # Errors
/// Whatever the verb fails with.
pub async fn object_side(
    core: &Arc<Core>,
    context: &Context,
    resource: &Arc<Resource>,
    request: Request<Body>,
) -> Answer {
    let side = context.info.subresource.clone();
    match context.info.verb.as_str() {
        "get" => read::get(core, context, resource).await,
        "update" => update::update(core, context, resource, Some(&side), request).await,
        "patch" => patch::patch(core, context, resource, Some(&side), request).await,
        _ => Err(fail::no_method().into()),
    }
}

/// Whether the verb exists at this path: some need a name, some a namespace, some must not have one.
fn allows(resource: &Resource, info: &RequestInfo) -> bool {
    let named = matches!(info.verb.as_str(), "get" | "update" | "patch" | "delete");
    let path_has_name = !info.name.is_empty() && !matches!(info.verb.as_str(), "list" | "watch" | "deletecollection");
    let in_namespace = !resource.namespaced || !info.namespace.is_empty();
    let placed = in_namespace || matches!(info.verb.as_str(), "list" | "watch");
    resource.has_verb(&info.verb) && placed && (named == path_has_name)
}
