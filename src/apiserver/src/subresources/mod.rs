//! What lies below an object: other sides of it, and things that can be done with it.

mod binding;
mod eviction;
mod kubelet;
mod log;
mod namespace;
mod proxy;
mod scale;
mod stream;
mod token;

use std::sync::Arc;

use axum::body::Body;
use http::Request;

pub use self::{kubelet::KubeletClient, proxy::backend};
use crate::{
    core::Core,
    endpoints::{self, Answer, Context},
    fail,
    resources::Resource,
};

/// Finds the subresource's endpoint and answers.
///
/// # Errors
/// 404 when the resource has no such subresource, 405 when it does not do that, and as the endpoint fails.
pub async fn route(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>, request: Request<Body>) -> Answer {
    let info = &context.info;
    let sub = resource.subresources.iter().find(|sub| sub.name == info.subresource);
    let sub = sub.ok_or_else(|| Box::new(fail::no_resource()))?;
    if info.name.is_empty() || (resource.namespaced && info.namespace.is_empty()) {
        return Err(fail::no_method().into());
    }
    // Streams are opened by `get` as well as by `create`; discovery names both.
    if !sub.verbs.contains(&info.verb) {
        return Err(fail::no_method().into());
    }
    match (resource.group.as_str(), resource.name.as_str(), info.subresource.as_str()) {
        ("", "pods", "binding") => binding::bind(core, context, resource, request).await,
        ("", "pods", "eviction") => eviction::evict(core, context, resource, request).await,
        ("", "pods", "log") => log::log(core, context, resource).await,
        ("", "pods", "exec" | "attach" | "portforward") => stream::stream(core, context, resource, request).await,
        ("", "serviceaccounts", "token") => token::request(core, context, resource, request).await,
        ("", "namespaces", "finalize") => namespace::finalize(core, context, resource, request).await,
        (_, _, "scale") => scale::scale(core, context, resource, request).await,
        ("", "nodes" | "pods" | "services", "proxy") => proxy::proxy(core, context, resource, request).await,
        _ => endpoints::object_side(core, context, resource, request).await,
    }
}
