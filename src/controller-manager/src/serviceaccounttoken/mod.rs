//! The tokens controller: fills Secrets of type `kubernetes.io/service-account-token`, and removes those whose account is gone.
//!
//! The API server signs: each token is asked for as a client would, bound to its Secret, for as long as can be asked.

pub mod plan;

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Secret, ServiceAccount},
};
use kube::{
    Api, Client, ResourceExt,
    api::PostParams,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use parking_lot::Mutex;

use self::plan::Step;
use crate::{
    framework::{Context, Informer, Key, Outcome, Queue, SyncError, is_gone, spawn_workers},
    preconditions::only,
};

const NAME: &str = "tokens-controller";
/// The longest time that can be asked for.
const SECONDS: i64 = 1 << 32;

struct Controller {
    client: Client,
    accounts: Informer<ServiceAccount>,
    root_ca: String,
}

/// Starts it.
pub fn start(context: &Context) {
    let client = context.clients.manager();
    let accounts = context.informers.of::<ServiceAccount>();
    let queue: Queue<Key> = Queue::new(context.clock.clone());
    // Which Secrets are for an account: their names alone, since all Secrets of the cluster are too much to keep.
    let known: Arc<Mutex<std::collections::HashMap<Key, Key>>> = Arc::default();
    let (of_account, names) = (queue.clone(), known.clone());
    accounts.on_change(move |change| {
        if change.old.is_none() || change.new.is_none() {
            let account = Key::of(&**change.object());
            let names = names.lock();
            names.iter().filter(|(_, of)| **of == account).for_each(|(secret, _)| of_account.add(secret.clone()));
        }
    });
    let secrets = Api::<Secret>::all(client.clone());
    let (told, typed) = (queue.clone(), watcher::Config::default().fields(&format!("type={}", plan::TYPE)));
    context.tasks.spawn(NAME, async move {
        let mut events = std::pin::pin!(watcher::watcher(secrets, typed).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(secret) | Event::InitApply(secret)) => {
                    let key = Key::of(&secret);
                    if let Some(account) = plan::account_of(&secret) {
                        known.lock().insert(key.clone(), Key::new(key.namespace.clone(), account));
                        told.add(key);
                    }
                }
                Ok(Event::Delete(secret)) => {
                    known.lock().remove(&Key::of(&secret));
                }
                Ok(Event::Init | Event::InitDone) => {}
                Err(error) => tracing::warn!(%error, "watch of token secrets failed; it is resumed"),
            }
        }
    });
    let controller = Arc::new(Controller { client, accounts, root_ca: context.root_ca.clone() });
    spawn_workers(context, NAME, 1, &queue, move |key| {
        let controller = controller.clone();
        async move { controller.sync(&key).await }
    });
}

impl Controller {
    async fn sync(&self, key: &Key) -> Result<Outcome, SyncError> {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &key.namespace);
        let Some(secret) = secrets.get_opt(&key.name).await? else { return Ok(Outcome::Done) };
        let Some(name) = plan::account_of(&secret).map(str::to_owned) else { return Ok(Outcome::Done) };
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), &key.namespace);
        let cached = self.accounts.get(&Key::new(key.namespace.clone(), name.as_str()));
        let account = match cached {
            Some(account) => Some(ServiceAccount::clone(&account)),
            // The cache may not know it yet.
            None => accounts.get_opt(&name).await?,
        };
        match plan::plan(&secret, account.as_ref(), &self.root_ca) {
            Step::Stay => {}
            Step::Delete => match secrets.delete(&key.name, &only(&secret)).await {
                Err(error) if !is_gone(&error) => return Err(error.into()),
                _ => {}
            },
            Step::Fill(filled, false) => self.replace(&secrets, &filled).await?,
            Step::Fill(filled, true) => {
                let request = TokenRequest {
                    spec: Some(TokenRequestSpec {
                        audiences: None,
                        bound_object_ref: Some(BoundObjectReference {
                            api_version: Some("v1".to_owned()),
                            kind: Some("Secret".to_owned()),
                            name: secret.metadata.name.clone(),
                            uid: secret.uid(),
                        }),
                        expiration_seconds: Some(SECONDS),
                    }),
                    ..TokenRequest::default()
                };
                let answer = accounts.create_token_request(&name, &PostParams::default(), &request).await?;
                let token = answer.status.and_then(|status| status.token).filter(|token| !token.is_empty());
                let token =
                    token.ok_or_else(|| SyncError::Other(format!("the API server gave no token for {name}")))?;
                self.replace(&secrets, &plan::with_token(*filled, token)).await?;
            }
        }
        Ok(Outcome::Done)
    }

    async fn replace(&self, secrets: &Api<Secret>, secret: &Secret) -> Result<(), SyncError> {
        match secrets.replace(&secret.name_any(), &PostParams::default(), secret).await {
            Err(error) if !is_gone(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}
