//! The service account controller: gives every namespace the account that pods run as unless they name another.

pub mod plan;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::ResourceExt;

use crate::{
    endpoints::is_terminating,
    framework::{Context, Key, Objects, Outcome, Queue, is_conflict, is_gone, spawn_workers},
};

const NAME: &str = "service-account-controller";

/// Starts it.
pub fn start(context: &Context) {
    let (client, _) = context.identity(NAME);
    let (namespaces, accounts) = (context.informers.of::<Namespace>(), context.informers.of::<ServiceAccount>());
    let queue = Queue::new(context.clock.clone());
    let of_namespace = queue.clone();
    namespaces.on_change(move |change| of_namespace.add(change.object().name_any()));
    let of_account = queue.clone();
    accounts.on_change(move |change| {
        if change.new.is_none() && change.object().name_any() == plan::DEFAULT {
            of_account.add(change.object().namespace().unwrap_or_default());
        }
    });
    let accounts = Objects::new(client, accounts, context.clock.clone());
    spawn_workers(context, NAME, 1, &queue, move |name: String| {
        let (namespaces, accounts) = (namespaces.clone(), accounts.clone());
        async move {
            let Some(namespace) = namespaces.get(&Key::new("", name.as_str())) else { return Ok(Outcome::Done) };
            let there = accounts.cache().get(&Key::new(name.as_str(), plan::DEFAULT)).is_some();
            let Some(account) = plan::plan(&namespace, there) else { return Ok(Outcome::Done) };
            match accounts.create(&name, &account).await {
                Err(error) if !is_conflict(&error) && !is_terminating(&error) && !is_gone(&error) => Err(error.into()),
                _ => Ok(Outcome::Done),
            }
        }
    });
}
