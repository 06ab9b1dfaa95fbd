//! A disk that is full: what was acknowledged stays, and who asks is told why nothing more is taken.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::cluster::{coracle, kubectl_path, start_and_wait};

/// A small disk: a file system in memory, in a namespace of its own, so that nobody needs privileges to make it.
struct Disk {
    holder: Child,
    folder: tempfile::TempDir,
    /// On another disk: what is said about the full one.
    logs: tempfile::TempDir,
}

impl Disk {
    fn new(size: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mount = format!("mount -t tmpfs -o size={size} none \"$0\" && echo mounted && exec sleep infinity");
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut line).expect("it says something");
        assert_eq!(line, "mounted\n");
        Self { holder, folder, logs: tempfile::tempdir().expect("a folder") }
    }

    /// The disk as this process sees it.
    fn path(&self) -> PathBuf {
        let inside = self.folder.path().strip_prefix("/").expect("absolute");
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(inside)
    }

    /// A command that sees the disk in its place.
    fn enter(&self, command: &Command) -> Command {
        let mut entered = Command::new("nsenter");
        entered.args(["--preserve-credentials", "--user", "--mount", "--target", &self.holder.id().to_string(), "--"]);
        entered.arg(command.get_program()).args(command.get_args());
        entered
    }

    fn server(&self) -> Child {
        let mut command = coracle();
        command.args(["server", "--log", "info", "--listen", "127.0.0.1:0", "--data-dir"]).arg(self.folder.path());
        start_and_wait(self.enter(&command), &self.logs.path().join("server.log"), "Coracle serves")
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let kubeconfig = self.path().join("admin.kubeconfig");
        let mut command = Command::new(kubectl_path());
        let output = command.arg("--kubeconfig").arg(kubeconfig).args(arguments).output().expect("kubectl runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let disk = Disk::new("48m");
    let mut server = disk.server();
    let filler = disk.path().join("filler");
    let mut file = File::create(&filler).expect("a file");
    while file.write_all(&[7; 64 << 10]).is_ok() {}
    // Its space is free once it is removed only if nobody has it open.
    drop(file);
    let value = format!("--from-literal=v={}", "x".repeat(64 << 10));
    let mut acknowledged = Vec::new();
    let refusal = loop {
        let name = format!("c{}", acknowledged.len());
        match disk.kubectl(&["create", "configmap", &name, &value]) {
            Ok(_) => acknowledged.push(name),
            Err(refusal) => break refusal,
        }
        assert!(acknowledged.len() < 1000, "the disk takes more than it has");
    };
    assert!(refusal.contains("No space left on device") && refusal.contains("free some space"), "{refusal}");
    // What it cannot write durably it does not go on with.
    assert!(!server.wait().expect("it ends").success());

    std::fs::remove_file(filler).expect("removed");
    let mut server = disk.server();
    let there = disk.kubectl(&["get", "configmaps", "-o", "name"]).expect("it serves");
    for name in acknowledged {
        assert!(there.contains(&format!("configmap/{name}\n")), "{name} was acknowledged and is lost");
    }
    disk.kubectl(&["create", "configmap", "after"]).expect("it takes more");
    server.kill().expect("killed");
    server.wait().expect("reaped");
}
