//! Fills an informer: lists a kind, then watches it from there, and again when the watch ends or has fallen behind.

use std::{fmt::Debug, time::Duration};

use futures::{AsyncBufReadExt, TryStreamExt};
use kube::{
    Client, Resource,
    api::{ListParams, WatchParams},
    core::{Request, Status},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

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

// Objects are kept as text until they are decoded by the one decoder there is of each kind: a list, a watch and an answer
// decoded in their own ways would each compile every kind again.
#[derive(Deserialize)]
struct List {
    metadata: ListMeta,
    #[serde(default)]
    items: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Told<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: ListMeta,
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
        let page: List = client.request(request).await?;
        for item in &page.items {
            objects.push(decode(item)?);
        }
        if page.metadata.r#continue.is_empty() {
            return Ok((objects, version_of(&page.metadata)));
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
        let lines = match client.request_stream(request.map_err(kube::Error::BuildRequest)?).await {
            Ok(stream) => stream.lines(),
            Err(error) if is_expired(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut lines = std::pin::pin!(lines);
        while let Some(line) = lines.try_next().await.map_err(kube::Error::ReadEvents)? {
            let told: Told<'_> = serde_json::from_str(&line).map_err(kube::Error::SerdeError)?;
            match told.r#type {
                "ADDED" | "MODIFIED" => {
                    let object: K = decode(told.object)?;
                    version = version.max(store::version(&object));
                    informer.applied(object);
                }
                "DELETED" => {
                    let object: K = decode(told.object)?;
                    version = version.max(store::version(&object));
                    informer.deleted(&object);
                }
                "BOOKMARK" => {
                    let bookmark: Bookmark = decode(told.object)?;
                    let told = version_of(&bookmark.metadata);
                    version = version.max(told);
                    informer.bookmark(told);
                }
                _ => {
                    let status: Status = decode(told.object)?;
                    return if status.code == 410 { Ok(()) } else { Err(kube::Error::Api(Box::new(status))) };
                }
            }
        }
    }
}

fn decode<T: DeserializeOwned>(text: &RawValue) -> kube::Result<T> {
    serde_json::from_str(text.get()).map_err(kube::Error::SerdeError)
}

fn version_of(meta: &ListMeta) -> u64 {
    meta.resource_version.parse().unwrap_or_default()
}

fn is_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}
