//! The cluster role aggregation controller: keeps roles that are the sum of others up to date.

pub mod plan;

use k8s_openapi::api::rbac::v1::ClusterRole;
use serde_json::json;

use crate::framework::{Context, Key, Objects, Outcome, Queue, is_gone, spawn_workers};

const NAME: &str = "clusterrole-aggregation-controller";

/// Starts it.
pub fn start(context: &Context) {
    let (client, _) = context.identity(NAME);
    let roles = context.informers.of::<ClusterRole>();
    let queue = Queue::new(context.clock.clone());
    let (changed, all) = (queue.clone(), roles.clone());
    roles.on_change(move |change| {
        // Any role may be a part of any sum.
        let sums = all.list();
        sums.iter().filter(|role| role.aggregation_rule.is_some()).for_each(|role| changed.add(Key::of(&**role)));
        if change.object().aggregation_rule.is_some() {
            changed.add(Key::of(&**change.object()));
        }
    });
    let roles = Objects::new(client, roles, context.clock.clone());
    spawn_workers(context, NAME, 1, &queue, move |key: Key| {
        let roles = roles.clone();
        async move {
            let Some(role) = roles.cache().get(&key) else { return Ok(Outcome::Done) };
            let Some(rules) = plan::plan(&role, &roles.cache().list())? else { return Ok(Outcome::Done) };
            let patch = json!({"metadata": {"resourceVersion": role.metadata.resource_version}, "rules": rules});
            match roles.patch(&key, &patch).await {
                Err(error) if !is_gone(&error) => Err(error.into()),
                _ => Ok(Outcome::Done),
            }
        }
    });
}
