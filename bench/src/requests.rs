//! Requests a second through a Service, and by the same guest in `wasmtime serve`, in turn in the same run.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    Arguments,
    cluster::{Cluster, free_address},
    error::BenchError,
    load,
    report::Report,
};

const CONNECTIONS: usize = 32;
const DURATION: Duration = Duration::from_secs(5);
const ROUNDS: usize = 3;

/// A peer that ends with the measurement.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub async fn measure(arguments: &Arguments, cluster: &Cluster, report: &mut Report) -> Result<(), BenchError> {
    cluster.deploy("load", &arguments.image, arguments.port, 1).await?;
    let ours = cluster.expose("load", arguments.port).await?;
    load::until_ok(ours, "/").await?;
    let theirs = free_address()?;
    let peer = Command::new(&arguments.wasmtime)
        .args(["serve", "-Scli", "--addr", &theirs.to_string()])
        .arg(&arguments.guest)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _peer = Peer(peer.map_err(BenchError::file(&arguments.wasmtime))?);
    load::until_ok(theirs, "/").await?;
    let (mut own, mut other, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let run = load::run(ours, CONNECTIONS, DURATION).await?;
        own.push(run.per_second);
        times.extend(run.times);
        other.push(load::run(theirs, CONNECTIONS, DURATION).await?.per_second);
    }
    own.sort_by(f64::total_cmp);
    other.sort_by(f64::total_cmp);
    report.one("requests through a Service", "1/s", own[ROUNDS / 2]);
    report.one("the same guest in wasmtime serve", "1/s", other[ROUNDS / 2]);
    report.one("ratio", "", own[ROUNDS / 2] / other[ROUNDS / 2]);
    report.times("a request through a Service under load", &times);
    Ok(())
}
