//! The command line: one file a verb.

mod agent;
mod context;
mod image;
mod kubeconfig;
mod member;
mod node;
mod runtime;
mod server;
mod token;
mod up;
mod version;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use component_base::logs;

pub(crate) use context::CliError;

/// A Kubernetes so light that one person carries it, whose native workload is WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "coracle", version = version::VERSION, disable_help_subcommand = true)]
struct Arguments {
    /// What to log: a level, or levels by component (`info,kubelet=debug`)
    #[arg(long, global = true, env = "CORACLE_LOG", default_value = "warn,openraft=error", value_name = "FILTER")]
    log: String,
    /// How logs look
    #[arg(long, global = true, env = "CORACLE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a whole cluster: server and agent in this process, the guests in another
    Up(up::Up),
    /// Run a server: API, store, controllers and scheduler
    Server(server::Server),
    /// Run a node's agent: kubelet, service proxy, DNS
    Agent(agent::Agent),
    /// Give a node what it needs to join
    #[command(subcommand)]
    Node(node::Node),
    /// See and change which servers belong to the cluster
    #[command(subcommand)]
    Member(member::Member),
    /// Make, list and delete the tokens with which machines join
    #[command(subcommand)]
    Token(token::Token),
    /// Run what runs guests; the agent does so by itself
    #[command(subcommand)]
    Runtime(runtime::Runtime),
    /// Bring images into the cluster, list and remove them
    #[command(subcommand)]
    Image(image::Image),
    /// Show the version
    Version(version::Version),
    /// Print a shell's completions
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Runs the verb named on the command line.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let format = match arguments.log_format {
        LogFormat::Text => logs::Format::Text,
        LogFormat::Json => logs::Format::Json,
    };
    let result = logs::init(format, &arguments.log).map_err(CliError::from).and_then(|()| arguments.verb.run());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            context::complain(&error);
            ExitCode::FAILURE
        }
    }
}

impl Verb {
    fn run(self) -> Result<(), CliError> {
        match self {
            Self::Up(verb) => context::block_on(verb.run()),
            Self::Server(verb) => context::block_on(verb.run()),
            Self::Agent(verb) => context::block_on(verb.run()),
            Self::Node(verb) => verb.run(),
            Self::Token(verb) => context::block_on(verb.run()),
            Self::Runtime(verb) => verb.run(),
            Self::Member(verb) => context::block_on(verb.run()),
            Self::Image(verb) => context::block_on(verb.run()),
            Self::Version(verb) => verb.run(),
            Self::Completion { shell } => {
                clap_complete::generate(shell, &mut Arguments::command(), "coracle", &mut std::io::stdout());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
