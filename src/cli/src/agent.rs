//! `coracle agent`: a node's agent beside a server elsewhere.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use component_base::{OsEntropy, SystemClock};

use crate::{
    CliError,
    context::{own_executable, resolv_conf, resolvers, say, told_to_end},
    kubeconfig,
};

/// Runs a node's agent.
#[derive(Debug, Args)]
pub struct Agent {
    /// The node's credentials: a folder that `coracle node credentials` wrote
    #[arg(long, value_name = "DIR")]
    credentials: PathBuf,
    /// Where the agent keeps its state
    #[arg(long, env = "CORACLE_DATA_DIR", default_value = "coracle-agent", value_name = "DIR")]
    data_dir: PathBuf,
    /// The addresses of this node's pods
    #[arg(long, default_value = "127.64.0.0/18", value_name = "CIDR")]
    pod_cidr: String,
    /// The cluster's name server
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::new(127, 96, 0, 10)), value_name = "ADDRESS")]
    cluster_dns: IpAddr,
    /// The cluster's domain
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    cluster_domain: String,
    #[command(flatten)]
    options: AgentOptions,
}

/// What `agent` and `up` have in common.
#[derive(Debug, Args, Clone)]
pub struct AgentOptions {
    /// The node's name; the machine's unless given
    #[arg(long, env = "CORACLE_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Where the kubelet serves logs and metrics; port 0 takes a free one
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 10250)), value_name = "ADDRESS")]
    pub kubelet_listen: SocketAddr,
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

impl Agent {
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let credentials = ::server::NodeCredentials::read(&self.credentials)?;
        let name = self.options.node_name.clone().unwrap_or_else(|| credentials.node_name.clone());
        let mut config = config(&self.options, name, &self.data_dir, &credentials, self.cluster_dns)?;
        config.cluster_domain = self.cluster_domain;
        config.pod_cidr = self.pod_cidr;
        let mut agent = ::agent::Agent::start(config).await?;
        say("The agent runs");
        tokio::select! {
            told = told_to_end() => told?,
            error = agent.failed() => return Err(error.into()),
        }
        agent.stop().await;
        Ok(())
    }
}

/// The agent's configuration.
pub fn config(
    options: &AgentOptions,
    node_name: String,
    data_dir: &Path,
    credentials: &::server::NodeCredentials,
    dns_address: IpAddr,
) -> Result<::agent::Config, CliError> {
    let mut runtime_arguments = Vec::new();
    for registry in &options.insecure_registry {
        runtime_arguments.extend(["--insecure-registry".to_owned(), registry.clone()]);
    }
    for authority in &options.registry_ca {
        runtime_arguments.extend(["--registry-ca".to_owned(), authority.to_string_lossy().into_owned()]);
    }
    let serving = Arc::new(kubelet::ServingCertificate::default());
    serving
        .set(credentials.serving_certificate.as_bytes(), credentials.serving_key.as_bytes())
        .map_err(|error| CliError::from(::agent::AgentError::from(kubelet::KubeletError::from(error))))?;
    Ok(::agent::Config {
        node_name,
        data_dir: data_dir.to_owned(),
        client: kubeconfig::client_from(&credentials.kubeconfig)?,
        serving: kubelet::TlsFiles { certificate: serving, client_ca: credentials.cluster_ca.clone().into_bytes() },
        kubelet_address: options.kubelet_listen,
        executable: own_executable()?,
        pod_cidr: "127.64.0.0/18".to_owned(),
        node_ip: Ipv4Addr::LOCALHOST.into(),
        dns_address,
        cluster_domain: "cluster.local".to_owned(),
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
