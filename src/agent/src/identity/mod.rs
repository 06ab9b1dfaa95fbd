//! Who a node is, and how it came to be: it joins with a token, and from then on lives by certificates that it renews.
//!
//! ```text
//! token ─► first contact: TLS to a server whose authority has the token's hash
//!       ─► certificate request as system:bootstrap:ID ─► client certificate: system:node:NAME   (kept)
//!       ─► certificate request as the node itself     ─► serving certificate of the kubelet      (kept)
//! ```
//!
//! All is kept in `identity/` of the data directory. A restart uses what is there and needs neither token nor server.

mod facts;
mod pair;
mod renewal;
mod request;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use component_base::{
    JoinToken, SharedClock, SharedEntropy, Tasks,
    tls::{WrongAuthority, pinned},
};
use kubelet::ServingCertificate;
use rustls::pki_types::{CertificateDer, pem::PemObject};

pub use facts::ClusterFacts;
pub use request::RequestError;

use crate::{
    DataDir,
    files::{self, FileError},
    pool::{self, Address, ClientCertificate, DialError, IdentityError, Pool, PoolConfig, Servers},
};
use pair::Pair;
use request::Wanted;

/// How long a server may take on first contact.
const CONTACT: Duration = Duration::from_secs(5);
/// The pause before all servers are tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why a machine cannot be a node of the cluster.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Its files.
    #[error(transparent)]
    File(#[from] FileError),
    /// It never joined, and has nothing to join with.
    #[error("this machine is no node yet ({} holds no certificate): give it --join and --token-file", folder.display())]
    NotJoined {
        /// Where one would be.
        folder: PathBuf,
    },
    /// It was away for too long.
    #[error("the node's certificate ended at {at}: join again with --token-file and a new token")]
    Ended {
        /// When.
        at: jiff::Timestamp,
    },
    /// Nobody said where the cluster is.
    #[error("no server is known: say where one is with --join https://HOST:PORT")]
    NoServer,
    /// What answers is not the token's cluster.
    #[error("{address} is no server of the token's cluster: {source}")]
    OtherCluster {
        /// Which server.
        address: Address,
        /// The hashes.
        source: WrongAuthority,
    },
    /// The token is of another cluster than the data directory.
    #[error(
        "{} belongs to a node of a cluster with another authority than the token's: choose another with --data-dir, \
         or leave --token-file away",
        folder.display()
    )]
    OtherDirectory {
        /// The directory.
        folder: PathBuf,
    },
    /// The node has another name.
    #[error("{} belongs to the node {kept:?}, not {given:?}: a node cannot be renamed; choose another --data-dir", folder.display())]
    OtherName {
        /// The directory.
        folder: PathBuf,
        /// Its node.
        kept: String,
        /// What was asked.
        given: String,
    },
    /// The token is not let in.
    #[error(
        "the cluster does not take the token {id:?}: it is wrong, has expired or was deleted (the server's log says \
         which); `coracle token create --role agent` makes another"
    )]
    Token {
        /// Its ID.
        id: String,
    },
    /// The token is for something else.
    #[error("the token {id:?} is none for agents: make one with `coracle token create --role agent` ({message})")]
    Role {
        /// Its ID.
        id: String,
        /// What the cluster says.
        message: String,
    },
    /// There is no certificate for another reason.
    #[error(transparent)]
    Request(RequestError),
    /// A certificate that is none.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The authority that is kept.
    #[error("the authority that is kept: {0}")]
    Authority(#[from] rustls::pki_types::pem::Error),
}

/// What a node is to be.
pub struct JoinConfig {
    /// Where servers are; those that are known from before count too.
    pub servers: Vec<Address>,
    /// With what it joins, if it has not joined yet.
    pub token: Option<JoinToken>,
    /// Its name; the one that it has, or else `host_name`, unless given.
    pub node_name: Option<String>,
    /// The machine's name.
    pub host_name: String,
    /// What time it is.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
}

/// A node that has joined.
pub struct Identity {
    node_name: String,
    authority: String,
    pool: Pool,
    client: kube::Client,
    servers: Arc<Servers>,
    own: Arc<ClientCertificate>,
    serving: Arc<ServingCertificate>,
    facts: ClusterFacts,
    files: Files,
    clock: SharedClock,
    entropy: SharedEntropy,
}

/// What is kept.
#[derive(Debug, Clone)]
struct Files {
    folder: PathBuf,
}

impl Files {
    fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }
    fn name(&self) -> PathBuf {
        self.folder.join("node-name")
    }
    fn client(&self) -> PathBuf {
        self.folder.join("kubelet-client.pem")
    }
    fn serving(&self) -> PathBuf {
        self.folder.join("kubelet-server.pem")
    }
    fn servers(&self) -> PathBuf {
        self.folder.join("servers.json")
    }
    fn facts(&self) -> PathBuf {
        self.folder.join("cluster.json")
    }
}

impl Identity {
    /// The identity that the data directory holds, or a new one by joining.
    ///
    /// # Errors
    /// Why there is none. That no server can be reached is waited out.
    pub async fn open(data_dir: &DataDir, config: JoinConfig) -> Result<Self, JoinError> {
        let files = Files { folder: data_dir.path().join("identity") };
        files::make_folder(&files.folder)?;
        let kept = Kept::read(&files, &config, data_dir.path())?;
        let servers = Arc::new(Servers::open(&files.servers(), &config.servers)?);
        if servers.all().is_empty() {
            return Err(JoinError::NoServer);
        }
        let Kept { node_name, authority, client } = match kept {
            Some(kept) => kept,
            None => join(&files, &config, &servers).await?,
        };
        let own = Arc::new(ClientCertificate::default());
        own.set(client.pem(), client.pem())?;
        let pool = Pool::new(PoolConfig {
            servers: servers.clone(),
            authority: CertificateDer::from_pem_slice(authority.as_bytes())?,
            certificate: own.clone(),
            token: None,
            entropy: config.entropy.clone(),
        })?;
        let client = pool.client();
        let facts = match ClusterFacts::kept(&files.facts())? {
            Some(facts) => facts,
            None => ClusterFacts::learn(client.clone(), &files.facts()).await?,
        };
        let serving = Arc::new(ServingCertificate::default());
        let (clock, entropy) = (config.clock, config.entropy);
        Ok(Self { node_name, authority, pool, client, servers, own, serving, facts, files, clock, entropy })
    }

    /// The node's name.
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// A client of the cluster, as the node.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The servers that are known.
    pub fn servers(&self) -> Vec<Address> {
        self.servers.all().to_vec()
    }

    /// With what the kubelet serves; it comes when the node is known to the cluster.
    pub fn serving(&self) -> kubelet::TlsFiles {
        kubelet::TlsFiles { certificate: self.serving.clone(), client_ca: self.authority.clone().into_bytes() }
    }

    /// What the cluster says that all nodes must know alike.
    pub fn facts(&self) -> &ClusterFacts {
        &self.facts
    }

    /// Keeps certificates and addresses fresh until `tasks` stops.
    pub fn keep(self: Arc<Self>, tasks: &Tasks) {
        tasks.spawn("servers", self.servers.clone().follow(self.client()));
        let (facts, client, path) = (self.facts.clone(), self.client(), self.files.facts());
        tasks.spawn("cluster-facts", async move { facts.follow(client, &path).await });
        tasks.spawn("client-certificate", renewal::client(self.clone()));
        tasks.spawn("serving-certificate", renewal::serving(self));
    }
}

/// What a node has that has joined.
struct Kept {
    node_name: String,
    authority: String,
    client: Pair,
}

impl Kept {
    fn read(files: &Files, config: &JoinConfig, data_dir: &Path) -> Result<Option<Self>, JoinError> {
        let (name, authority) = (files::read(&files.name())?, files::read(&files.authority())?);
        let (Some(name), Some(authority), Some(client)) = (name, authority, Pair::read(&files.client())?) else {
            let not_joined = || JoinError::NotJoined { folder: files.folder.clone() };
            return if config.token.is_some() { Ok(None) } else { Err(not_joined()) };
        };
        let node_name = name.trim().to_owned();
        if let Some(given) = config.node_name.clone().filter(|given| *given != node_name) {
            return Err(JoinError::OtherName { folder: data_dir.to_owned(), kept: node_name, given });
        }
        let der = CertificateDer::from_pem_slice(authority.as_bytes())?;
        if config.token.as_ref().is_some_and(|token| !token.is_of(&der)) {
            return Err(JoinError::OtherDirectory { folder: data_dir.to_owned() });
        }
        if config.clock.now() >= client.ends() {
            let ended = JoinError::Ended { at: client.ends() };
            return if config.token.is_some() { Ok(None) } else { Err(ended) };
        }
        Ok(Some(Self { node_name, authority, client }))
    }
}

/// Joins: everything is kept before it is used, the certificate last.
async fn join(files: &Files, config: &JoinConfig, servers: &Arc<Servers>) -> Result<Kept, JoinError> {
    let token = config.token.clone().ok_or_else(|| JoinError::NotJoined { folder: files.folder.clone() })?;
    let kept_name = files::read(&files.name())?.map(|name| name.trim().to_owned());
    let node_name = config.node_name.clone().or(kept_name).unwrap_or_else(|| config.host_name.clone());
    let authority = first_contact(servers, &token).await?;
    let pool = Pool::new(PoolConfig {
        servers: servers.clone(),
        authority: authority.clone(),
        certificate: Arc::default(),
        token: Some(token.clone()),
        entropy: config.entropy.clone(),
    })?;
    let authority = pem("CERTIFICATE", &authority);
    let client = first_certificate(&pool, &node_name, &token).await?;
    files::write(&files.authority(), authority.as_bytes())?;
    files::write(&files.name(), node_name.as_bytes())?;
    client.write(&files.client())?;
    tracing::info!(node = node_name, "joined the cluster");
    Ok(Kept { node_name, authority, client })
}

/// The cluster's authority, from any of its servers.
async fn first_contact(servers: &Servers, token: &JoinToken) -> Result<CertificateDer<'static>, JoinError> {
    let mut pause = FIRST_PAUSE;
    let mut list = servers.watch();
    loop {
        let all = list.borrow_and_update().clone();
        let mut stranger = None;
        let mut reasons = Vec::new();
        for address in all.iter() {
            let (tls, met) = pinned(token.authority());
            let connected = pool::secure(address, Arc::new(tls), false);
            let error = match tokio::time::timeout(CONTACT, connected).await {
                Ok(Ok(_)) => match met.authority() {
                    Some(authority) => return Ok(authority.clone()),
                    None => continue,
                },
                Ok(Err(error)) => error,
                Err(_) => DialError::Silent { address: address.clone(), after: CONTACT },
            };
            match wrong_authority(&error) {
                Some(source) => stranger = Some(JoinError::OtherCluster { address: address.clone(), source }),
                None => reasons.push(error.to_string()),
            }
        }
        // Waiting does not change whose server it is.
        if let Some(stranger) = stranger {
            return Err(stranger);
        }
        if pause == FIRST_PAUSE {
            tracing::warn!(reasons = reasons.join("; "), "no server can be reached; it is tried until one can");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn wrong_authority(error: &DialError) -> Option<WrongAuthority> {
    let DialError::Network { source, .. } = error else { return None };
    WrongAuthority::of(source).cloned()
}

async fn first_certificate(pool: &Pool, node: &str, token: &JoinToken) -> Result<Pair, JoinError> {
    let mut pause = FIRST_PAUSE;
    loop {
        let id = || token.id().to_owned();
        match request::certificate(pool.client(), node, &Wanted::Client).await {
            Ok(pair) => return Ok(pair),
            Err(RequestError::Unauthorized) => return Err(JoinError::Token { id: id() }),
            Err(RequestError::Forbidden(message)) => return Err(JoinError::Role { id: id(), message }),
            Err(error) if error.is_final() => return Err(JoinError::Request(error)),
            Err(error) => tracing::warn!(%error, "no certificate yet; it is asked for again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let encoded = STANDARD.encode(der);
    let lines = encoded.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n");
    format!("-----BEGIN {label}-----\n{}-----END {label}-----\n", lines.collect::<String>())
}
