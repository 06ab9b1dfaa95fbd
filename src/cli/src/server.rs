//! `coracle server`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use ::server::{Config, Network};
use clap::Args;
use component_base::{OsEntropy, SystemClock};

use crate::{
    CliError,
    context::{say, told_to_end},
};

/// Runs a server.
#[derive(Debug, Args)]
pub struct Server {
    #[command(flatten)]
    pub(crate) options: ServerOptions,
}

/// What `server` and `up` have in common.
#[derive(Debug, Args, Clone)]
pub struct ServerOptions {
    /// Where the cluster's state is kept
    #[arg(long, env = "CORACLE_DATA_DIR", default_value = "coracle-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Where the API is served
    #[arg(long, env = "CORACLE_LISTEN", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 6443)), value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Further names and addresses under which clients reach the API
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub tls_san: Vec<String>,
    /// The range that pods' addresses come from
    #[arg(long, default_value = "127.64.0.0/12", value_name = "CIDR")]
    pub cluster_cidr: String,
    /// The range that Services' addresses come from
    #[arg(long, default_value = "127.96.0.0/16", value_name = "CIDR")]
    pub service_cidr: String,
    /// The cluster's domain
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    pub cluster_domain: String,
    /// Add the cluster to the kubeconfig of this user, and make it the current one
    #[arg(long)]
    pub merge_kubeconfig: bool,
}

impl ServerOptions {
    /// The server's configuration.
    pub fn config(&self) -> Config {
        Config {
            data_dir: self.data_dir.clone(),
            listen: self.listen,
            names: self.tls_san.clone(),
            network: Network {
                cluster_cidr: self.cluster_cidr.clone(),
                node_mask: 18,
                service_cidr: self.service_cidr.clone(),
                domain: self.cluster_domain.clone(),
            },
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        }
    }
}

impl Server {
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let server = ::server::Server::start(self.options.config()).await?;
        if self.options.merge_kubeconfig {
            crate::kubeconfig::merge(server.admin_kubeconfig())?;
        }
        say(&format!("Coracle serves at {}", server.url()));
        say(&format!("export KUBECONFIG={}", server.admin_kubeconfig().display()));
        let failed = tokio::select! {
            told = told_to_end() => told.err(),
            error = server.failed() => Some(error.into()),
        };
        server.stop().await;
        failed.map_or(Ok(()), Err)
    }
}

/// The address of the cluster's name server: the tenth of the Services' range.
pub fn dns_address(service_cidr: &str) -> Result<IpAddr, CliError> {
    ::server::nth_address(service_cidr, 10).map_err(|error| ::server::ServerError::from(error).into())
}
