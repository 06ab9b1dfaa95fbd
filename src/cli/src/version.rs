//! `coracle version`.

use clap::Args;

use crate::{CliError, context::say};

/// This version, as the API server tells it too.
pub const VERSION: &str = apimachinery::VERSION;

/// Shows the version.
#[derive(Debug, Args)]
pub struct Version {
    /// `json` for programs
    #[arg(short, long, value_parser = ["json"])]
    output: Option<String>,
}

impl Version {
    pub(crate) fn run(self) -> Result<(), CliError> {
        match self.output {
            Some(_) => say(&serde_json::json!({ "version": VERSION }).to_string()),
            None => say(&format!("coracle {VERSION}")),
        }
        Ok(())
    }
}
