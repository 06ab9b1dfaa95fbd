//! `coracle server`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use ::server::{Config, Join, Network};
use clap::Args;
use component_base::{OsEntropy, SystemClock};

use crate::{
    CliError,
    context::{host_name, own_address, say, told_to_end},
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
    /// The host under which clients and other servers reach this server, where that is not the address it listens on
    #[arg(long, env = "CORACLE_ADVERTISE_HOST", value_name = "HOST")]
    pub advertise_host: Option<String>,
    /// This server's name; the machine's unless given
    #[arg(long, env = "CORACLE_SERVER_NAME", value_name = "NAME")]
    pub server_name: Option<String>,
    /// Join the cluster of these servers, as https://HOST:PORT; only a server without state does
    #[arg(long, env = "CORACLE_JOIN", value_name = "URL", value_delimiter = ',', requires = "token_file")]
    pub join: Vec<String>,
    /// The file with the token that allows to join, of `coracle token create --role server`
    #[arg(long, env = "CORACLE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Serve etcd's API too, to clients with the certificate that is written into the folder etcd of the data directory
    #[arg(long, env = "CORACLE_ETCD_LISTEN", value_name = "ADDRESS")]
    pub etcd_listen: Option<SocketAddr>,
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
    ///
    /// # Errors
    /// When the file of the token cannot be read.
    pub fn config(&self) -> Result<Config, CliError> {
        let join = match &self.token_file {
            Some(file) if !self.join.is_empty() => {
                let token = std::fs::read_to_string(file).map_err(CliError::file(file))?;
                Some(Join { servers: self.join.clone(), token })
            }
            _ => None,
        };
        // Who listens everywhere is reached where the machine is.
        let everywhere = self.listen.ip().is_unspecified();
        let advertise = self.advertise_host.clone().or_else(|| everywhere.then(own_address).flatten());
        Ok(Config {
            data_dir: self.data_dir.clone(),
            name: self.server_name.clone().unwrap_or_else(host_name),
            listen: self.listen,
            advertise,
            etcd_listen: self.etcd_listen,
            join,
            names: self.tls_san.clone(),
            network: Network {
                cluster_cidr: self.cluster_cidr.clone(),
                node_mask: 18,
                service_cidr: self.service_cidr.clone(),
                domain: self.cluster_domain.clone(),
            },
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        })
    }
}

impl Server {
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let starting = ::server::Server::start(self.options.config()?);
        let server = tokio::select! {
            server = starting => server?,
            // It may wait for other servers for as long as it takes.
            told = told_to_end() => return told,
        };
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
