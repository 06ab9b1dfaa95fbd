//! Against a registry of a few lines, which can also misbehave.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use component_base::SystemClock;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

use super::*;
use crate::{
    Compiler, Config,
    layout::{WASM_CONFIG, WASM_LAYER},
};

const MODULE: &[u8] = b"\0asm\x01\0\0\0";

#[derive(Default, Clone)]
struct Fake {
    /// By path.
    answers: HashMap<String, (String, Vec<u8>)>,
    /// `Authorization` that is asked for.
    wants: Option<String>,
    /// Paths that are never answered.
    silent: Option<String>,
}

impl Fake {
    fn with_image(mut self, config_type: &str, layer: &[u8], claimed: &Digest) -> Self {
        let config = b"{}".to_vec();
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": config_type, "digest": Digest::of(&config), "size": config.len()},
            "layers": [{"mediaType": WASM_LAYER, "digest": claimed, "size": layer.len()}],
        })
        .to_string()
        .into_bytes();
        let octets = "application/octet-stream".to_owned();
        self.answers.insert(format!("/v2/app/blobs/{}", Digest::of(&config)), (octets.clone(), config));
        self.answers.insert(format!("/v2/app/blobs/{claimed}"), (octets, layer.to_vec()));
        self.answers.insert("/v2/app/manifests/v1".to_owned(), (OCI_MANIFEST.to_owned(), manifest));
        self
    }

    async fn serve(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let host = listener.local_addr().expect("an address").to_string();
        let fake = Arc::new(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fake = fake.clone();
                tokio::spawn(async move { fake.converse(stream).await });
            }
        });
        host
    }

    async fn converse(&self, stream: tokio::net::TcpStream) {
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(request)) = lines.next_line().await {
            let mut authorized = self.wants.is_none();
            while let Ok(Some(header)) = lines.next_line().await {
                if header.is_empty() {
                    break;
                }
                authorized |= header.split_once(": ").is_some_and(|(name, value)| {
                    name.eq_ignore_ascii_case("authorization") && Some(value) == self.wants.as_deref()
                });
            }
            let path = request.split(' ').nth(1).unwrap_or_default();
            if self.silent.as_ref().is_some_and(|silent| path.contains(silent)) {
                std::future::pending::<()>().await;
            }
            let (status, kind, body) = match self.answers.get(path) {
                _ if !authorized => ("401 Unauthorized", "text/plain".to_owned(), Vec::new()),
                Some((kind, body)) => ("200 OK", kind.clone(), body.clone()),
                None if path == "/v2/" => ("200 OK", "text/plain".to_owned(), Vec::new()),
                None => (
                    "404 Not Found",
                    "application/json".to_owned(),
                    br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#.to_vec(),
                ),
            };
            let ask = if authorized { "" } else { "www-authenticate: Basic realm=\"r\"\r\n" };
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{ask}content-length: {}\r\n\r\n", body.len());
            if writer.write_all(head.as_bytes()).await.is_err() || writer.write_all(&body).await.is_err() {
                return;
            }
        }
    }
}

fn store(folder: &Path) -> Store {
    let config = Config::new(folder.join("images"), Compiler::InProcess, Arc::new(SystemClock));
    Store::open(Config { silence_max: Duration::from_millis(300), ..config }).expect("a store")
}

fn plain(host: &str) -> Registries {
    let registry = Registry { plain_http: true, ..Registry::default() };
    Registries { registries: BTreeMap::from([(host.to_owned(), registry)]), ..Registries::default() }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[tokio::test]
async fn an_artifact_is_pulled_by_tag_and_found_by_digest() {
    let folder = folder();
    let store = store(folder.path());
    let host = Fake::default().with_image(WASM_CONFIG, MODULE, &Digest::of(MODULE)).serve().await;
    let name = format!("{host}/app:v1");
    let record = store.pull(&name, None, &plain(&host)).await.expect("pulled");
    assert!(store.status(&name).is_some());
    assert!(store.status(record.digests.first().expect("one")).is_some());
}

#[tokio::test]
async fn plain_http_is_spoken_only_where_it_is_configured() {
    let folder = folder();
    let store = store(folder.path());
    let host = Fake::default().with_image(WASM_CONFIG, MODULE, &Digest::of(MODULE)).serve().await;
    let error = store.pull(&format!("{host}/app:v1"), None, &Registries::default()).await.expect_err("refused");
    assert!(matches!(error, ImageError::Registry { .. }), "{error}");
}

#[tokio::test]
async fn a_layer_of_another_digest_is_refused() {
    let folder = folder();
    let store = store(folder.path());
    let host = Fake::default().with_image(WASM_CONFIG, b"not what was promised", &Digest::of(MODULE)).serve().await;
    let error = store.pull(&format!("{host}/app:v1"), None, &plain(&host)).await.expect_err("refused");
    let text = error.to_string();
    assert!(text.contains(Digest::of(MODULE).as_str()), "{text}");
    assert!(store.list().is_empty());
}

#[tokio::test]
async fn credentials_are_used_and_missing_ones_are_said() {
    let folder = folder();
    let store = store(folder.path());
    let fake = Fake { wants: Some("Basic dXNlcjpzZWNyZXQ=".to_owned()), ..Fake::default() };
    let host = fake.with_image(WASM_CONFIG, MODULE, &Digest::of(MODULE)).serve().await;
    let name = format!("{host}/app:v1");
    let error = store.pull(&name, None, &plain(&host)).await.expect_err("refused");
    assert!(error.to_string().contains("credentials"), "{error}");
    let credentials = Credentials::Basic { username: "user".to_owned(), password: "secret".to_owned() };
    store.pull(&name, Some(credentials), &plain(&host)).await.expect("pulled");
}

#[tokio::test]
async fn an_unknown_tag_is_not_found() {
    let folder = folder();
    let store = store(folder.path());
    let host = Fake::default().serve().await;
    let error = store.pull(&format!("{host}/app:v9"), None, &plain(&host)).await.expect_err("refused");
    assert!(error.to_string().contains("manifest unknown") || error.to_string().contains("not found"), "{error}");
}

#[tokio::test]
async fn a_registry_that_stalls_is_given_up_on() {
    let folder = folder();
    let store = store(folder.path());
    let host = Fake { silent: Some("blobs".to_owned()), ..Fake::default() }
        .with_image(WASM_CONFIG, MODULE, &Digest::of(MODULE))
        .serve()
        .await;
    let error = store.pull(&format!("{host}/app:v1"), None, &plain(&host)).await.expect_err("given up");
    assert!(matches!(error, ImageError::Stalled { .. }), "{error}");
}
