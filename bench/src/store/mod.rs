//! The store beside etcd.
//!
//! How it is measured:
//! - Both are one member, each a process of its own, with their data on the same disk and every write synced before it is
//!   acknowledged. They run one after the other in one run, on an empty folder each, the order of loads the same.
//! - Ours is the store and its etcd door without an API server (`bench store-door`, this program itself), since etcd too has
//!   none. etcd is started with its defaults.
//! - Both are asked by the same client in this program over the same protocol: gRPC over mutual TLS. Clients share up to
//!   eight connections. The client takes processor time from what it measures, from both alike.
//! - A put writes 1 KiB under a new key; a transaction creates a key if it is not there, as the API server does; a get reads
//!   one key, a list a hundred, both linearizable.
//! - Watchers: 1,000 watches of one key over eight streams; measured is from a put to the last of them that has heard.
//! - Memory is the process's PSS after all loads. Bytes written are what the kernel counts for the process (`write_bytes`)
//!   during the puts of 32 clients, by the number of puts: the log, the data and what compactions rewrite in that time.
//! - One load lasts ten seconds (`--store-seconds`), which evens out flushes but not the compactions of hours.

mod certificates;
mod client;
mod door;

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

pub use self::door::serve;
use self::{
    certificates::Certificates,
    client::{Done, Load, Servant},
};
use crate::{
    Arguments,
    cluster::{free_address, in_time},
    error::BenchError,
    processes,
    report::{Report, say},
};

const WATCHERS: usize = 1000;

/// Measures ours, then etcd.
pub async fn measure(arguments: &Arguments, report: &mut Report) -> Result<(), BenchError> {
    let folder = tempfile::tempdir_in(&arguments.store_folder).map_err(BenchError::file(&arguments.store_folder))?;
    let certificates = Certificates::new()?;
    certificates.write(folder.path())?;
    for name in ["ours", "etcd"] {
        let (process, port) = match name {
            "ours" => start_ours(folder.path()).await?,
            _ => start_etcd(arguments, folder.path())?,
        };
        let id = process.id().ok_or_else(|| BenchError::Other(format!("{name} ended at once")))?;
        let servant = in_time(&format!("an answer of {name}"), Servant::connect(port, &certificates)).await?;
        one(name, id, &servant, Duration::from_secs(arguments.store_seconds), report).await?;
        drop(process);
    }
    Ok(())
}

async fn one(
    name: &str,
    process: u32,
    servant: &Servant,
    duration: Duration,
    report: &mut Report,
) -> Result<(), BenchError> {
    report.one(format!("{name}: memory when idle and empty"), "MiB", mebibytes(processes::usage_of(process).memory));
    for clients in [1, 32, 256] {
        say(&format!("{name}: puts of {clients} clients"));
        let before = processes::usage_of(process);
        let done = servant.load(Load::Put, clients, duration).await?;
        let after = processes::usage_of(process);
        tell(report, name, "put", clients, &done);
        if clients == 32 {
            let written = (after.written - before.written) as f64 / done.times.len() as f64;
            report.one(format!("{name}: written for a put of 1 KiB"), "bytes", written);
        }
    }
    for (load, what, clients) in
        [(Load::Get, "get", 32), (Load::List, "list of 100", 32), (Load::Create, "create transaction", 32)]
    {
        say(&format!("{name}: {what}"));
        tell(report, name, what, clients, &servant.load(load, clients, duration).await?);
    }
    say(&format!("{name}: watchers"));
    report.times(format!("{name}: put to the last of {WATCHERS} watchers"), &servant.watch(WATCHERS, 50).await?);
    report.one(format!("{name}: memory after all"), "MiB", mebibytes(processes::usage_of(process).memory));
    Ok(())
}

fn tell(report: &mut Report, name: &str, what: &str, clients: usize, done: &Done) {
    let rate = done.times.len() as f64 / done.took.as_secs_f64();
    report.one(format!("{name}: {what}, {clients} clients"), "1/s", rate);
    report.times(format!("{name}: a {what}, {clients} clients"), &done.times);
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// This program as the store and its door; it says on which port it serves.
async fn start_ours(folder: &Path) -> Result<(Child, u16), BenchError> {
    let program = std::env::current_exe().map_err(BenchError::file("this program"))?;
    let mut command = Command::new(&program);
    command.arg("store-door").arg("--store-folder").arg(folder).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(BenchError::file(&program))?;
    let output = child.stdout.take().ok_or_else(|| BenchError::Other("no output".to_owned()))?;
    let line = BufReader::new(output).lines().next_line().await.map_err(BenchError::file(&program))?;
    let port = line.and_then(|line| line.parse().ok());
    Ok((child, port.ok_or_else(|| BenchError::Other("the store's door does not serve".to_owned()))?))
}

fn start_etcd(arguments: &Arguments, folder: &Path) -> Result<(Child, u16), BenchError> {
    let (client, peer) = (free_address()?, free_address()?);
    let url = format!("https://127.0.0.1:{}", client.port());
    let mut command = Command::new(&arguments.etcd_binary);
    command.args(["--name=default", "--log-level=error", "--client-cert-auth"]);
    command.arg("--data-dir").arg(folder.join("etcd"));
    command.arg("--trusted-ca-file").arg(folder.join("ca"));
    command.arg("--cert-file").arg(folder.join("cert")).arg("--key-file").arg(folder.join("key"));
    command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
    command.args(["--listen-peer-urls", &format!("http://127.0.0.1:{}", peer.port())]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let child = command.spawn().map_err(BenchError::file(&arguments.etcd_binary))?;
    Ok((child, client.port()))
}
