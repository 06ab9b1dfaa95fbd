//! The client that asks both.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use etcd::pb::{
    Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest,
    compare::{CompareTarget, TargetUnion},
    kv_client::KvClient,
    request_op,
    watch_client::WatchClient,
    watch_request::RequestUnion,
};
use futures::future::{join_all, try_join_all};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::TlsConnector;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use super::certificates::Certificates;
use crate::{cluster::in_time, error::BenchError};

const CONNECTIONS: usize = 8;
const VALUE_BYTES: usize = 1 << 10;
/// The keys that are read.
const READ: usize = 1000;
const LISTED: i64 = 100;

/// A server, and connections to it.
pub struct Servant {
    channels: Vec<Channel>,
}

/// What every client does again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Writes a new key.
    Put,
    /// Reads one key.
    Get,
    /// Reads a hundred keys.
    List,
    /// Creates a key if it is not there.
    Create,
}

/// What came of a load.
pub struct Done {
    /// How long it lasted.
    pub took: Duration,
    /// How long each request took.
    pub times: Vec<Duration>,
}

fn failed(status: Status) -> BenchError {
    BenchError::Other(format!("{:?}: {}", status.code(), status.message()))
}

impl Servant {
    /// Connects, and writes what will be read.
    pub async fn connect(port: u16, certificates: &Certificates) -> Result<Self, BenchError> {
        let connector = TlsConnector::from(Arc::new(certificates.client()?));
        let connect = || {
            let connector = connector.clone();
            let connect = service_fn(move |_| {
                let connector = connector.clone();
                async move {
                    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                    stream.set_nodelay(true)?;
                    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
                    connector.connect(name, stream).await.map(TokioIo::new)
                }
            });
            async move {
                loop {
                    let endpoint = Endpoint::from_static("http://localhost");
                    match endpoint.connect_with_connector(connect.clone()).await {
                        Ok(channel) => return channel,
                        // It has just been started.
                        Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                }
            }
        };
        let servant = Self { channels: join_all((0..CONNECTIONS).map(|_| connect())).await };
        let mut kv = servant.kv(0);
        for number in 0..READ {
            let put = put(format!("read/{number:08}"));
            // A server that listens may still have to elect itself.
            while kv.put(put.clone()).await.is_err() {
                tokio::task::yield_now().await;
            }
        }
        Ok(servant)
    }

    fn kv(&self, client: usize) -> KvClient<Channel> {
        KvClient::new(self.channels[client % CONNECTIONS].clone()).max_decoding_message_size(usize::MAX)
    }

    /// `clients` do it one request after the other for `duration`.
    pub async fn load(&self, load: Load, clients: usize, duration: Duration) -> Result<Done, BenchError> {
        let begun = Instant::now();
        let runs = (0..clients).map(|client| {
            let mut kv = self.kv(client);
            tokio::spawn(async move {
                let mut times = Vec::new();
                while begun.elapsed() < duration {
                    let number = times.len();
                    let before = Instant::now();
                    once(&mut kv, load, clients, client, number).await?;
                    times.push(before.elapsed());
                }
                Ok::<_, Status>(times)
            })
        });
        let runs = try_join_all(runs).await.map_err(|error| BenchError::Other(error.to_string()))?;
        let took = begun.elapsed();
        let times: Vec<_> = runs.into_iter().collect::<Result<Vec<_>, _>>().map_err(failed)?;
        Ok(Done { took, times: times.into_iter().flatten().collect() })
    }

    /// `watchers` watch one key; how long after each of `rounds` puts the last of them has heard of it.
    pub async fn watch(&self, watchers: usize, rounds: usize) -> Result<Vec<Duration>, BenchError> {
        let (heard, mut hearing) = mpsc::unbounded_channel();
        let mut asking = Vec::new();
        for (index, channel) in self.channels.iter().enumerate() {
            let count = (index..watchers).step_by(CONNECTIONS).count();
            let (requests, stream) = mpsc::channel(count.max(1));
            for _ in 0..count {
                let create = WatchCreateRequest { key: "watched".into(), ..WatchCreateRequest::default() };
                let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
                requests.try_send(request).map_err(|error| BenchError::Other(error.to_string()))?;
            }
            let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
            let mut answers = WatchClient::new(channel.clone()).watch(stream).await.map_err(failed)?.into_inner();
            asking.push(requests);
            let heard = heard.clone();
            tokio::spawn(async move {
                while let Ok(Some(answer)) = answers.message().await {
                    let count = if answer.created { 1 } else { answer.events.len() };
                    if heard.send(count).is_err() {
                        break;
                    }
                }
            });
        }
        let mut wait = async || {
            let all = async {
                let mut count = 0;
                while count < watchers {
                    count += hearing.recv().await.unwrap_or(watchers);
                }
                Ok(())
            };
            in_time("what all watchers wait for", all).await
        };
        wait().await?;
        let mut kv = self.kv(0);
        let mut times = Vec::new();
        for _ in 0..rounds {
            let before = Instant::now();
            kv.put(put("watched".to_owned())).await.map_err(failed)?;
            wait().await?;
            times.push(before.elapsed());
        }
        Ok(times)
    }
}

fn put(key: String) -> PutRequest {
    PutRequest { key: key.into(), value: vec![b'x'; VALUE_BYTES].into(), ..PutRequest::default() }
}

async fn once(
    kv: &mut KvClient<Channel>,
    load: Load,
    clients: usize,
    client: usize,
    number: usize,
) -> Result<(), Status> {
    let read = format!("read/{:08}", (client * 7919 + number * 104_729) % READ);
    match load {
        Load::Put => kv.put(put(format!("put/{clients}/{client}/{number:08}"))).await.map(|_| ()),
        Load::Get => kv.range(RangeRequest { key: read.into(), ..RangeRequest::default() }).await.map(|_| ()),
        Load::List => {
            let range =
                RangeRequest { key: read.into(), range_end: "read0".into(), limit: LISTED, ..RangeRequest::default() };
            kv.range(range).await.map(|_| ())
        }
        Load::Create => {
            let key = format!("created/{client}/{number:08}");
            let absent = Compare {
                target: CompareTarget::Mod.into(),
                key: key.clone().into(),
                target_union: Some(TargetUnion::ModRevision(0)),
                ..Compare::default()
            };
            let create = RequestOp { request: Some(request_op::Request::RequestPut(put(key))) };
            let txn = TxnRequest { compare: vec![absent], success: vec![create], failure: Vec::new() };
            kv.txn(txn).await.map(|_| ())
        }
    }
}
