//! From the loss of the leading server to the next acknowledged write: three servers of one cluster on this machine, of which the
//! one that leads is killed, round after round, while a client writes through another.
//!
//! What was acknowledged is counted at the end: nothing may be missing.

use std::{collections::BTreeSet, path::Path, time::Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
    config::Kubeconfig,
};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::{
    Arguments,
    cluster::{client, free_address, in_time},
    error::BenchError,
    report::Report,
    start::serving,
};

const SERVERS: usize = 3;
/// Writes before each loss.
const WRITES: usize = 20;

struct Servers<'a> {
    arguments: &'a Arguments,
    folder: tempfile::TempDir,
    addresses: Vec<String>,
    processes: Vec<Option<Child>>,
}

pub async fn measure(arguments: &Arguments, report: &mut Report) -> Result<(), BenchError> {
    let mut servers = in_time("three servers", Servers::form(arguments)).await?;
    let (mut times, mut acknowledged) = (Vec::new(), Vec::new());
    for round in 0..arguments.rounds {
        let lost = servers.lose_the_leader(round, &mut acknowledged);
        times.push(in_time("the next write", lost).await?);
    }
    let all = configmaps(servers.client(0).await?).list(&ListParams::default()).await?;
    let there: BTreeSet<String> = all.items.into_iter().filter_map(|map| map.metadata.name).collect();
    let missing = acknowledged.iter().filter(|name| !there.contains(*name)).count();
    report.times("loss of the leader to the next acknowledged write", &times);
    report.one("acknowledged writes", "", acknowledged.len() as f64);
    report.one("acknowledged writes that were lost", "", missing as f64);
    Ok(())
}

fn configmaps(client: Client) -> Api<ConfigMap> {
    Api::namespaced(client, "default")
}

impl<'a> Servers<'a> {
    async fn form(arguments: &'a Arguments) -> Result<Self, BenchError> {
        let folder = tempfile::tempdir().map_err(BenchError::file("a folder"))?;
        let addresses =
            (0..SERVERS).map(|_| Ok(free_address()?.to_string())).collect::<Result<Vec<_>, BenchError>>()?;
        let mut servers = Self { arguments, folder, addresses, processes: Vec::new() };
        let first = servers.start(0, None).await?;
        servers.processes.push(Some(first));
        let token = servers.folder.path().join("token");
        let mut make = Command::new(&arguments.coracle);
        make.args(["token", "create", "--role", "server", "--data-dir"]).arg(servers.data(0));
        let made = make.output().await.map_err(BenchError::file(&arguments.coracle))?;
        std::fs::write(&token, made.stdout).map_err(BenchError::file(&token))?;
        for server in 1..SERVERS {
            let process = servers.start(server, Some(&token)).await?;
            servers.processes.push(Some(process));
        }
        servers.all_vote(0).await?;
        Ok(servers)
    }

    fn data(&self, server: usize) -> std::path::PathBuf {
        self.folder.path().join(server.to_string())
    }

    async fn start(&self, server: usize, token: Option<&Path>) -> Result<Child, BenchError> {
        let mut command = Command::new(&self.arguments.coracle);
        command.args([
            "server",
            "--server-name",
            &server.to_string(),
            "--listen",
            &self.addresses[server],
            "--data-dir",
        ]);
        command.arg(self.data(server));
        if let Some(token) = token {
            command.args(["--join", &format!("https://{}", self.addresses[0])]).arg("--token-file").arg(token);
        }
        serving(command, &self.arguments.coracle).await
    }

    async fn client(&self, server: usize) -> Result<Client, BenchError> {
        client(Kubeconfig::read_from(self.data(server).join("admin.kubeconfig"))).await
    }

    async fn members(&self, server: usize) -> Result<Vec<Value>, BenchError> {
        let request = http::Request::get("/coracle/v1/members").body(Vec::new());
        let request = request.map_err(|error| BenchError::Other(error.to_string()))?;
        let list: Value = self.client(server).await?.request(request).await?;
        Ok(list["members"].as_array().cloned().unwrap_or_default())
    }

    async fn all_vote(&self, server: usize) -> Result<(), BenchError> {
        while self.members(server).await?.iter().filter(|member| member["voter"] == true).count() < SERVERS {}
        Ok(())
    }

    async fn leader(&self) -> Result<usize, BenchError> {
        loop {
            let members = self.members(0).await?;
            let leader = members.iter().find(|member| member["leader"] == true);
            let name = leader.and_then(|leader| leader["server"]["name"].as_str());
            if let Some(server) = name.and_then(|name| name.parse().ok()) {
                return Ok(server);
            }
        }
    }

    /// One round: how long no write was acknowledged.
    async fn lose_the_leader(
        &mut self,
        round: usize,
        acknowledged: &mut Vec<String>,
    ) -> Result<std::time::Duration, BenchError> {
        let leader = self.leader().await?;
        let writer = configmaps(self.client((leader + 1) % SERVERS).await?);
        let write = async |number: usize| {
            let name = format!("w-{round}-{number}");
            let map = ConfigMap {
                metadata: kube::api::ObjectMeta { name: Some(name.clone()), ..Default::default() },
                ..Default::default()
            };
            writer.create(&PostParams::default(), &map).await.is_ok().then_some(name)
        };
        for number in 0..WRITES {
            acknowledged.extend(write(number).await);
        }
        if let Some(mut process) = self.processes[leader].take() {
            process.kill().await.map_err(BenchError::file("coracle"))?;
        }
        let lost = Instant::now();
        let mut number = WRITES;
        let took = loop {
            if let Some(name) = write(number).await {
                acknowledged.push(name);
                break lost.elapsed();
            }
            number += 1;
        };
        self.processes[leader] = Some(self.start(leader, None).await?);
        self.all_vote(leader).await?;
        Ok(took)
    }
}
