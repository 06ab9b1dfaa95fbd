//! `coracle node`: what a machine needs to join as a node.

use std::path::PathBuf;

use clap::Subcommand;

use crate::{CliError, context::say};

/// Nodes.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// Write the credentials of a node, signed by the cluster's authority, into a folder for `coracle agent`
    Credentials {
        /// The node's name
        name: String,
        /// The server's data directory
        #[arg(long, env = "CORACLE_DATA_DIR", default_value = "coracle-data", value_name = "DIR")]
        data_dir: PathBuf,
        /// The folder to write
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
    },
}

impl Node {
    pub(crate) fn run(self) -> Result<(), CliError> {
        let Self::Credentials { name, data_dir, output } = self;
        let clock = component_base::SystemClock;
        ::server::issue_node_credentials(&data_dir, &name, &clock)?.write(&output)?;
        say(&format!("coracle agent --credentials {}", output.display()));
        Ok(())
    }
}
