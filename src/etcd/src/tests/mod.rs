//! The whole crate over a real store: by etcd's own command line, and beside a real etcd.

mod etcdctl;
mod refused;
mod same;
mod snapshots;
mod watches;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
};

use component_base::{OsEntropy, Tasks};
use hyper_util::rt::TokioIo;
use raft::{NoPeers, Options, RaftStore, Server};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::{Alone, Door, Standing, serve, server_config};

const RESERVED: &str = "/registry/";

/// A program of etcd's that `scripts/setup.sh test` fetches.
fn tool(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin").join(name);
    assert!(path.exists(), "{} is not there: run scripts/setup.sh test", path.display());
    path
}

/// An authority and what it signed: a server, and a client that may come in.
struct Certificates {
    authority: String,
    server: (String, String),
    client: (String, String),
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let signed = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
        };
        Self { authority, server: signed("localhost"), client: signed("client") }
    }

    fn client_config(&self, client: &(String, String)) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(client.0.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(client.1.as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

/// Ours: a store with its door open.
struct Ours {
    folder: TempDir,
    store: RaftStore,
    port: u16,
    certificates: Certificates,
    tasks: Tasks,
}

impl Ours {
    async fn start() -> Self {
        Self::start_reserving(Some(RESERVED)).await
    }

    async fn start_reserving(reserved: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server { name: "ours".to_owned(), ..Server::default() };
        let options = Options { id: 1, cluster: "test".to_owned(), server, connect: Arc::new(NoPeers), begin: true };
        let store = RaftStore::open(&folder.path().join("store"), options).await.unwrap();
        let certificates = Certificates::new();
        let tls = server_config(&certificates.server.0, &certificates.server.1, &certificates.authority).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let standing = {
            let store = store.clone();
            move || {
                let progress = store.progress();
                let (term, index, applied) = (progress.term, progress.committed, progress.applied);
                Standing { cluster: 7, id: store.id(), leader: store.id(), term, index, applied }
            }
        };
        let members = Arc::new(Alone::new("ours", &format!("https://127.0.0.1:{port}"), standing));
        let tasks = Tasks::new();
        let keyspace = store.keyspace().clone();
        let door = Door::new(Arc::new(store.clone()), keyspace, members, Arc::new(OsEntropy), reserved, tasks.clone());
        tasks.spawn("etcd", serve(listener, tls, door, tasks.clone()));
        for (name, text) in
            [("ca", &certificates.authority), ("cert", &certificates.client.0), ("key", &certificates.client.1)]
        {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder, store, port, certificates, tasks }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// etcd's command line, pointed at ours.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tool("etcdctl"));
        let endpoint = format!("--endpoints=https://127.0.0.1:{}", self.port);
        let (ca, cert, key) = (self.file("ca"), self.file("cert"), self.file("key"));
        command.args([endpoint, format!("--cacert={ca}"), format!("--cert={cert}"), format!("--key={key}")]);
        command.args(arguments);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// What the command line says; it has to succeed.
    async fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the command line complains of; it has to fail.
    async fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    async fn channel(&self) -> Channel {
        let connector = TlsConnector::from(Arc::new(self.certificates.client_config(&self.certificates.client)));
        let port = self.port;
        let connect = service_fn(move |_| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                stream.set_nodelay(true)?;
                let name = ServerName::try_from("localhost").expect("a name");
                connector.connect(name, stream).await.map(TokioIo::new)
            }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connect).await.unwrap()
    }

    async fn stop(self) {
        self.tasks.drain().await;
        self.store.close().await;
    }
}
