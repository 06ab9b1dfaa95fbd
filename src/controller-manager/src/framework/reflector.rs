//! Fills an informer: lists a kind, then watches it from there, and again when the watch ends or has fallen behind.

use std::{fmt::Debug, time::Duration};

use futures::TryStreamExt;
use kube::{
    Client, Resource,
    api::{ListParams, WatchParams},
    core::{Request, WatchEvent},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Informer, store};

/// So many objects are asked for at a time.
const PAGE: u32 = 500;
/// The first pause after a failure, which doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// So long a watch lasts before it is asked for again; the API server allows no more than 295 s.
const WATCH_SECONDS: u32 = 290;

/// Where a kind is served.
#[derive(Debug, Clone)]
pub(super) struct Source(String);

impl Source {
    pub(super) fn of<K: Resource<DynamicType = ()>>() -> Self {
        Self(K::url_path(&(), None))
    }
}

#[derive(Deserialize)]
struct List<K> {
    metadata: ListMeta,
    #[serde(default = "Vec::new")]
    items: Vec<K>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    r#continue: String,
}

/// Runs for ever.
pub(super) async fn run<K>(client: Client, source: Source, informer: Informer<K>)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let ended = match list(&client, &source).await {
            Ok((objects, version)) => {
                informer.replaced(objects, version);
                pause = FIRST_PAUSE;
                follow(&client, &source, &informer, version).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::warn!(%error, kind = source.0, "cannot list or watch; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

async fn list<K: DeserializeOwned>(client: &Client, source: &Source) -> kube::Result<(Vec<K>, u64)> {
    let request = Request::new(&source.0);
    let mut params = ListParams::default().limit(PAGE);
    let mut objects = Vec::new();
    loop {
        let request = request.list(&params).map_err(kube::Error::BuildRequest)?;
        let page: List<K> = client.request(request).await?;
        objects.extend(page.items);
        if page.metadata.r#continue.is_empty() {
            let version = page.metadata.resource_version.parse().unwrap_or_default();
            return Ok((objects, version));
        }
        params = params.continue_token(&page.metadata.r#continue);
    }
}

/// Watches from `version` on, through as many watches as it takes; ends well when the version is too old to watch from.
async fn follow<K>(client: &Client, source: &Source, informer: &Informer<K>, mut version: u64) -> kube::Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let params = WatchParams::default().timeout(WATCH_SECONDS);
    loop {
        let request = Request::new(&source.0).watch(&params, &version.to_string());
        let events = client.request_events::<K>(request.map_err(kube::Error::BuildRequest)?).await;
        let mut events = match events {
            Ok(events) => std::pin::pin!(events),
            Err(error) if is_expired(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    version = version.max(store::version(&object));
                    informer.applied(object);
                }
                WatchEvent::Deleted(object) => {
                    version = version.max(store::version(&object));
                    informer.deleted(&object);
                }
                WatchEvent::Bookmark(bookmark) => {
                    let told = bookmark.metadata.resource_version.parse().unwrap_or_default();
                    version = version.max(told);
                    informer.bookmark(told);
                }
                WatchEvent::Error(status) if status.code == 410 => return Ok(()),
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            }
        }
    }
}

fn is_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}
