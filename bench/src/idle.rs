//! What a cluster costs that has nothing to do.

use std::time::{Duration, Instant};

use crate::{
    Arguments,
    error::BenchError,
    processes::{TICKS_PER_SECOND, usage},
    report::Report,
};

/// Long enough for what happens every ten seconds to happen several times.
const WINDOW: Duration = Duration::from_secs(60);

pub async fn measure(arguments: &Arguments, report: &mut Report) -> Result<(), BenchError> {
    let before = usage(&arguments.process);
    if before.processes == 0 {
        return Err(BenchError::Other(format!("no process here is called {:?}; see --process", arguments.process)));
    }
    let started = Instant::now();
    tokio::time::sleep(WINDOW).await;
    let after = usage(&arguments.process);
    let seconds = started.elapsed().as_secs_f64();
    report.one("idle: memory of all processes (PSS)", "MB", after.memory as f64 / 1e6);
    let busy = after.ticks.saturating_sub(before.ticks) as f64 / TICKS_PER_SECOND;
    report.one("idle: processor", "% of a core", 100.0 * busy / seconds);
    report.one("idle: written", "bytes/s", after.written.saturating_sub(before.written) as f64 / seconds);
    Ok(())
}
