//! A pod's status, from what is wanted and what was seen. Pure.
//!
//! ```text
//!   Pod + Observed + probe results + waiting reasons ── generate ──► PodStatus ── patch ──► API server
//! ```

mod conditions;
mod containers;
mod generate;
mod patch;
mod phase;
mod stall;

pub use containers::seconds;
pub use generate::{Facts, Waiting, generate};
pub use patch::status_patch;
pub use stall::Stall;

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::{pod::traits::PodExt, quantity};

/// `Guaranteed`, `Burstable` or `BestEffort`: how much of what it may use a pod was promised.
pub fn qos_class(pod: &Pod) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for container in pod.containers().iter().chain(pod.init_containers()) {
        let resources = container.resources.clone().unwrap_or_default();
        let (requests, limits) = (resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default());
        for name in ["cpu", "memory"] {
            let amount = |list: &std::collections::BTreeMap<_, _>| {
                list.get(name).and_then(quantity::milli).filter(|amount| *amount > 0)
            };
            let (request, limit) = (amount(&requests), amount(&limits));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Containers by their names.
fn find<'a>(containers: &'a [Container], name: &str) -> Option<&'a Container> {
    containers.iter().find(|container| container.name == name)
}
