//! From nothing to a Ready node.

use std::{path::Path, process::Stdio, time::Instant};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{WatchEvent, WatchParams},
    config::Kubeconfig,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{
    Arguments,
    cluster::{client, free_address, in_time},
    error::BenchError,
    report::Report,
};

const ROUNDS: usize = 5;

pub async fn measure(arguments: &Arguments, report: &mut Report) -> Result<(), BenchError> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(in_time("the start of a cluster", once(arguments)).await?);
    }
    report.times("start on an empty folder to a Ready node", &times);
    Ok(())
}

async fn once(arguments: &Arguments) -> Result<std::time::Duration, BenchError> {
    let folder = tempfile::tempdir().map_err(BenchError::file("a folder"))?;
    let mut command = Command::new(&arguments.coracle);
    command
        .args(["up", "--node-name", "node", "--data-dir"])
        .arg(folder.path())
        .args(["--listen", &free_address()?.to_string()])
        .args(["--kubelet-listen", &free_address()?.to_string()])
        .args(["--cluster-cidr", "127.120.0.0/16", "--service-cidr", "127.121.0.0/16"]);
    let started = Instant::now();
    let mut child = serving(command, &arguments.coracle).await?;
    let path = folder.path().join("admin.kubeconfig");
    let client = client(Kubeconfig::read_from(&path)).await?;
    let mut events = Api::<Node>::all(client).watch(&WatchParams::default(), "0").await?.boxed();
    while let Some(event) = events.try_next().await? {
        if let WatchEvent::Added(node) | WatchEvent::Modified(node) = event
            && let Some(conditions) = node.status.and_then(|status| status.conditions)
            && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        {
            let took = started.elapsed();
            end(&mut child).await?;
            return Ok(took);
        }
    }
    Err(BenchError::Other("the watch of nodes ended".to_owned()))
}

/// Starts a command that ends with this program, and returns when it says where its kubeconfig is.
pub async fn serving(mut command: Command, program: &Path) -> Result<Child, BenchError> {
    command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(BenchError::file(program))?;
    let output = child.stdout.take().ok_or_else(|| BenchError::Other("no output".to_owned()))?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await.map_err(BenchError::file(program))? {
        if line.starts_with("export KUBECONFIG") {
            return Ok(child);
        }
    }
    Err(BenchError::Other(format!("{} ended without serving", program.display())))
}

/// Ends it as a user would, so that its runtime ends too.
async fn end(child: &mut Child) -> Result<(), BenchError> {
    let pid = child.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|error| BenchError::Other(error.to_string()))?;
    }
    child.wait().await.map_err(BenchError::file("coracle"))?;
    Ok(())
}
