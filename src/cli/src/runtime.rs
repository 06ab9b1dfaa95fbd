//! `coracle runtime`: the process that runs guests. The agent starts it and speaks to it; people rarely do.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    os::fd::{FromRawFd, RawFd},
    path::PathBuf,
    sync::Arc,
};

use clap::{Args, Subcommand};
use component_base::{OsEntropy, SystemClock};
use images::{Compiler, Registries, Registry};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{CliError, context};

/// This program as it runs, also when its file was replaced meanwhile: what it compiles is then what it can load.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// The runtime.
#[derive(Debug, Subcommand)]
pub enum Runtime {
    /// Serve containers and images over CRI
    Serve(Serve),
    /// Turn a WebAssembly program into machine code
    #[command(hide = true)]
    Compile {
        /// The program
        input: PathBuf,
        /// The machine code
        output: PathBuf,
    },
}

/// Serves containers.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where the runtime keeps its state and images
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Its CRI socket
    #[arg(long, value_name = "SOCKET")]
    socket: PathBuf,
    /// Where the service proxy hands accepted connections over
    #[arg(long, value_name = "SOCKET")]
    handoff_socket: Option<PathBuf>,
    /// The pods' addresses, until the kubelet tells others
    #[arg(long, value_name = "CIDR")]
    pod_cidr: Option<String>,
    /// A descriptor to write a byte to when the sockets are open
    #[arg(long, hide = true, value_name = "NUMBER", value_parser = clap::value_parser!(RawFd).range(3..))]
    ready_fd: Option<RawFd>,
    /// Registries that are spoken to without TLS, as host or host:port
    #[arg(long, value_name = "REGISTRY", value_delimiter = ',')]
    insecure_registry: Vec<String>,
    /// A further authority that registries' certificates may come from, PEM
    #[arg(long, value_name = "FILE")]
    registry_ca: Vec<PathBuf>,
    /// Settings by registry (plainHttp, caFile, credentials), JSON
    #[arg(long, value_name = "FILE")]
    registries: Option<PathBuf>,
    /// The most guests at once; as many as this host allows unless given
    #[arg(long, value_name = "COUNT")]
    max_guests: Option<u32>,
}

impl Runtime {
    pub(crate) fn run(self) -> Result<(), CliError> {
        match self {
            Self::Serve(verb) => context::block_on(verb.run()),
            Self::Compile { input, output } => {
                let code = images::compile_main(&[input.into(), output.into()]);
                // The caller tells a broken program from a broken compiler by it.
                std::process::exit(code)
            }
        }
    }
}

impl Serve {
    async fn run(self) -> Result<(), CliError> {
        raise_descriptor_limit();
        let registries = self.registries()?;
        let runtime = ::runtime::Runtime::open(::runtime::Config {
            root: self.root,
            socket: self.socket,
            handoff_socket: self.handoff_socket,
            pod_cidr: self.pod_cidr,
            registries,
            compiler: Compiler::child(THIS_PROGRAM.into()),
            registry_silence_max: None,
            guests_max: self.max_guests,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        })?;
        // Signals are watched from before anybody knows that we serve: who knows may tell us to end at once.
        let mut told = std::pin::pin!(futures::future::maybe_done(context::told_to_end()));
        let _ = futures::poll!(told.as_mut());
        if let Some(number) = self.ready_fd {
            tell_ready(number)?;
        }
        runtime.serve(told.as_mut()).await?;
        told.take_output().unwrap_or(Ok(()))
    }

    fn registries(&self) -> Result<Registries, CliError> {
        let mut registries = match &self.registries {
            Some(path) => {
                let text = std::fs::read(path).map_err(CliError::file(path))?;
                serde_json::from_slice(&text)
                    .map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))?
            }
            None => Registries { registries: BTreeMap::new(), ca_files: Vec::new() },
        };
        for host in &self.insecure_registry {
            registries.registries.entry(host.clone()).or_insert_with(Registry::default).plain_http = true;
        }
        registries.ca_files.extend(self.registry_ca.iter().cloned());
        Ok(registries)
    }
}

/// Every pod has a listener and a log. A host that allows no more serves fewer pods.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

fn tell_ready(number: RawFd) -> Result<(), CliError> {
    // SAFETY: whoever started this process opened the descriptor for this purpose and named it here; it is none of the
    // standard three, nothing else in this process knows of it, and it is closed at the end of this function.
    let mut ready = unsafe { File::from_raw_fd(number) };
    ready.write_all(b"r").map_err(|source| CliError::System { what: "say that the runtime serves", source })
}
