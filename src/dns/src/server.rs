//! DNS on the wire: UDP and TCP, one task a question.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hickory_proto::{
    op::{Message, OpCode, ResponseCode},
    rr::DNSClass,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

use crate::zone::{Lookup, Zone};

/// What a client without EDNS takes in one datagram (RFC 1035).
const PLAIN_DATAGRAM: usize = 512;
/// The largest answer over UDP that is surely not fragmented (DNS flag day 2020).
const LARGEST_DATAGRAM: usize = 1232;
/// How long one upstream server is waited for.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a TCP client may be silent.
const TCP_IDLE: Duration = Duration::from_secs(10);

/// Why the name server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The cluster's domain is not a domain name.
    #[error("cluster domain {domain:?} is not a domain name: {reason}")]
    Domain {
        /// What was given.
        domain: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The address is not to be had.
    #[error("cannot listen for DNS at {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A bound name server.
pub struct Server {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    answerer: Answerer,
}

impl Server {
    /// Binds both transports at `address`.
    pub async fn bind(address: SocketAddr, zone: Zone, upstream: Vec<SocketAddr>) -> Result<Self, DnsError> {
        let failed = |source| DnsError::Bind { address, source };
        let udp = UdpSocket::bind(address).await.map_err(failed)?;
        let tcp = TcpListener::bind(udp.local_addr().map_err(failed)?).await.map_err(failed)?;
        Ok(Self { udp: Arc::new(udp), tcp, answerer: Answerer { zone, upstream: upstream.into() } })
    }

    /// Answers until it is dropped.
    pub async fn serve(self) {
        tokio::join!(datagrams(self.udp, self.answerer.clone()), connections(self.tcp, self.answerer));
    }
}

async fn datagrams(socket: Arc<UdpSocket>, answerer: Answerer) {
    let mut buffer = vec![0; 4096];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let (question, socket, answerer) = (buffer[..length].to_vec(), socket.clone(), answerer.clone());
        tokio::spawn(async move {
            if let Some(answer) = answerer.answer(&question, true).await {
                // A lost datagram is asked for again.
                let _ = socket.send_to(&answer, client).await;
            }
        });
    }
}

async fn connections(listener: TcpListener, answerer: Answerer) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let answerer = answerer.clone();
        tokio::spawn(async move {
            // A client that breaks off or is silent too long is gone; nobody waits for more.
            let _ = converse(client, answerer).await;
        });
    }
}

async fn converse(mut client: TcpStream, answerer: Answerer) -> io::Result<()> {
    loop {
        let question = tokio::time::timeout(TCP_IDLE, read_message(&mut client)).await??;
        let Some(answer) = answerer.answer(&question, false).await else { return Ok(()) };
        write_message(&mut client, &answer).await?;
    }
}

async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::Error::other("DNS message above 64 KiB"))?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

/// Turns questions into answers.
#[derive(Clone)]
struct Answerer {
    zone: Zone,
    upstream: Arc<[SocketAddr]>,
}

impl Answerer {
    /// The answer to the message `question`; none when it is not even a question.
    async fn answer(&self, question: &[u8], datagram: bool) -> Option<Vec<u8>> {
        let asked = Message::from_vec(question).ok()?;
        let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
        answer.metadata.recursion_desired = asked.metadata.recursion_desired;
        answer.metadata.recursion_available = !self.upstream.is_empty();
        answer.queries = asked.queries.clone();
        let [query] = asked.queries.as_slice() else { return failed(answer, ResponseCode::FormErr) };
        if asked.metadata.op_code != OpCode::Query || query.query_class() != DNSClass::IN {
            return failed(answer, ResponseCode::NotImp);
        }
        match self.zone.look_up(query.name(), query.query_type()) {
            Lookup::Elsewhere => return self.ask_upstream(question, answer, datagram).await,
            Lookup::NoName => {
                answer.metadata.authoritative = true;
                answer.metadata.response_code = ResponseCode::NXDomain;
                answer.add_authority(self.zone.authority());
            }
            Lookup::Records(records) => {
                answer.metadata.authoritative = true;
                if records.is_empty() {
                    answer.add_authority(self.zone.authority());
                }
                answer.add_answers(records);
            }
        }
        let bytes = answer.to_vec().ok()?;
        let room = match &asked.edns {
            Some(edns) => usize::from(edns.max_payload()).clamp(PLAIN_DATAGRAM, LARGEST_DATAGRAM),
            None => PLAIN_DATAGRAM,
        };
        if datagram && bytes.len() > room { answer.truncate().to_vec().ok() } else { Some(bytes) }
    }

    /// Asks the node's own resolvers, in their order.
    async fn ask_upstream(&self, question: &[u8], answer: Message, datagram: bool) -> Option<Vec<u8>> {
        for server in self.upstream.iter() {
            let asked = async {
                if datagram { ask_by_udp(*server, question).await } else { ask_by_tcp(*server, question).await }
            };
            match tokio::time::timeout(UPSTREAM_TIMEOUT, asked).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, %error, "upstream resolver failed"),
                Err(_) => tracing::debug!(%server, "upstream resolver did not answer in time"),
            }
        }
        failed(answer, if self.upstream.is_empty() { ResponseCode::Refused } else { ResponseCode::ServFail })
    }
}

fn failed(mut answer: Message, code: ResponseCode) -> Option<Vec<u8>> {
    answer.metadata.response_code = code;
    answer.to_vec().ok()
}

async fn ask_by_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 65_535];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anyone on the way could send to this port: only an answer to this very question counts.
        if buffer[..length].get(..2) == question.get(..2) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_by_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_message(&mut stream, question).await?;
    read_message(&mut stream).await
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::Query,
        rr::{Name, RecordType},
    };
    use kube::runtime::{reflector, watcher::Event};
    use serde_json::json;

    use super::*;

    /// A server on loopback over one Service.
    async fn serve() -> SocketAddr {
        let (services, mut writer) = reflector::store();
        let service = json!({"metadata": {"namespace": "default", "name": "web"}, "spec": {"clusterIP": "127.96.0.9"}});
        writer.apply_watcher_event(&Event::Apply(serde_json::from_value(service).expect("a Service")));
        let (slices, _) = reflector::store();
        let zone = Zone::new("cluster.local", services, slices).expect("a name");
        let server = Server::bind(([127, 0, 0, 1], 0).into(), zone, Vec::new()).await.expect("loopback");
        let address = server.udp.local_addr().expect("bound");
        tokio::spawn(server.serve());
        address
    }

    fn question(name: &str) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
        message.to_vec().expect("it encodes")
    }

    #[tokio::test]
    async fn both_transports_give_the_same_answer() {
        let server = serve().await;
        let question = question("web.default.svc.cluster.local.");
        let udp = ask_by_udp(server, &question).await.expect("answered");
        assert_eq!(udp, ask_by_tcp(server, &question).await.expect("answered"));
        assert_eq!(Message::from_vec(&udp).expect("a message").answers[0].data.to_string(), "127.96.0.9");
    }

    #[tokio::test]
    async fn what_is_not_known_is_said_so() {
        let server = serve().await;
        let code = async |name| {
            let answer = ask_by_udp(server, &question(name)).await.expect("answered");
            Message::from_vec(&answer).expect("a message").metadata.response_code
        };
        assert_eq!(code("no.default.svc.cluster.local.").await, ResponseCode::NXDomain);
        assert_eq!(code("example.org.").await, ResponseCode::Refused);
    }

    #[tokio::test]
    async fn garbage_is_dropped_and_the_next_question_is_answered() {
        let server = serve().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
        socket.send_to(b"garbage", server).await.expect("sent");
        assert!(ask_by_udp(server, &question("web.default.svc.cluster.local.")).await.is_ok());
    }
}
