//! Benchmarks of a cluster that people would feel: how long until something answers, how much fits, how fast it serves.
//!
//! ```text
//! bench first-answer crash pods requests api idle --kubeconfig data/admin.kubeconfig --data-dir data
//! bench start failover --coracle PATH
//! bench store --etcd-binary PATH
//! ```
//!
//! Everything but `start`, `failover` and `store` works on any cluster that the kubeconfig reaches; what is measured is what a client sees. Each run
//! prints a table and is kept as a file with the machine's description, since a figure without its machine says nothing.

mod api;
mod cluster;
mod crash;
mod error;
mod failover;
mod first_answer;
mod idle;
mod load;
mod machine;
mod pods;
mod processes;
mod report;
mod requests;
mod start;
mod store;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};

use crate::{cluster::Cluster, error::BenchError, report::Report};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// From the apply of a Deployment and a Service to the first 200 through the Service
    FirstAnswer,
    /// From a guest's crash to its next 200
    Crash,
    /// Many pods to Ready, and the memory that each costs
    Pods,
    /// Requests a second through a Service, beside `wasmtime serve` with the same guest
    Requests,
    /// Creates, gets and lists a second
    Api,
    /// Memory and processor time of the whole cluster with nothing to do
    Idle,
    /// From the start of `coracle up` on an empty folder to a Ready node
    Start,
    /// From the loss of the leading of three servers to the next acknowledged write
    Failover,
    /// The store alone, by etcd's API, beside a real etcd: see `bench/src/store/mod.rs` for how
    Store,
    /// What `store` measures of ours, in a process of its own: the store and its door
    #[value(hide = true)]
    StoreDoor,
}

/// Measures a cluster.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// What to measure, in this order
    #[arg(required = true)]
    measures: Vec<Measure>,
    /// How the cluster is reached
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A `wasi:http` guest's image, which the cluster can have
    #[arg(long, default_value = "coracle.local/hello-http:v1", value_name = "REFERENCE")]
    image: String,
    /// A `wasi:http` guest's image that ends its instance when it is asked for /trap
    #[arg(long, default_value = "coracle.local/probe-http:v1", value_name = "REFERENCE")]
    crashing_image: String,
    /// The port that both listen on
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    port: u16,
    /// The command name of the cluster's processes, for memory and processor time
    #[arg(long, default_value = "coracle", value_name = "NAME")]
    process: String,
    /// How often a latency is measured
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    rounds: usize,
    /// How many pods `pods` brings up
    #[arg(long, default_value_t = 1000, value_name = "COUNT")]
    pods: usize,
    /// The guest's file, for `requests` to give to `wasmtime serve`
    #[arg(long, default_value = "wasm-examples/target/guests/hello-http.wasm", value_name = "FILE")]
    guest: PathBuf,
    /// `wasmtime`, for `requests`
    #[arg(long, default_value = "wasmtime", value_name = "FILE")]
    wasmtime: PathBuf,
    /// `coracle`, for `start` and `failover`
    #[arg(long, default_value = "coracle", value_name = "FILE")]
    coracle: PathBuf,
    /// `etcd`, for `store`
    #[arg(long, default_value = ".tools/bin/etcd", value_name = "FILE")]
    etcd_binary: PathBuf,
    /// On which disk `store` lets both keep their data
    #[arg(long, default_value = ".", value_name = "DIR")]
    store_folder: PathBuf,
    /// How long `store` measures each load, seconds
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    store_seconds: u64,
    /// Where results are kept
    #[arg(long, default_value = "bench/results", value_name = "DIR")]
    results: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Fails only if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), BenchError> {
    let mut report = Report::new(machine::describe());
    for measure in &arguments.measures {
        match measure {
            Measure::Start => {
                start::measure(arguments, &mut report).await?;
                continue;
            }
            Measure::Failover => {
                failover::measure(arguments, &mut report).await?;
                continue;
            }
            Measure::Store => {
                store::measure(arguments, &mut report).await?;
                continue;
            }
            Measure::StoreDoor => return store::serve(&arguments.store_folder).await,
            _ => {}
        }
        let cluster = Cluster::connect(arguments).await?;
        match measure {
            Measure::FirstAnswer => first_answer::measure(arguments, &cluster, &mut report).await?,
            Measure::Crash => crash::measure(arguments, &cluster, &mut report).await?,
            Measure::Pods => pods::measure(arguments, &cluster, &mut report).await?,
            Measure::Requests => requests::measure(arguments, &cluster, &mut report).await?,
            Measure::Api => api::measure(arguments, &cluster, &mut report).await?,
            Measure::Idle => idle::measure(arguments, &mut report).await?,
            Measure::Start | Measure::Failover | Measure::Store | Measure::StoreDoor => {}
        }
        cluster.clean_up().await?;
    }
    report.print();
    report.keep(&arguments.results)
}
