//! From a crash to serving again.

use std::time::Instant;

use crate::{Arguments, cluster::Cluster, error::BenchError, load, report::Report};

/// A new pod each round, so that each crash is its first: later ones back off, as Kubernetes has it.
pub async fn measure(arguments: &Arguments, cluster: &Cluster, report: &mut Report) -> Result<(), BenchError> {
    let mut times = Vec::new();
    for round in 0..arguments.rounds {
        let name = format!("crash-{round}");
        cluster.deploy(&name, &arguments.crashing_image, arguments.port, 1).await?;
        let address = cluster.expose(&name, arguments.port).await?;
        load::until_ok(address, "/").await?;
        cluster.ready(&name, 1).await?;
        let started = Instant::now();
        // The request that crashes it gets an error or none; what counts is the next.
        let _ = load::get(address, "/trap").await;
        load::until_ok(address, "/").await?;
        times.push(started.elapsed());
    }
    report.times("crash of a guest to the next 200", &times);
    Ok(())
}
