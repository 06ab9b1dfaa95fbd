//! How fast many pods become Ready, and what each costs.

use std::time::Instant;

use crate::{Arguments, cluster::Cluster, error::BenchError, processes::usage, report::Report};

pub async fn measure(arguments: &Arguments, cluster: &Cluster, report: &mut Report) -> Result<(), BenchError> {
    // One pod first: the image is compiled and mapped once, whatever comes after.
    cluster.deploy("first", &arguments.image, arguments.port, 1).await?;
    cluster.ready("first", 1).await?;
    let before = usage(&arguments.process);
    let started = Instant::now();
    cluster.deploy("many", &arguments.image, arguments.port, arguments.pods).await?;
    cluster.ready("many", arguments.pods).await?;
    let took = started.elapsed();
    let after = usage(&arguments.process);
    let count = arguments.pods as f64;
    report.one(format!("{} pods to Ready", arguments.pods), "s", took.as_secs_f64());
    report.one(
        "memory a pod, all processes (PSS)",
        "kB",
        after.memory.saturating_sub(before.memory) as f64 / 1e3 / count,
    );
    Ok(())
}
