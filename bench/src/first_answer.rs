//! From a manifest to an answer: what a user waits for.

use std::time::Instant;

use crate::{Arguments, cluster::Cluster, error::BenchError, load, report::Report};

/// A new Deployment and a new Service each round; the image is there already, as on the second deployment of anything.
pub async fn measure(arguments: &Arguments, cluster: &Cluster, report: &mut Report) -> Result<(), BenchError> {
    let mut times = Vec::new();
    // The first round warms the connection and the image, and is not counted.
    for round in 0..=arguments.rounds {
        let name = format!("first-{round}");
        let started = Instant::now();
        cluster.deploy(&name, &arguments.image, arguments.port, 1).await?;
        let address = cluster.expose(&name, arguments.port).await?;
        load::until_ok(address, "/").await?;
        if round > 0 {
            times.push(started.elapsed());
        }
    }
    report.times("apply to first 200 through the Service", &times);
    Ok(())
}
