//! How a server joins a cluster: it asks one that belongs to it, and is given a number and the cluster's keys.
//!
//! The token says which authority the answering server has to have: the keys come over a connection that is authenticated
//! from its first byte on.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc, time::Duration};

use auth::pki;
use bytes::Bytes;
use component_base::{
    join_token::JoinToken,
    tls::{self, WrongAuthority},
};
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{ServerError, etcd_door, identity::Identity};

/// Where servers ask.
pub const PATH: &str = "/coracle/v1/join";
/// The keys that all servers share, below the folder of keys.
const KEYS: [&str; 7] =
    ["ca.crt", "ca.key", "service-account.key", "peers/ca.crt", "peers/ca.key", "etcd/ca.crt", "etcd/ca.key"];
/// The folder of the servers' own authority, below the folder of keys.
pub const PEERS: &str = "peers";
/// How long a server may take to answer: the members have to decide.
const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How a new server finds its cluster.
#[derive(Debug, Clone)]
pub struct Join {
    /// Servers of the cluster, as `https://HOST:PORT`; the first that answers is asked.
    pub servers: Vec<String>,
    /// What allows it to join.
    pub token: String,
}

/// What a new server says of itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Application {
    pub name: String,
    pub address: String,
}

/// What a new server is given.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Admission {
    pub cluster: String,
    pub id: u64,
    pub keys: BTreeMap<String, String>,
}

/// Why a server cannot join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No server is named.
    #[error("no server to join is named: give --join https://HOST:PORT")]
    Nowhere,
    /// The token is none.
    #[error(transparent)]
    Token(#[from] component_base::join_token::NotAToken),
    /// An address that is none.
    #[error("{0:?} is no server's address: write it as https://HOST:PORT")]
    Address(String),
    /// None of the servers could be asked.
    #[error("{server} cannot be asked: {source}")]
    Unreachable {
        /// Who was asked last.
        server: String,
        /// Why not.
        source: io::Error,
    },
    /// The one asked is not of the cluster that the token is for.
    #[error("the token is of another cluster than {server}: {source}")]
    OtherCluster {
        /// Who was asked.
        server: String,
        /// How it was found out.
        source: WrongAuthority,
    },
    /// The cluster refused.
    #[error("{server} refuses: {reason}")]
    Refused {
        /// Who refused.
        server: String,
        /// Why.
        reason: String,
    },
}

/// Joins, and keeps what is given in `pki` and `folder`: the identity last, so that a server which was cut off on the way
/// asks again.
///
/// # Errors
/// When no server can be asked, or the cluster refuses.
pub async fn join(join: &Join, name: &str, address: &str, folder: &Path, keys: &Path) -> Result<Identity, ServerError> {
    let token: JoinToken = join.token.trim().parse().map_err(JoinError::from)?;
    let mut outcome = Err(JoinError::Nowhere);
    for server in &join.servers {
        outcome = ask(server, &token, join.token.trim(), name, address).await;
        // Another server would refuse the same.
        if !matches!(outcome, Err(JoinError::Unreachable { .. })) {
            break;
        }
    }
    let admission = outcome?;
    write(&admission.keys, keys)?;
    let identity = Identity { cluster: admission.cluster, id: admission.id, began: false, promised: false };
    identity.write(folder)?;
    Ok(identity)
}

async fn ask(server: &str, token: &JoinToken, text: &str, name: &str, address: &str) -> Result<Admission, JoinError> {
    let unreachable = |source| JoinError::Unreachable { server: server.to_owned(), source };
    let authority = server.strip_prefix("https://").map(|rest| rest.trim_end_matches('/'));
    let authority = authority.filter(|rest| rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()));
    let Some(authority) = authority else { return Err(JoinError::Address(server.to_owned())) };
    let body = serde_json::to_vec(&Application { name: name.to_owned(), address: address.to_owned() });
    let request = Request::post(PATH)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {text}"))
        .body(Full::new(Bytes::from(body.map_err(|error| unreachable(error.into()))?)))
        .map_err(|error| unreachable(io::Error::other(error)))?;
    let answered = tokio::time::timeout(PATIENCE, send(authority, token, request)).await;
    let (code, bytes) = answered
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer")))
        .map_err(|error| match WrongAuthority::of(&error) {
            Some(source) => JoinError::OtherCluster { server: server.to_owned(), source: source.clone() },
            None => unreachable(error),
        })?;
    if !code.is_success() {
        let status: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
        let message = status.as_ref().and_then(|status| status.get("message")?.as_str());
        let reason = match (code.as_u16(), message) {
            (401, _) => {
                "the token is not known to it, has expired or was revoked: make one with `coracle token create \
                         --role server`"
                    .to_owned()
            }
            (_, Some(message)) => message.to_owned(),
            (_, None) => format!("it answers {code}"),
        };
        return Err(JoinError::Refused { server: server.to_owned(), reason });
    }
    serde_json::from_slice(&bytes).map_err(|error| unreachable(error.into()))
}

async fn send(
    authority: &str,
    token: &JoinToken,
    request: Request<Full<Bytes>>,
) -> io::Result<(http::StatusCode, Bytes)> {
    let (mut config, _) = tls::pinned(token.authority());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(authority).await?;
    let name = ServerName::try_from("kubernetes").map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let code = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(io::Error::other)?;
        Ok((code, body.to_bytes()))
    };
    tokio::pin!(connection);
    tokio::select! {
        answer = exchange => answer,
        ended = &mut connection => Err(ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other)),
    }
}

/// The keys in folder `pki` that a new server is given.
///
/// # Errors
/// When one cannot be read.
pub fn read(folder: &Path) -> Result<BTreeMap<String, String>, ServerError> {
    let text = |name: &&str| {
        let path = folder.join(name);
        let text = fs::read_to_string(&path).map_err(|source| ServerError::File { path, source })?;
        Ok(((*name).to_owned(), text))
    };
    KEYS.iter().map(text).collect()
}

fn write(given: &BTreeMap<String, String>, folder: &Path) -> Result<(), ServerError> {
    pki::make_folder(folder)?;
    for authority in [PEERS, etcd_door::AUTHORITY] {
        pki::make_folder(&folder.join(authority))?;
    }
    for name in KEYS {
        let path = folder.join(name);
        let Some(text) = given.get(name) else {
            let source = io::Error::new(io::ErrorKind::NotFound, "the cluster did not give this key");
            return Err(ServerError::File { path, source });
        };
        pki::write_private(&path, text.as_bytes())?;
    }
    Ok(())
}
