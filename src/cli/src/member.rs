//! `coracle member`: the servers of a cluster.

use ::server::Members;
use clap::{Subcommand, ValueEnum};
use http::{Method, Request};

use crate::{CliError, context::say, kubeconfig::ClusterOptions};

/// The servers of a cluster. One is added by starting it: `coracle server --join URL --token-file FILE`.
#[derive(Debug, Subcommand)]
pub enum Member {
    /// List the servers
    List {
        /// How they are shown
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterOptions,
    },
    /// Remove a server for good: its copy is worthless from then on, and its number never comes back
    Remove {
        /// Its number
        id: u64,
        #[command(flatten)]
        cluster: ClusterOptions,
    },
    /// Let a server that only learns vote now, rather than when the number of voters stays odd
    Promote {
        /// Its number
        id: u64,
        /// Also where the number of voters becomes even
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        cluster: ClusterOptions,
    },
    /// Let another server lead
    TransferLeader {
        /// Its number
        id: u64,
        #[command(flatten)]
        cluster: ClusterOptions,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

impl Member {
    pub(crate) async fn run(self) -> Result<(), CliError> {
        match self {
            Self::List { output, cluster } => {
                let text = send(&cluster, Method::GET, "").await?;
                match output {
                    Output::Json => say(text.trim_end()),
                    Output::Table => table(&serde_json::from_str(&text).map_err(kube::Error::SerdeError)?),
                }
            }
            Self::Remove { id, cluster } => {
                send(&cluster, Method::DELETE, &format!("/{id}")).await?;
                say(&format!("server {id} is removed"));
            }
            Self::Promote { id, force, cluster } => {
                send(&cluster, Method::POST, &format!("/{id}/promote?force={force}")).await?;
                say(&format!("server {id} votes"));
            }
            Self::TransferLeader { id, cluster } => {
                send(&cluster, Method::POST, &format!("/{id}/lead")).await?;
                say(&format!("server {id} leads"));
            }
        }
        Ok(())
    }
}

async fn send(cluster: &ClusterOptions, method: Method, path: &str) -> Result<String, CliError> {
    let request = Request::builder().method(method).uri(format!("/coracle/v1/members{path}")).body(Vec::new());
    let request = request.map_err(|error| CliError::Usage(error.to_string()))?;
    Ok(cluster.client()?.request_text(request).await?)
}

fn table(members: &Members) {
    let wide = members.members.iter().map(|member| member.server.name.len()).max().unwrap_or(0).max(4);
    let address = members.members.iter().map(|member| member.server.api_address.len()).max().unwrap_or(0).max(7);
    say(&format!("{:<6}{:<wide$}  {:<address$}  ROLE", "ID", "NAME", "ADDRESS"));
    for member in &members.members {
        let role = match (member.leader, member.voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        };
        let (name, at) = (&member.server.name, &member.server.api_address);
        say(&format!("{:<6}{name:<wide$}  {at:<address$}  {role}", member.id));
    }
}
