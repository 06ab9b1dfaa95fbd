//! `coracle up`: server and agent in one process.

use clap::Args;

use crate::{
    CliError,
    agent::{AgentOptions, config},
    context::{host_name, say, told_to_end},
    kubeconfig,
    server::{ServerOptions, dns_address},
};

/// Runs a whole cluster.
#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    server: ServerOptions,
    #[command(flatten)]
    agent: AgentOptions,
}

impl Up {
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let progress = Progress::new();
        progress.step("Starting the server");
        let server = ::server::Server::start(self.server.config()?).await?;
        if self.server.merge_kubeconfig {
            kubeconfig::merge(server.admin_kubeconfig())?;
        }
        progress.step("Starting the node");
        let name = self.agent.node_name.clone().unwrap_or_else(host_name);
        let credentials = server.node_credentials(&name)?;
        let dns = dns_address(&self.server.service_cidr)?;
        let mut config = config(&self.agent, name, &self.server.data_dir.join("agent"), &credentials, dns)?;
        config.cluster_domain = self.server.cluster_domain.clone();
        config.pod_cidr = Some(server.pod_cidr_of_first_node()?);
        config.end_runtime = true;
        let mut agent = ::agent::Agent::start(config).await?;
        progress.done();
        say(&format!("Coracle is up at {}", server.url()));
        say(&format!("export KUBECONFIG={}", server.admin_kubeconfig().display()));
        let failed = tokio::select! {
            told = told_to_end() => told.err(),
            error = agent.failed() => Some(error.into()),
        };
        agent.stop().await;
        server.stop().await;
        failed.map_or(Ok(()), Err)
    }
}

/// What is being done: a moving line on a terminal, a plain line elsewhere.
struct Progress(Option<indicatif::ProgressBar>);

impl Progress {
    fn new() -> Self {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        Self(terminal.then(indicatif::ProgressBar::new_spinner))
    }

    fn step(&self, what: &str) {
        match &self.0 {
            Some(bar) => {
                bar.set_message(what.to_owned());
                bar.tick();
            }
            None => say(what),
        }
    }

    fn done(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
