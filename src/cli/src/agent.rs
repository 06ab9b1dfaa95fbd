//! `coracle agent`: a node's agent, which joins a cluster whose servers are elsewhere.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    path::{Path, PathBuf},
    sync::Arc,
};

use ::agent::{AgentError, DataDir, Identity, JoinConfig, pool::Address};
use clap::Args;
use component_base::{JoinToken, OsEntropy, SystemClock};

use crate::{
    CliError,
    context::{host_name, own_executable, resolv_conf, resolvers, say, told_to_end},
    kubeconfig,
};

/// Runs a node's agent.
#[derive(Debug, Args)]
pub struct Agent {
    /// Servers of the cluster: any one will do, and the others become known by themselves. A restart knows them
    #[arg(long, env = "CORACLE_JOIN", value_name = "https://HOST:PORT", value_delimiter = ',')]
    join: Vec<Address>,
    /// A file with a token of `coracle token create --role agent`. A node that has joined needs none
    #[arg(long, env = "CORACLE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Instead of joining: a folder that `coracle node credentials` wrote
    #[arg(long, value_name = "DIR", conflicts_with_all = ["join", "token_file"])]
    credentials: Option<PathBuf>,
    /// Where the agent keeps its state
    #[arg(long, env = "CORACLE_DATA_DIR", default_value = "coracle-agent", value_name = "DIR")]
    data_dir: PathBuf,
    /// The addresses of this node's pods; what the cluster gives the node unless given
    #[arg(long, value_name = "CIDR")]
    pod_cidr: Option<String>,
    /// The cluster's name server; what the cluster says unless given
    #[arg(long, value_name = "ADDRESS")]
    cluster_dns: Option<IpAddr>,
    /// The cluster's domain; what the cluster says unless given
    #[arg(long, value_name = "DOMAIN")]
    cluster_domain: Option<String>,
    #[command(flatten)]
    options: AgentOptions,
}

/// What `agent` and `up` have in common.
#[derive(Debug, Args, Clone)]
pub struct AgentOptions {
    /// The node's name; the machine's unless given
    #[arg(long, env = "CORACLE_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// The node's address, by which servers and other nodes reach it; found out where a node joins, else 127.0.0.1
    #[arg(long, env = "CORACLE_NODE_IP", value_name = "ADDRESS")]
    pub node_ip: Option<IpAddr>,
    /// Where the kubelet serves logs and metrics: port 10250 of the node's address unless given; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub kubelet_listen: Option<SocketAddr>,
    /// The most pods of this node
    #[arg(long, default_value_t = 11_000, value_name = "COUNT")]
    pub max_pods: u32,
    /// Use another container runtime: its CRI socket
    #[arg(long, value_name = "SOCKET")]
    pub container_runtime_endpoint: Option<PathBuf>,
    /// Registries that are spoken to without TLS, as host or host:port
    #[arg(long, value_name = "REGISTRY", value_delimiter = ',')]
    pub insecure_registry: Vec<String>,
    /// A further authority that registries' certificates may come from, PEM
    #[arg(long, value_name = "FILE")]
    pub registry_ca: Vec<PathBuf>,
}

/// What a node with credentials takes the cluster to be, unless it is told: what a server makes unless it is told.
const POD_CIDR: &str = "127.64.0.0/18";
const CLUSTER_DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 96, 0, 10));
/// Where a kubelet serves.
const KUBELET_PORT: u16 = 10250;

impl Agent {
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let mut told = std::pin::pin!(told_to_end());
        let config = tokio::select! {
            told = &mut told => return told,
            config = self.config() => config?,
        };
        let mut agent = ::agent::Agent::start(config).await?;
        say("The agent runs");
        tokio::select! {
            told = told => told?,
            error = agent.failed() => return Err(error.into()),
        }
        agent.stop().await;
        Ok(())
    }

    async fn config(&self) -> Result<::agent::Config, CliError> {
        let mut config = match &self.credentials {
            Some(folder) => {
                let credentials = ::server::NodeCredentials::read(folder)?;
                let name = self.options.node_name.clone().unwrap_or_else(|| credentials.node_name.clone());
                let mut config = config(&self.options, name, &self.data_dir, &credentials, CLUSTER_DNS)?;
                config.pod_cidr = Some(POD_CIDR.to_owned());
                config
            }
            None => self.joined().await?,
        };
        config.pod_cidr = self.pod_cidr.clone().or(config.pod_cidr);
        config.dns_address = self.cluster_dns.unwrap_or(config.dns_address);
        if let Some(domain) = &self.cluster_domain {
            config.cluster_domain.clone_from(domain);
        }
        Ok(config)
    }

    /// The configuration of a node that joined before, or joins now.
    async fn joined(&self) -> Result<::agent::Config, CliError> {
        let token = self.token_file.as_deref().map(read_token).transpose()?;
        let data_dir = Arc::new(DataDir::open(&self.data_dir).map_err(AgentError::from)?);
        let join = JoinConfig {
            servers: self.join.clone(),
            token,
            node_name: self.options.node_name.clone(),
            host_name: host_name(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        };
        let identity = Arc::new(Identity::open(&data_dir, join).await.map_err(AgentError::from)?);
        let node_ip = self.options.node_ip.unwrap_or_else(|| address_towards(&identity.servers()));
        let facts = identity.facts();
        let cluster = Cluster {
            node_name: identity.node_name().to_owned(),
            data_dir,
            client: identity.client(),
            serving: identity.serving(),
            dns_address: facts.dns,
            cluster_domain: facts.domain.clone(),
        };
        let mut config = assemble(&self.options, cluster, node_ip)?;
        config.identity = Some(identity);
        Ok(config)
    }
}

fn read_token(path: &Path) -> Result<JoinToken, CliError> {
    let text = std::fs::read_to_string(path).map_err(CliError::file(path))?;
    text.parse().map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))
}

/// The address of this machine from which it speaks to the servers, which is where they find it. Nothing is sent.
fn address_towards(servers: &[Address]) -> IpAddr {
    let towards = |server: &Address| {
        let to = (server.host.as_str(), server.port).to_socket_addrs().ok()?.next()?;
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    servers.iter().find_map(towards).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// How a node and its cluster know one another.
struct Cluster {
    node_name: String,
    data_dir: Arc<DataDir>,
    client: kube::Client,
    serving: kubelet::TlsFiles,
    dns_address: IpAddr,
    cluster_domain: String,
}

/// The configuration of an agent whose credentials somebody else made.
pub fn config(
    options: &AgentOptions,
    node_name: String,
    data_dir: &Path,
    credentials: &::server::NodeCredentials,
    dns_address: IpAddr,
) -> Result<::agent::Config, CliError> {
    let certificate = Arc::new(kubelet::ServingCertificate::default());
    certificate
        .set(credentials.serving_certificate.as_bytes(), credentials.serving_key.as_bytes())
        .map_err(|error| AgentError::from(kubelet::KubeletError::from(error)))?;
    let cluster = Cluster {
        node_name,
        data_dir: Arc::new(DataDir::open(data_dir).map_err(AgentError::from)?),
        client: kubeconfig::client_from(&credentials.kubeconfig)?,
        serving: kubelet::TlsFiles { certificate, client_ca: credentials.cluster_ca.clone().into_bytes() },
        dns_address,
        cluster_domain: "cluster.local".to_owned(),
    };
    assemble(options, cluster, options.node_ip.unwrap_or(Ipv4Addr::LOCALHOST.into()))
}

fn assemble(options: &AgentOptions, cluster: Cluster, node_ip: IpAddr) -> Result<::agent::Config, CliError> {
    let mut runtime_arguments = Vec::new();
    for registry in &options.insecure_registry {
        runtime_arguments.extend(["--insecure-registry".to_owned(), registry.clone()]);
    }
    for authority in &options.registry_ca {
        runtime_arguments.extend(["--registry-ca".to_owned(), authority.to_string_lossy().into_owned()]);
    }
    Ok(::agent::Config {
        node_name: cluster.node_name,
        data_dir: cluster.data_dir,
        client: cluster.client,
        identity: None,
        serving: cluster.serving,
        kubelet_address: options.kubelet_listen.unwrap_or(SocketAddr::new(node_ip, KUBELET_PORT)),
        executable: own_executable()?,
        pod_cidr: None,
        node_ip,
        dns_address: cluster.dns_address,
        cluster_domain: cluster.cluster_domain,
        upstream_dns: resolvers(),
        runtime_endpoint: options.container_runtime_endpoint.clone(),
        runtime_arguments,
        max_pods: options.max_pods,
        end_runtime: false,
        resolv_conf: resolv_conf(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
    })
}
