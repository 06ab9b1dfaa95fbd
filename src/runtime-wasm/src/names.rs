//! Names as the pod's DNS configuration says.
//!
//! The resolver of libc reads one configuration a process; a node has one a pod. So a guest's lookup is answered here:
//! from the pod's hosts file, then by its name servers, with its search domains and `ndots`, as `resolv.conf(5)` says.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use component_base::SharedEntropy;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

const DNS_PORT: u16 = 53;
const ANSWER_BYTES_MAX: usize = 4096;

/// A pod's DNS configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// Name servers, asked in this order.
    pub servers: Vec<IpAddr>,
    /// Domains to try behind a name.
    pub searches: Vec<String>,
    /// A name with so many dots is tried as it is first.
    pub ndots: usize,
    /// How long one server is waited for.
    pub timeout: Duration,
    /// How often all servers are asked.
    pub attempts: usize,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self { servers: Vec::new(), searches: Vec::new(), ndots: 1, timeout: Duration::from_secs(2), attempts: 2 }
    }
}

impl DnsConfig {
    /// From CRI's fields, whose options are those of `resolv.conf`. What does not parse is left out.
    pub fn new(servers: &[String], searches: &[String], options: &[String]) -> Self {
        let mut config = Self {
            servers: servers.iter().filter_map(|server| server.parse().ok()).collect(),
            searches: searches.to_vec(),
            ..Self::default()
        };
        for option in options {
            let (name, value) = option.split_once(':').unwrap_or((option, ""));
            match (name, value.parse::<u16>()) {
                ("ndots", Ok(value)) => config.ndots = usize::from(value.min(15)),
                ("timeout", Ok(value)) => config.timeout = Duration::from_secs(value.clamp(1, 30).into()),
                ("attempts", Ok(value)) => config.attempts = usize::from(value.clamp(1, 5)),
                _other => {}
            }
        }
        config
    }

    /// The full names to ask for, in order.
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(full) = name.strip_suffix('.') {
            return vec![full.to_owned()];
        }
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        let mut names: Vec<String> =
            self.searches.iter().map(|domain| format!("{name}.{}", domain.trim_matches('.'))).collect();
        let place = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(place, name.to_owned());
        names
    }
}

/// Why a name has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is no name.
    #[error("not a valid name")]
    Invalid,
    /// Nobody has it.
    #[error("name does not resolve")]
    NotFound,
    /// Nobody could be asked.
    #[error("no name server answered")]
    Unanswered,
}

/// Answers the lookups of one pod.
#[derive(Debug)]
pub struct Resolver {
    config: DnsConfig,
    hosts: HashMap<String, Vec<IpAddr>>,
    entropy: SharedEntropy,
}

impl Resolver {
    /// A resolver by `config`, and by the hosts file `hosts` if there is one.
    pub fn new(config: DnsConfig, hosts: Option<&Path>, entropy: SharedEntropy) -> Self {
        let hosts = hosts.and_then(|path| std::fs::read_to_string(path).ok()).map(|text| parse_hosts(&text));
        Self { config, hosts: hosts.unwrap_or_default(), entropy }
    }

    /// The addresses of `name`.
    ///
    /// # Errors
    /// When there are none, or nobody answered.
    pub async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, NameError> {
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            return Ok(vec![address]);
        }
        let lower = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(addresses) = self.hosts.get(&lower) {
            return Ok(addresses.clone());
        }
        if lower == "localhost" || lower.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
        }
        if self.config.servers.is_empty() {
            return by_host(&lower).await;
        }
        let mut unanswered = false;
        for candidate in self.config.candidates(name) {
            let Ok(candidate) = Name::from_ascii(format!("{candidate}.")) else { continue };
            for kind in [RecordType::A, RecordType::AAAA] {
                match self.ask(&candidate, kind).await {
                    Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
                    // The name is there, with other records.
                    Ok(_) => {}
                    Err(NameError::NotFound) => break,
                    Err(NameError::Unanswered) => {
                        unanswered = true;
                        break;
                    }
                    Err(NameError::Invalid) => return Err(NameError::Invalid),
                }
            }
        }
        Err(if unanswered { NameError::Unanswered } else { NameError::NotFound })
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Vec<IpAddr>, NameError> {
        for _ in 0..self.config.attempts {
            for server in &self.config.servers {
                let server = cni::dial_address(SocketAddr::new(*server, DNS_PORT));
                let answer = tokio::time::timeout(self.config.timeout, self.exchange(server, name, kind)).await;
                match answer {
                    Ok(Ok(answer)) => match answer.metadata.response_code {
                        ResponseCode::NoError => return Ok(addresses(&answer)),
                        ResponseCode::NXDomain => return Err(NameError::NotFound),
                        _refused => {}
                    },
                    Ok(Err(error)) => tracing::debug!(%server, %error, "name server"),
                    Err(_) => tracing::debug!(%server, "name server did not answer in time"),
                }
            }
        }
        Err(NameError::Unanswered)
    }

    async fn exchange(&self, server: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Message> {
        let mut id = [0; 2];
        self.entropy.fill(&mut id);
        let mut query = Message::new(u16::from_be_bytes(id), MessageType::Query, OpCode::Query);
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(name.clone(), kind));
        let query_bytes = query.to_vec().map_err(io::Error::other)?;
        let local = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((local, 0)).await?;
        socket.connect(server).await?;
        socket.send(&query_bytes).await?;
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        loop {
            let length = socket.recv(&mut buffer).await?;
            // What is no answer to this question is somebody else's, or forged: go on waiting.
            let Ok(answer) = Message::from_vec(&buffer[..length]) else { continue };
            if answer.metadata.id != query.metadata.id || answer.queries != query.queries {
                continue;
            }
            return if answer.metadata.truncation {
                self.exchange_long(server, &query_bytes).await
            } else {
                Ok(answer)
            };
        }
    }

    /// Over TCP, since the answer does not fit a datagram.
    async fn exchange_long(&self, server: SocketAddr, query: &[u8]) -> io::Result<Message> {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(query.len()).map_err(io::Error::other)?;
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(query).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        Message::from_vec(&answer).map_err(io::Error::other)
    }
}

fn addresses(answer: &Message) -> Vec<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _other => None,
    };
    answer.answers.iter().filter_map(|record| address(&record.data)).collect()
}

/// A pod without name servers of its own uses the host's.
async fn by_host(name: &str) -> Result<Vec<IpAddr>, NameError> {
    let found = tokio::net::lookup_host((name, 0)).await.map_err(|_| NameError::NotFound)?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.dedup();
    if addresses.is_empty() { Err(NameError::NotFound) } else { Ok(addresses) }
}

/// `ADDRESS NAME…` lines; what follows a `#` does not count.
fn parse_hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        for name in words {
            let addresses = hosts.entry(name.to_ascii_lowercase()).or_default();
            // IPv4 first: sockets of this network are.
            let place = if address.is_ipv4() {
                addresses.iter().filter(|known| known.is_ipv4()).count()
            } else {
                addresses.len()
            };
            addresses.insert(place, address);
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use component_base::entropy::SeededEntropy;

    use super::*;

    fn config() -> DnsConfig {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        DnsConfig::new(
            &words("127.96.0.10 nonsense"),
            &words("default.svc.cluster.local svc.cluster.local cluster.local"),
            &words("ndots:5 timeout:1 rotate"),
        )
    }

    #[test]
    fn short_names_are_searched_first_and_long_ones_as_they_are() {
        let config = config();
        assert_eq!(
            config.candidates("web"),
            ["web.default.svc.cluster.local", "web.svc.cluster.local", "web.cluster.local", "web"]
        );
        assert_eq!(config.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f");
        assert_eq!(config.candidates("example.com."), ["example.com"]);
        assert_eq!((config.ndots, config.timeout, config.servers.len()), (5, Duration::from_secs(1), 1));
    }

    #[tokio::test]
    async fn the_hosts_file_comes_first_and_addresses_are_their_own_names() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let hosts = folder.path().join("hosts");
        std::fs::write(&hosts, "# kubernetes\n::1 db\n127.64.0.9 Web web.local # pod\n10.0.0.1 db\n").expect("written");
        let resolver = Resolver::new(config(), Some(&hosts), Arc::new(SeededEntropy::new(1)));
        let v4 = |text: &str| vec![text.parse::<IpAddr>().expect("an address")];
        assert_eq!(resolver.lookup("web").await, Ok(v4("127.64.0.9")));
        assert_eq!(resolver.lookup("db").await.map(|found| found[0].to_string()), Ok("10.0.0.1".to_owned()));
        assert_eq!(resolver.lookup("127.0.0.5").await, Ok(v4("127.0.0.5")));
        assert_eq!(resolver.lookup("localhost").await, Ok(v4("127.0.0.1")));
    }
}
