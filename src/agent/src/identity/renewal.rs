//! Certificates are renewed before they end, without a restart.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use component_base::SharedClock;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};

use super::{
    Identity,
    pair::Pair,
    request::{self, Wanted},
};

/// The longest sleep: a machine that slept, or a clock that was set, is noticed within it.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// The pause after a failure: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Names of every machine, which are no node's own.
const NOBODYS: [&str; 1] = ["localhost"];

/// Renews the certificate by which the API server knows the node, for ever.
pub(super) async fn client(identity: Arc<Identity>) {
    let path = identity.files.client();
    let mut pair = read(&path);
    let mut pause = FIRST_PAUSE;
    loop {
        let at = pair.as_ref().map_or(Timestamp::MIN, |pair| pair.renew_at(identity.chance()));
        until(&identity.clock, at).await;
        match request::certificate(identity.client(), &identity.node_name, &Wanted::Client).await {
            Ok(new) => {
                keep(&new, &path);
                match identity.own.set(new.pem(), new.pem()) {
                    Ok(()) => identity.pool.renew(),
                    Err(error) => tracing::error!(%error, "the renewed certificate cannot be used"),
                }
                tracing::info!(ends = %new.ends(), "the node's client certificate is renewed");
                pair = Some(new);
                pause = FIRST_PAUSE;
            }
            Err(error) => {
                tracing::warn!(%error, "the node's client certificate cannot be renewed; it is tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Gets and renews the certificate that the kubelet serves with, for ever: also when the node's addresses change.
pub(super) async fn serving(identity: Arc<Identity>) {
    let path = identity.files.serving();
    let mut pair = read(&path);
    if let Some(kept) = &pair {
        serve(&identity, kept);
    }
    let own = watcher::Config::default().fields(&format!("metadata.name={}", identity.node_name));
    let mut events = watcher(Api::<Node>::all(identity.client()), own).default_backoff().boxed();
    let mut hosts = BTreeSet::new();
    let mut pause = FIRST_PAUSE;
    let mut not_before = Timestamp::MIN;
    loop {
        let fits = pair.as_ref().is_some_and(|pair| *pair.hosts() == hosts);
        let due = match &pair {
            Some(pair) if fits => pair.renew_at(identity.chance()),
            _ => not_before,
        };
        tokio::select! {
            Some(event) = events.next() => match event {
                Ok(watcher::Event::Apply(node) | watcher::Event::InitApply(node)) => hosts = hosts_of(&node),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the own node cannot be watched; it is tried again"),
            },
            () = until(&identity.clock, due.max(not_before)), if !hosts.is_empty() => {
                let wanted = Wanted::Serving(hosts.iter().cloned().collect());
                match request::certificate(identity.client(), &identity.node_name, &wanted).await {
                    Ok(new) => {
                        keep(&new, &path);
                        serve(&identity, &new);
                        tracing::info!(ends = %new.ends(), ?hosts, "the kubelet has a serving certificate");
                        pair = Some(new);
                        pause = FIRST_PAUSE;
                        not_before = Timestamp::MIN;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no serving certificate; it is asked for again");
                        not_before = identity.clock.now().checked_add(pause).unwrap_or(Timestamp::MAX);
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    }
}

impl Identity {
    /// A number between 0 and 1.
    fn chance(&self) -> f64 {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    }
}

fn serve(identity: &Identity, pair: &Pair) {
    if let Err(error) = identity.serving.set(pair.pem().as_bytes(), pair.pem().as_bytes()) {
        tracing::error!(%error, "the kubelet's serving certificate cannot be used");
    }
}

/// What is kept; what cannot be read is as good as nothing, and is asked for anew.
fn read(path: &std::path::Path) -> Option<Pair> {
    Pair::read(path).inspect_err(|error| tracing::warn!(%error, "a certificate is asked for anew")).ok().flatten()
}

fn keep(pair: &Pair, path: &std::path::Path) {
    if let Err(error) = pair.write(path) {
        tracing::error!(%error, "a certificate cannot be kept: a restart would ask for another");
    }
}

/// Under which names and addresses a node is reached.
fn hosts_of(node: &Node) -> BTreeSet<String> {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let hosts = addresses.iter().map(|address| address.address.clone());
    hosts.filter(|host| !NOBODYS.contains(&host.as_str())).collect()
}

/// Returns when the clock shows `at`, or later.
async fn until(clock: &SharedClock, at: Timestamp) {
    while let Ok(left) = Duration::try_from(at.duration_since(clock.now()))
        && !left.is_zero()
    {
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use component_base::{SystemClock, entropy::SeededEntropy};
    use http::{Method, Request, Response, StatusCode};
    use http_body_util::{BodyExt, Full};
    use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
    use kube::{Client, client::Body};
    use parking_lot::Mutex;
    use rcgen::{CertificateParams, CertificateSigningRequestParams, Issuer, KeyPair};
    use serde_json::{Value, json};
    use tempfile::TempDir;
    use tokio::time::Instant;

    use super::*;
    use crate::{
        identity::{ClusterFacts, Files},
        pool::{Pool, PoolConfig, Servers},
    };

    /// So long the certificates of this cluster live.
    const LIFE: Duration = Duration::from_secs(4);

    /// An API server that signs whatever is asked, for [`LIFE`]; the first `failures` times it cannot.
    struct Api {
        clock: SharedClock,
        issuer: Issuer<'static, KeyPair>,
        failures: AtomicUsize,
        signed: Mutex<Vec<Value>>,
    }

    impl Api {
        async fn answer(&self, request: Request<Body>) -> (StatusCode, Value) {
            let (parts, body) = request.into_parts();
            let list = |items: Value| json!({"metadata": {"resourceVersion": "1"}, "items": items});
            if parts.uri.query().is_some_and(|query| query.contains("watch=")) {
                std::future::pending::<()>().await;
            }
            if parts.method == Method::POST {
                let body = body.collect().await.expect("whole").to_bytes();
                let mut csr: Value = serde_json::from_slice(&body).expect("JSON");
                if self.failures.load(Ordering::SeqCst) > 0 {
                    self.failures.fetch_sub(1, Ordering::SeqCst);
                    let status =
                        json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "", "code": 500});
                    return (StatusCode::INTERNAL_SERVER_ERROR, status);
                }
                let mut signed = self.signed.lock();
                csr["metadata"]["name"] = format!("r{}", signed.len()).into();
                let read: CertificateSigningRequest = serde_json::from_value(csr.clone()).expect("a request");
                let certificate = json!(k8s_openapi::ByteString(self.sign(&read.spec.request.0).into_bytes()));
                csr["status"] = json!({"certificate": certificate});
                signed.push(csr.clone());
                return (StatusCode::CREATED, csr);
            }
            let all = match parts.uri.path() {
                "/api/v1/nodes" => json!([{"metadata": {"name": "n"}, "status": {"addresses": [
                    {"type": "InternalIP", "address": "10.0.0.7"}, {"type": "Hostname", "address": "n"}]}}]),
                _ => Value::from_iter(self.signed.lock().last().cloned()),
            };
            (StatusCode::OK, list(all))
        }

        fn sign(&self, pem: &[u8]) -> String {
            let pem = std::str::from_utf8(pem).expect("PEM");
            let mut request = CertificateSigningRequestParams::from_pem(pem).expect("a request");
            let at = |moment: Timestamp| {
                let second = u64::try_from(moment.as_second()).expect("after 1970");
                rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(second)
            };
            request.params.not_before = at(self.clock.now());
            request.params.not_after = at(self.clock.now().checked_add(LIFE).expect("in the calendar"));
            request.signed_by(&self.issuer).expect("signed").pem()
        }
    }

    fn identity(failures: usize) -> (Arc<Identity>, Arc<Api>, TempDir) {
        let clock: SharedClock = Arc::new(SystemClock);
        let key = KeyPair::generate().expect("a key");
        let authority = CertificateParams::default().self_signed(&key).expect("signed");
        let issuer = Issuer::new(CertificateParams::default(), key);
        let api = Arc::new(Api { clock: clock.clone(), issuer, failures: failures.into(), signed: Mutex::default() });
        let asked = api.clone();
        let client = Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let api = asked.clone();
                async move {
                    let (status, body) = api.answer(request).await;
                    let mut response = Response::new(Full::new(bytes::Bytes::from(body.to_string())));
                    *response.status_mut() = status;
                    Ok::<_, Infallible>(response)
                }
            }),
            "default",
        );
        let folder = tempfile::tempdir().expect("a folder");
        let entropy = Arc::new(SeededEntropy::new(3));
        let servers = Arc::new(Servers::fixed(Vec::new()));
        let pool = Pool::new(PoolConfig {
            servers: servers.clone(),
            authority: authority.der().clone(),
            certificate: Arc::default(),
            token: None,
            entropy: entropy.clone(),
        });
        let identity = Identity {
            node_name: "n".to_owned(),
            authority: authority.pem(),
            pool: pool.expect("a pool"),
            client,
            servers,
            own: Arc::default(),
            serving: Arc::default(),
            facts: ClusterFacts { dns: [127, 0, 0, 1].into(), domain: "c".to_owned(), cidr: None },
            files: Files { folder: folder.path().to_owned() },
            clock,
            entropy,
        };
        (Arc::new(identity), api, folder)
    }

    /// Waits until another certificate is kept than `before`.
    async fn another(before: Option<&Pair>, path: &std::path::Path) -> Pair {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(30) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            match Pair::read(path).expect("readable") {
                Some(pair) if before != Some(&pair) => return pair,
                _ => {}
            }
        }
        panic!("no other certificate came");
    }

    async fn is_renewed(name: &str, serving_too: bool, wanted: &[&str]) {
        let (identity, _, folder) = identity(0);
        let path = folder.path().join(name);
        let task = if serving_too { tokio::spawn(serving(identity)) } else { tokio::spawn(client(identity)) };
        let mut pair = another(None, &path).await;
        for _ in 0..2 {
            let before = Instant::now();
            let renewed = another(Some(&pair), &path).await;
            // Certificates begin with a whole second, so up to a quarter of this life is over when one comes.
            let part = before.elapsed().div_duration_f64(LIFE);
            assert!((0.35..0.8).contains(&part), "renewed at {part} of its life");
            assert!(renewed.ends() > pair.ends());
            pair = renewed;
        }
        assert_eq!(pair.hosts().iter().map(String::as_str).collect::<Vec<_>>(), wanted);
        task.abort();
    }

    #[tokio::test]
    async fn certificates_are_renewed_at_two_thirds_of_their_life_again_and_again() {
        tokio::join!(
            is_renewed("kubelet-client.pem", false, &[]),
            is_renewed("kubelet-server.pem", true, &["10.0.0.7", "n"])
        );
    }

    #[tokio::test]
    async fn a_renewal_that_fails_is_tried_again() {
        let (identity, api, folder) = identity(1);
        let task = tokio::spawn(client(identity.clone()));
        another(None, &folder.path().join("kubelet-client.pem")).await;
        assert_eq!(api.failures.load(Ordering::SeqCst), 0);
        task.abort();
    }
}
