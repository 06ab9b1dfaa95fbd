//! Several servers, one cluster.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::{DEADLINE, coracle, free_port, kubectl_path, root, start_and_wait};

/// Servers of one cluster, each with a folder and a port of its own.
struct Servers {
    folder: TempDir,
    ports: Vec<u16>,
    processes: Vec<Option<Child>>,
}

impl Servers {
    /// A cluster of `count` servers, formed as the README says.
    fn form(count: usize) -> Self {
        let mut servers =
            Self { folder: tempfile::tempdir().expect("a folder"), ports: Vec::new(), processes: Vec::new() };
        if count == 0 {
            return servers;
        }
        servers.add(None);
        let token = servers.token("server");
        for _ in 1..count {
            servers.add(Some(&token));
        }
        servers.until("all vote", |members| members.iter().filter(|member| member["voter"] == true).count() == count);
        servers
    }

    fn data(&self, server: usize) -> PathBuf {
        self.folder.path().join(format!("server-{server}"))
    }

    /// Starts one more; with a token it joins the first that runs.
    fn add(&mut self, token: Option<&str>) {
        self.ports.push(free_port());
        self.processes.push(None);
        self.start(self.ports.len() - 1, token);
    }

    fn command(&self, server: usize, token: Option<&str>) -> Command {
        let mut command = coracle();
        command.args(["server", "--log", "info", "--server-name", &format!("s{server}"), "--data-dir"]);
        command.arg(self.data(server)).args(["--listen", &format!("127.0.0.1:{}", self.ports[server])]);
        if let Some(token) = token {
            let file = self.folder.path().join("token");
            fs::write(&file, token).expect("written");
            let others = self.running().map(|other| format!("https://127.0.0.1:{}", self.ports[other]));
            command.arg("--token-file").arg(file).args(["--join", &others.collect::<Vec<_>>().join(",")]);
        }
        command
    }

    fn log(&self, server: usize) -> PathBuf {
        self.folder.path().join(format!("server-{server}.log"))
    }

    fn start(&mut self, server: usize, token: Option<&str>) {
        let child = start_and_wait(self.command(server, token), &self.log(server), "Coracle serves");
        self.processes[server] = Some(child);
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        self.processes.iter().enumerate().filter(|(_, process)| process.is_some()).map(|(server, _)| server)
    }

    fn signal(&self, server: usize, signal: &str) {
        let pid = self.processes[server].as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
    }

    fn kill(&mut self, server: usize) {
        let mut process = self.processes[server].take().expect("it runs");
        process.kill().expect("killed");
        process.wait().expect("reaped");
    }

    fn verb(&self, server: usize, arguments: &[&str]) -> Output {
        coracle().args(arguments).arg("--data-dir").arg(self.data(server)).output().expect("it runs")
    }

    fn token(&self, role: &str) -> String {
        let output = self.verb(0, &["token", "create", "--role", role]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The members as `server` knows them.
    fn members(&self, server: usize) -> Vec<Value> {
        let output = self.verb(server, &["member", "list", "-o", "json"]);
        let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        list["members"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until what a server that runs knows of the members satisfies `condition`.
    fn until(&self, what: &str, condition: impl Fn(&[Value]) -> bool) {
        let started = Instant::now();
        let server = self.running().next().expect("one runs");
        while !condition(&self.members(server)) {
            assert!(started.elapsed() < DEADLINE, "not: {what}: {:?}\n{}", self.members(server), self.logs());
        }
    }

    fn logs(&self) -> String {
        (0..self.ports.len()).fold(String::new(), |text, server| {
            let log = fs::read_to_string(self.log(server)).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            text + &format!("\n--- server {server}\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
        })
    }

    /// Which server leads, as one that runs knows.
    fn leader(&self) -> usize {
        let started = Instant::now();
        loop {
            let members = self.running().flat_map(|server| self.members(server)).collect::<Vec<_>>();
            let leader = members.iter().find(|member| member["leader"] == true);
            let name = leader.and_then(|leader| leader["server"]["name"].as_str());
            if let Some(server) = name.and_then(|name| name.strip_prefix('s')?.parse::<usize>().ok())
                && self.processes[server].is_some()
            {
                return server;
            }
            assert!(started.elapsed() < DEADLINE, "nobody leads\n{}", self.logs());
        }
    }

    fn kubectl(&self, server: usize, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(kubectl_path());
        command.arg("--kubeconfig").arg(self.data(server).join("admin.kubeconfig")).args(arguments);
        let output = command.env("HOME", self.folder.path()).stdin(Stdio::null()).output().expect("kubectl runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Runs kubectl until it succeeds.
    fn eventually(&self, server: usize, arguments: &[&str]) -> String {
        let started = Instant::now();
        loop {
            match self.kubectl(server, arguments) {
                Ok(text) => return text,
                Err(error) => assert!(started.elapsed() < DEADLINE, "{arguments:?}: {error}\n{}", self.logs()),
            }
        }
    }

    /// Writes through `server` until told to stop; what was acknowledged.
    fn writer(&self, server: usize, prefix: &str, stop: &Arc<AtomicBool>) -> JoinHandle<Vec<String>> {
        let (kubeconfig, home) = (self.data(server).join("admin.kubeconfig"), self.folder.path().to_owned());
        let (prefix, stop) = (prefix.to_owned(), stop.clone());
        std::thread::spawn(move || {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let name = format!("{prefix}-{number}");
                let mut command = Command::new(kubectl_path());
                command.arg("--kubeconfig").arg(&kubeconfig).args(["create", "configmap", &name]);
                if command.env("HOME", &home).output().expect("kubectl runs").status.success() {
                    acknowledged.push(name);
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            acknowledged
        })
    }

    /// That everything which was acknowledged is there, on all servers that run.
    fn has_all(&self, acknowledged: &[String]) {
        assert!(!acknowledged.is_empty());
        for server in self.running() {
            let there = self.eventually(server, &["get", "configmaps", "-o", "name"]);
            for name in acknowledged {
                assert!(there.contains(&format!("configmap/{name}\n")), "server {server} has lost {name}");
            }
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            // Errors mean that it has ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

#[test]
fn three_servers_lose_nothing_when_one_is_killed_paused_or_wiped() {
    let mut servers = Servers::form(3);
    for round in 0..9 {
        let name = format!("through-{round}");
        servers.kubectl(round % 3, &["create", "configmap", &name]).expect("every server takes writes");
        let there = servers.kubectl((round + 1) % 3, &["get", "configmaps", "-o", "name"]).expect("and reads");
        assert!(there.contains(&name), "who reads elsewhere sees what was acknowledged: {there}");
    }

    // The leader dies under load: the others go on, and so do the controllers.
    let leader = servers.leader();
    let other = (leader + 1) % 3;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = servers.writer(other, "killed", &stop);
    servers.eventually(other, &["get", "configmap", "killed-3"]);
    servers.kill(leader);
    servers.eventually(other, &["create", "deployment", "d", "--image=i", "--replicas=2"]);
    servers.eventually(other, &["wait", "--for=jsonpath={.status.replicas}=2", "deployment/d", "--timeout=30s"]);
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writer.join().expect("no panic");
    servers.has_all(&acknowledged);
    servers.start(leader, None);
    servers.has_all(&acknowledged);

    // A leader that stands still is replaced, and answers nothing old when it wakes.
    let leader = servers.leader();
    let other = (leader + 1) % 3;
    servers.signal(leader, "-STOP");
    servers.eventually(other, &["create", "configmap", "while-paused"]);
    servers.signal(leader, "-CONT");
    servers.eventually(leader, &["get", "configmap", "while-paused"]);

    // A server that has lost its disk is not let back in under its old number, and joins under a new one.
    let wiped = (servers.leader() + 1) % 3;
    servers.kill(wiped);
    fs::remove_dir_all(servers.data(wiped).join("server/store")).expect("wiped");
    let output = servers.command(wiped, None).output().expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("lost"), "{said}");
    fs::remove_dir_all(servers.data(wiped)).expect("wiped");
    let member = servers.leader();
    let id = servers
        .members(member)
        .iter()
        .find(|member| member["server"]["name"] == format!("s{wiped}"))
        .map(|m| m["id"].clone());
    let id = id.expect("it is a member still").to_string();
    let removed = servers.verb(member, &["member", "remove", &id]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    let token = {
        let output = servers.verb(member, &["token", "create", "--role", "server"]);
        String::from_utf8(output.stdout).expect("text")
    };
    servers.start(wiped, Some(&token));
    servers.until("three vote", |members| members.iter().filter(|member| member["voter"] == true).count() == 3);
    servers.has_all(&acknowledged);
}

#[test]
fn who_has_no_good_token_does_not_join() {
    let mut servers = Servers::form(1);
    let (server, agent) = (servers.token("server"), servers.token("agent"));
    let mut other_cluster = server.trim().to_owned();
    let last = other_cluster.pop().expect("long");
    other_cluster.push(if last == '0' { '1' } else { '0' });
    let mut unknown: Vec<&str> = server.trim().split('.').collect();
    let secret = unknown[2].chars().rev().collect::<String>();
    unknown[2] = &secret;
    servers.ports.push(free_port());
    servers.processes.push(None);
    for (token, expected) in [
        ("nonsense", "is no token"),
        (agent.trim(), "forbidden"),
        (&unknown.join("."), "the token is not known"),
        (&other_cluster, "authority"),
    ] {
        let output = servers.command(1, Some(token)).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{token}: {expected:?} is not in {said:?}");
    }
    assert_eq!(servers.members(0).len(), 1);
}

#[test]
fn etcdctl_reads_the_cluster_and_writes_beside_it() {
    let mut servers = Servers::form(0);
    let port = free_port();
    servers.ports.push(free_port());
    let mut command = servers.command(0, None);
    command.args(["--etcd-listen", &format!("127.0.0.1:{port}")]);
    servers.processes.push(Some(start_and_wait(command, &servers.log(0), "Coracle serves")));
    let folder = servers.data(0).join("etcd");
    let etcdctl = |arguments: &[&str]| {
        let mut command = Command::new(root().join(".tools/bin/etcdctl"));
        command.args(["--endpoints", &format!("https://127.0.0.1:{port}")]);
        for (flag, file) in [("--cacert", "ca.crt"), ("--cert", "client.crt"), ("--key", "client.key")] {
            command.arg(flag).arg(folder.join(file));
        }
        let output = command.args(arguments).output().expect("etcdctl runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    };
    let keys = etcdctl(&["get", "--prefix", "--keys-only", "/registry/core/namespaces/"]).expect("it reads");
    assert!(keys.contains("/registry/core/namespaces/default\n"), "{keys}");
    let error = etcdctl(&["del", "/registry/core/namespaces/default"]).expect_err("the API server's");
    assert!(error.contains("PermissionDenied"), "{error}");
    etcdctl(&["put", "mine", "yours"]).expect("it writes");
    assert_eq!(etcdctl(&["get", "--print-value-only", "mine"]).expect("it reads"), "yours\n");
    let members = etcdctl(&["member", "list"]).expect("it tells");
    assert!(members.contains("started, s0"), "{members}");
}
