//! The root CA publisher: puts the cluster's authority into every namespace, where pods find it.

pub mod plan;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::ResourceExt;

use crate::{
    endpoints::is_terminating,
    framework::{Context, Key, Objects, Outcome, Queue, is_gone, spawn_workers},
};

const NAME: &str = "root-ca-cert-publisher";

/// Starts it.
pub fn start(context: &Context) {
    let (client, _) = context.identity(NAME);
    let (namespaces, maps) = (context.informers.of::<Namespace>(), context.informers.of::<ConfigMap>());
    let queue = Queue::new(context.clock.clone());
    let of_namespace = queue.clone();
    namespaces.on_change(move |change| of_namespace.add(change.object().name_any()));
    let of_map = queue.clone();
    maps.on_change(move |change| {
        if change.object().name_any() == plan::NAME {
            of_map.add(change.object().namespace().unwrap_or_default());
        }
    });
    let (maps, root_ca) = (Objects::new(client, maps, context.clock.clone()), context.root_ca.clone());
    spawn_workers(context, NAME, 1, &queue, move |name: String| {
        let (namespaces, maps, root_ca) = (namespaces.clone(), maps.clone(), root_ca.clone());
        async move {
            let Some(namespace) = namespaces.get(&Key::new("", name.as_str())) else { return Ok(Outcome::Done) };
            let there = maps.cache().get(&Key::new(name.as_str(), plan::NAME));
            let Some(map) = plan::plan(&namespace, there.as_deref(), &root_ca) else { return Ok(Outcome::Done) };
            let done = if there.is_some() { maps.replace(&map).await } else { maps.create(&name, &map).await };
            match done {
                Err(error) if !is_terminating(&error) && !is_gone(&error) => Err(error.into()),
                _ => Ok(Outcome::Done),
            }
        }
    });
}
