//! A cluster in a folder of its own.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Nothing here takes this long unless it hangs.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Clusters that may run at once on this machine, each with its own part of 127.0.0.0/8.
const SLOTS: u8 = 16;

/// A running cluster; ends with the test.
pub struct Cluster {
    data: TempDir,
    port: u16,
    kubelet_port: u16,
    slot: Slot,
    /// `coracle up`, or `coracle server` where the agent is a process of its own.
    process: Option<Child>,
    agent: Option<Child>,
    split: bool,
}

/// A part of the loopback network that this test alone uses.
struct Slot {
    number: u8,
    _lock: File,
}

impl Slot {
    fn claim() -> Self {
        let started = Instant::now();
        loop {
            for number in 0..SLOTS {
                let path = std::env::temp_dir().join(format!("coracle-e2e-slot-{number}"));
                // To lock a file it is enough to read it: it may be another user's.
                let lock = File::open(&path).or_else(|_| File::create(&path)).expect("a lock file");
                if lock.try_lock().is_ok() {
                    return Self { number, _lock: lock };
                }
            }
            assert!(started.elapsed() < DEADLINE * 10, "no free part of the loopback network");
            thread::yield_now();
        }
    }
}

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// The program under test.
pub fn coracle() -> Command {
    Command::new(env!("CARGO_BIN_EXE_coracle"))
}

/// A guest of `wasm-examples`, as the Makefile builds it.
pub fn guest(name: &str) -> PathBuf {
    let path = root().join("wasm-examples/target/guests").join(name);
    assert!(path.exists(), "{} is missing: `make guests` builds it", path.display());
    path
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Cluster {
    fn new(split: bool) -> Self {
        Self {
            data: tempfile::tempdir().expect("a folder"),
            port: free_port(),
            kubelet_port: free_port(),
            slot: Slot::claim(),
            process: None,
            agent: None,
            split,
        }
    }

    /// Starts `coracle up` and waits until it says that it is up.
    pub fn up() -> Self {
        let mut cluster = Self::new(false);
        cluster.start();
        cluster
    }

    /// Starts `coracle server` and `coracle agent`, each a process of its own.
    pub fn split() -> Self {
        let mut cluster = Self::new(true);
        cluster.start();
        let credentials = cluster.data().join("credentials");
        let made = coracle()
            .args(["node", "credentials", "node", "--data-dir"])
            .arg(cluster.data())
            .arg("--output")
            .arg(&credentials)
            .output()
            .expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        cluster.start_agent();
        cluster
    }

    /// Starts `coracle server` alone.
    pub fn server() -> Self {
        let mut cluster = Self::new(true);
        cluster.start();
        cluster
    }

    /// The command of this cluster's agent, which has still to be told how it joins.
    pub fn agent_command(&self) -> Command {
        let mut command = coracle();
        command.args(["agent", "--log", "info", "--data-dir"]).arg(self.data().join("agent"));
        command.args(["--kubelet-listen", &format!("127.0.0.1:{}", self.kubelet_port)]);
        command
    }

    /// Starts the agent by that command.
    pub fn run_agent(&mut self, command: Command) {
        self.agent = Some(start_and_wait(command, &self.data().join("agent.log"), "The agent runs"));
    }

    /// Starts the process (again) on the same data.
    pub fn start(&mut self) {
        let mut command = coracle();
        let (verb, line) = if self.split { ("server", "Coracle serves") } else { ("up", "Coracle is up") };
        command
            .arg(verb)
            .args(["--log", "info", "--data-dir"])
            .arg(self.data())
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--cluster-cidr", &format!("127.{}.0.0/16", 64 + self.slot.number)])
            .args(["--service-cidr", &format!("127.{}.0.0/16", 96 + self.slot.number)]);
        if !self.split {
            command
                .args(["--node-name", "node"])
                .args(["--kubelet-listen", &format!("127.0.0.1:{}", self.kubelet_port)]);
        }
        self.process = Some(start_and_wait(command, &self.data().join("coracle.log"), line));
    }

    /// Starts the agent (again) on the same data.
    pub fn start_agent(&mut self) {
        let mut command = coracle();
        command
            .args(["agent", "--log", "info", "--credentials"])
            .arg(self.data().join("credentials"))
            .arg("--data-dir")
            .arg(self.data().join("agent"))
            .args(["--kubelet-listen", &format!("127.0.0.1:{}", self.kubelet_port)])
            .args(["--pod-cidr", &format!("127.{}.0.0/18", 64 + self.slot.number)])
            .args(["--cluster-dns", &format!("127.{}.0.10", 96 + self.slot.number)]);
        self.agent = Some(start_and_wait(command, &self.data().join("agent.log"), "The agent runs"));
    }

    /// `kill -9` of the agent alone.
    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("it runs");
        agent.kill().expect("killed");
        agent.wait().expect("reaped");
    }

    /// The folder that holds all state.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The process id of `coracle up`.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// The process id of the runtime.
    pub fn runtime_pid(&self) -> u32 {
        let path = self.data().join("agent/runtime/runtime.pid");
        fs::read_to_string(path).expect("the runtime's pid").trim().parse().expect("a number")
    }

    /// Where the API is served.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// `kill -9` of the cluster's process, and no time to say good-bye.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("killed");
        process.wait().expect("reaped");
    }

    /// Brings a guest in under `name`.
    pub fn import(&self, guest_file: &str, name: &str) {
        let output = coracle()
            .args(["image", "import"])
            .arg(guest(guest_file))
            .args(["--name", name, "--data-dir"])
            .arg(self.data())
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A kubectl command against this cluster.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(kubectl_path());
        command.arg("--kubeconfig").arg(self.data().join("admin.kubeconfig")).args(arguments);
        command.env("HOME", self.data());
        command
    }

    /// Runs kubectl, whatever comes of it.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_command(arguments).stdin(Stdio::null()).output().expect("kubectl runs")
    }

    /// Runs kubectl, which must succeed; what it prints.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments:?}: {out}{err}{}", self.last_logs());
        out.into_owned()
    }

    /// Runs kubectl with `input` on its standard input, which must succeed; what it prints.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.try_kubectl_with(arguments, input);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments:?}: {out}{err}{}", self.last_logs());
        out.into_owned()
    }

    /// Runs kubectl with `input` on its standard input, whatever comes of it.
    pub fn try_kubectl_with(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.kubectl_command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kubectl runs");
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), input.as_bytes()).expect("written");
        child.wait_with_output().expect("kubectl ends")
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &str) -> String {
        self.kubectl_with(&["apply", "-f", "-"], manifest)
    }

    /// One field of one object.
    pub fn field(&self, object: &str, path: &str) -> String {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// Waits with `kubectl wait` for a condition.
    pub fn wait_for(&self, condition: &str, object: &str) {
        let timeout = format!("--timeout={}s", DEADLINE.as_secs());
        let output = self.try_kubectl(&["wait", "--for", condition, object, &timeout]);
        if !output.status.success() {
            let state = self.try_kubectl(&["describe", object]);
            panic!(
                "{object} did not become {condition}: {}\n{}\n{}",
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&state.stdout),
                self.last_logs()
            );
        }
    }

    /// The end of the logs, for a test that failed.
    pub fn last_logs(&self) -> String {
        let mut text = String::new();
        for file in ["coracle.log", "agent.log", "agent/runtime/runtime.log"] {
            let log = fs::read_to_string(self.data().join(file)).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            text += &format!("\n--- {file}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid_file = self.data().join("agent/runtime/runtime.pid");
        for mut process in self.agent.take().into_iter().chain(self.process.take()) {
            // Errors mean that it has ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
        if let Ok(pid) = fs::read_to_string(pid_file) {
            let _ = Command::new("kill").args(["-9", pid.trim()]).output();
        }
    }
}

/// kubectl, as `make test` fetched it.
pub fn kubectl_path() -> PathBuf {
    let path = root().join(".tools/bin/kubectl");
    assert!(path.exists(), "{} is missing: `scripts/setup.sh test` fetches it", path.display());
    path
}

/// Starts a command, and waits until a line of its output begins with `line`.
pub fn start_and_wait(mut command: Command, log: &Path, line: &'static str) -> Child {
    let log_file = File::options().create(true).append(true).open(log).expect("a log");
    let mut child = command.stdout(Stdio::piped()).stderr(log_file).spawn().expect("it starts");
    let output = child.stdout.take().expect("piped");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for text in BufReader::new(output).lines().map_while(Result::ok) {
            // The test may have got what it waited for and listen no more.
            let _ = sender.send(text);
        }
    });
    let started = Instant::now();
    let mut seen = Vec::new();
    while let Ok(text) = receiver.recv_timeout(DEADLINE.saturating_sub(started.elapsed())) {
        let found = text.starts_with(line);
        seen.push(text);
        if found {
            return child;
        }
    }
    // It may have ended by itself; what it wrote tells more than its code.
    let _ = child.kill();
    let _ = child.wait();
    panic!("never said {line:?}, but {seen:?}\n{}", fs::read_to_string(log).unwrap_or_default());
}
