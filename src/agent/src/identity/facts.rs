//! What all nodes of a cluster must know alike, as its servers wrote it into the ConfigMap `kube-public/coracle-cluster`.

use std::{net::IpAddr, path::Path};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};

const NAMESPACE: &str = "kube-public";
const NAME: &str = "coracle-cluster";

/// What all nodes of a cluster must know alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// The cluster's name server.
    #[serde(rename = "clusterDNS")]
    pub dns: IpAddr,
    /// The cluster's domain.
    #[serde(rename = "clusterDomain")]
    pub domain: String,
    /// The addresses of all pods, CIDR; nothing where somebody else gives them out.
    #[serde(rename = "clusterCIDR", default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
}

impl ClusterFacts {
    fn of(map: &ConfigMap) -> Result<Self, String> {
        serde_json::to_value(&map.data).and_then(serde_json::from_value).map_err(|error| error.to_string())
    }

    /// What is known from before.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn kept(path: &Path) -> Result<Option<Self>, FileError> {
        files::read_json(path)
    }

    /// What the cluster says, as soon as it does; kept in the file for the next start.
    ///
    /// # Errors
    /// When they cannot be kept.
    pub async fn learn(client: Client, path: &Path) -> Result<Self, FileError> {
        let mut told = Self::watch(client);
        let facts = told.next().await.expect("a watch does not end");
        files::write_json(path, &facts)?;
        Ok(facts)
    }

    /// Keeps in the file what the cluster says later; it counts from the next start on.
    pub async fn follow(self, client: Client, path: &Path) {
        let mut known = self;
        let mut told = Self::watch(client);
        while let Some(facts) = told.next().await {
            if facts == known {
                continue;
            }
            tracing::warn!(before = ?known, now = ?facts, "the cluster's name server, domain or addresses changed: they count when the agent is started again");
            if let Err(error) = files::write_json(path, &facts) {
                tracing::warn!(%error, "what the cluster says cannot be kept");
            }
            known = facts;
        }
    }

    fn watch(client: Client) -> futures::stream::BoxStream<'static, Self> {
        let maps = Api::<ConfigMap>::namespaced(client, NAMESPACE);
        let own = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let events = watcher(maps, own).default_backoff();
        let facts = events.filter_map(|event| async {
            match event {
                Ok(watcher::Event::Apply(map) | watcher::Event::InitApply(map)) => Self::of(&map)
                    .inspect_err(|error| tracing::warn!(error, "the ConfigMap {NAMESPACE}/{NAME} cannot be read"))
                    .ok(),
                Ok(watcher::Event::Delete(_)) => None,
                Ok(_) => None,
                Err(error) => {
                    tracing::debug!(%error, "the ConfigMap {NAMESPACE}/{NAME} cannot be watched; it is tried again");
                    None
                }
            }
        });
        facts.boxed()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn facts_are_read_from_the_config_map() {
        let map = |data: serde_json::Value| serde_json::from_value(json!({"metadata": {}, "data": data})).expect("one");
        let facts = ClusterFacts::of(&map(json!({"clusterDNS": "127.96.0.10", "clusterDomain": "c.local", "x": "y"})));
        let facts = facts.expect("whole");
        assert_eq!((facts.dns.to_string().as_str(), facts.domain.as_str()), ("127.96.0.10", "c.local"));
        let error = ClusterFacts::of(&map(json!({"clusterDomain": "c.local"}))).expect_err("lacking");
        assert!(error.contains("clusterDNS"), "{error}");
    }
}
