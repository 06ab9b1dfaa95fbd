//! The servers that an agent knows: those that it was given, and those that the cluster told.

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use futures::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::files::{self, FileError};

/// Where a server listens unless something else is said.
const PORT: u16 = 6443;
/// The Service whose endpoints are the servers that live.
const SERVICE: &str = "kubernetes.io/service-name=kubernetes";

/// Where a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// A name or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A text that is no server's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no server's address: write it as https://HOST:PORT")]
pub struct NoAddress {
    text: String,
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let error = || NoAddress { text: text.to_owned() };
        let uri: http::Uri = text.trim_end_matches('/').parse().map_err(|_| error())?;
        let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let authority = uri.authority().filter(|authority| plain && !authority.as_str().contains('@'));
        if uri.scheme_str() != Some("https") {
            return Err(error());
        }
        let authority = authority.ok_or_else(error)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        // What follows the host and is no port is not to be taken for one that was left out.
        let port = match authority.port() {
            Some(port) => port.as_str().parse().map_err(|_| error())?,
            None if authority.as_str().len() == authority.host().len() => PORT,
            None => return Err(error()),
        };
        if host.is_empty() || port == 0 { Err(error()) } else { Ok(Self { host: host.to_owned(), port }) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "https://[{}]:{}", self.host, self.port);
        }
        write!(f, "https://{}:{}", self.host, self.port)
    }
}

/// What is known, as it is kept in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// By whoever started the agent.
    given: Vec<Address>,
    /// By the cluster.
    told: Vec<Address>,
}

impl Known {
    fn all(&self) -> Arc<[Address]> {
        let more = self.given.iter().filter(|given| !self.told.contains(given));
        self.told.iter().chain(more).cloned().collect()
    }
}

/// The servers that an agent knows.
#[derive(Debug)]
pub struct Servers {
    path: Option<PathBuf>,
    known: parking_lot::Mutex<Known>,
    all: watch::Sender<Arc<[Address]>>,
}

impl Servers {
    /// These alone, kept nowhere.
    pub fn fixed(given: Vec<Address>) -> Self {
        Self::of(None, Known { given, told: Vec::new() })
    }

    /// Those that the file at `path` knows, and those that are given, which stand in for those given before.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn open(path: &Path, given: &[Address]) -> Result<Self, FileError> {
        let mut known: Known = files::read_json(path)?.unwrap_or_default();
        if !given.is_empty() && known.given != given {
            known.given = given.to_vec();
            files::write_json(path, &known)?;
        }
        Ok(Self::of(Some(path.to_owned()), known))
    }

    fn of(path: Option<PathBuf>, known: Known) -> Self {
        let all = watch::Sender::new(known.all());
        Self { path, known: parking_lot::Mutex::new(known), all }
    }

    /// All, and what becomes of them.
    pub fn watch(&self) -> watch::Receiver<Arc<[Address]>> {
        self.all.subscribe()
    }

    /// All.
    pub fn all(&self) -> Arc<[Address]> {
        self.all.borrow().clone()
    }

    /// Takes what the cluster tells. No servers at all is nothing that a cluster can tell.
    pub fn told(&self, mut told: Vec<Address>) {
        told.sort();
        told.dedup();
        let mut known = self.known.lock();
        if told.is_empty() || known.told == told {
            return;
        }
        known.told = told;
        if let Some(path) = &self.path
            && let Err(error) = files::write_json(path, &*known)
        {
            tracing::warn!(%error, "the servers' addresses cannot be kept; after a restart fewer are known");
        }
        self.all.send_replace(known.all());
    }

    /// Follows what the cluster tells, for ever.
    pub async fn follow(self: Arc<Self>, client: Client) {
        let slices = Api::<EndpointSlice>::namespaced(client, "default");
        let mut events = watcher(slices, watcher::Config::default().labels(SERVICE)).default_backoff().boxed();
        let mut present = BTreeMap::new();
        let mut complete = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => {
                    present.clear();
                    complete = false;
                }
                Ok(watcher::Event::InitDone) => complete = true,
                Ok(watcher::Event::Apply(slice) | watcher::Event::InitApply(slice)) => {
                    present.insert(slice.metadata.name.clone(), addresses(&slice));
                }
                Ok(watcher::Event::Delete(slice)) => {
                    present.remove(&slice.metadata.name);
                }
                Err(error) => tracing::debug!(%error, "the servers' addresses cannot be watched; it is tried again"),
            }
            if complete {
                self.told(present.values().flatten().cloned().collect());
            }
        }
    }
}

/// The servers in a slice: each of its addresses at its port.
fn addresses(slice: &EndpointSlice) -> Vec<Address> {
    let ports = slice.ports.iter().flatten().filter(|port| port.name.as_deref() == Some("https"));
    let ports: Vec<u16> = ports.filter_map(|port| u16::try_from(port.port?).ok()).collect();
    let live = slice
        .endpoints
        .iter()
        .flatten()
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true));
    // 0.0.0.0 is where a server listens that was not told how others reach it.
    let reachable = |host: &&String| host.parse::<IpAddr>().is_ok_and(|ip| !ip.is_unspecified());
    let hosts = live.flat_map(|endpoint| &endpoint.addresses).filter(reachable);
    hosts.flat_map(|host| ports.iter().map(|port| Address { host: host.clone(), port: *port })).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_are_urls_without_anything_behind_the_port() {
        assert_eq!(address("https://a:1"), Address { host: "a".into(), port: 1 });
        assert_eq!(address("https://a/"), Address { host: "a".into(), port: 6443 });
        assert_eq!(address("https://[::1]:7").to_string(), "https://[::1]:7");
        for text in
            ["", "a:1", "http://a:1", "https://a:1/b", "https://u@a:1", "https://a:0", "https://a:b", "https://:1"]
        {
            let error = text.parse::<Address>().expect_err("refused").to_string();
            assert!(error.contains("https://HOST:PORT"), "{text}: {error}");
        }
    }

    #[test]
    fn a_restart_knows_all_servers_and_what_is_given_anew_replaces_what_was_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("servers.json");
        let servers = Servers::open(&path, &[address("https://a:1")]).expect("made");
        servers.told(vec![address("https://10.0.0.2:1"), address("https://a:1")]);
        servers.told(Vec::new());
        let all = |given: &[Address]| Servers::open(&path, given).expect("read").all().to_vec();
        assert_eq!(all(&[]), [address("https://10.0.0.2:1"), address("https://a:1")]);
        assert_eq!(all(&[address("https://b:1")]).len(), 3);
        std::fs::write(&path, "{").expect("written");
        let error = Servers::open(&path, &[]).expect_err("refused").to_string();
        assert!(error.contains("servers.json"), "{error}");
    }

    #[test]
    fn a_slice_tells_those_that_are_ready_and_can_be_reached() {
        let slice: EndpointSlice = serde_json::from_value(json!({"metadata": {}, "addressType": "IPv4",
            "ports": [{"name": "https", "port": 6443}, {"name": "other", "port": 1}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}, {"addresses": ["0.0.0.0"]},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}, {"addresses": ["10.0.0.3"]}]}))
        .expect("a slice");
        assert_eq!(addresses(&slice), [address("https://10.0.0.1:6443"), address("https://10.0.0.3:6443")]);
    }
}
