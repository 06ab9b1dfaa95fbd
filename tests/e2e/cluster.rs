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
/// A running cluster; ends with the test.
pub struct Cluster {
    data: TempDir,
    port: u16,
    process: Option<Child>,
}

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// The program under test.
pub fn coracle() -> Command {
    Command::new(env!("CARGO_BIN_EXE_coracle"))
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Cluster {
    /// Starts `coracle server` and waits until it serves.
    pub fn up() -> Self {
        let mut cluster = Self { data: tempfile::tempdir().expect("a folder"), port: free_port(), process: None };
        cluster.start();
        cluster
    }

    /// Starts the process (again) on the same data.
    pub fn start(&mut self) {
        let mut command = coracle();
        command
            .args(["server", "--log", "info", "--listen", &format!("127.0.0.1:{}", self.port), "--data-dir"])
            .arg(self.data());
        self.process = Some(start_and_wait(command, &self.data().join("coracle.log"), "Coracle serves"));
    }

    /// The folder that holds all state.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
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

    /// One field of one object.
    pub fn field(&self, object: &str, path: &str) -> String {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// The end of the logs, for a test that failed.
    pub fn last_logs(&self) -> String {
        let mut text = String::new();
        for file in ["coracle.log"] {
            let log = fs::read_to_string(self.data().join(file)).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            text += &format!("\n--- {file}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Errors mean that it has ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// kubectl, as `make test` fetched it.
fn kubectl_path() -> PathBuf {
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
    let _ = child.kill();
    panic!("never said {line:?}, but {seen:?}\n{}", fs::read_to_string(log).unwrap_or_default());
}
