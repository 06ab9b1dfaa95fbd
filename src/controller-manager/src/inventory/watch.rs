//! Lists and watches the metadata of one resource, for ever.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::TryStreamExt;
use kube::{
    Client,
    api::{ListParams, WatchParams},
    core::{Request, WatchEvent},
};
use serde::Deserialize;

use super::{Partial, Resource, Told};

const PAGE: u32 = 500;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const WATCH_SECONDS: u32 = 290;

#[derive(Deserialize)]
struct List {
    metadata: ListMeta,
    #[serde(default)]
    items: Vec<Partial>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ListMeta {
    resource_version: String,
    r#continue: String,
}

/// Tells of all objects of `resource` and of what becomes of them.
pub(super) async fn run(client: &Client, resource: &Arc<Resource>, mut tell: impl FnMut(Told)) {
    let mut pause = FIRST_PAUSE;
    loop {
        let ended = match list(client, resource, &mut tell).await {
            Ok(version) => {
                pause = FIRST_PAUSE;
                follow(client, resource, version, &mut tell).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, resource = resource.plural, "cannot list or watch; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

async fn list(client: &Client, resource: &Arc<Resource>, tell: &mut impl FnMut(Told)) -> kube::Result<String> {
    let request = Request::new(resource.path(""));
    let mut params = ListParams::default().limit(PAGE);
    let mut uids = HashSet::new();
    loop {
        let page: List = client.request(request.list_metadata(&params).map_err(kube::Error::BuildRequest)?).await?;
        for object in page.items {
            uids.insert(object.metadata.uid.clone());
            tell(Told::Seen(resource.clone(), object.metadata));
        }
        if page.metadata.r#continue.is_empty() {
            tell(Told::Listed(resource.clone(), uids));
            return Ok(page.metadata.resource_version);
        }
        params = params.continue_token(&page.metadata.r#continue);
    }
}

/// Watches from `version` on; ends well when that is too old.
async fn follow(
    client: &Client,
    resource: &Arc<Resource>,
    mut version: String,
    tell: &mut impl FnMut(Told),
) -> kube::Result<()> {
    let params = WatchParams::default().timeout(WATCH_SECONDS);
    loop {
        let request = Request::new(resource.path("")).watch_metadata(&params, &version);
        let events = client.request_events::<Partial>(request.map_err(kube::Error::BuildRequest)?).await;
        let mut events = match events {
            Ok(events) => std::pin::pin!(events),
            Err(kube::Error::Api(status)) if status.code == 410 => return Ok(()),
            Err(error) => return Err(error),
        };
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    version.clone_from(&object.metadata.resource_version);
                    tell(Told::Seen(resource.clone(), object.metadata));
                }
                WatchEvent::Deleted(object) => {
                    version.clone_from(&object.metadata.resource_version);
                    tell(Told::Gone(resource.clone(), object.metadata));
                }
                WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                WatchEvent::Error(status) if status.code == 410 => return Ok(()),
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            }
        }
    }
}
