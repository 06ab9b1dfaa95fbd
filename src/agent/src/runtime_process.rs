//! The runtime process: started, watched, started again.
//!
//! It is a process of its own so that a guest which brings its host down costs the pods of this node a few
//! milliseconds and nothing else, and so that the agent may end, also by force, without a pod noticing: the runtime is
//! in a session of its own, and an agent that starts adopts the one that runs. Nothing is polled: a process file
//! descriptor tells of its end, and a pipe of its being ready.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{fcntl::OFlag, unistd::pipe2};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{Interest, unix::AsyncFd};
use tokio_util::sync::CancellationToken;

/// How long a runtime may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// A runtime that lived this long died of something that may not come again at once.
const STABLE: Duration = Duration::from_secs(10);
/// The longest pause before a runtime that keeps dying is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How the runtime is started.
#[derive(Debug, Clone)]
pub struct RuntimeCommand {
    /// The binary; `coracle` itself.
    pub executable: PathBuf,
    /// Where the runtime keeps its state and images.
    pub root: PathBuf,
    /// Its CRI socket.
    pub socket: PathBuf,
    /// Its hand-over socket.
    pub handoff_socket: PathBuf,
    /// The range of its pods' addresses, in CIDR notation; the kubelet tells it unless given.
    pub pod_cidr: Option<String>,
    /// Further arguments, for example about registries.
    pub arguments: Vec<String>,
}

/// Why there is no runtime.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeProcessError {
    /// The system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// It ended or kept silent instead of serving.
    #[error("the runtime {what}; its log is {log}")]
    NotReady {
        /// What it did.
        what: String,
        /// Where to read more.
        log: PathBuf,
    },
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> RuntimeProcessError {
    let what = what.into();
    move |source| RuntimeProcessError::System { what, source }
}

/// A runtime that runs.
pub struct RuntimeProcess {
    command: RuntimeCommand,
    process: AsyncFd<OwnedFd>,
    pid: i32,
    since: Instant,
}

impl RuntimeProcess {
    /// Adopts the runtime that serves `command.socket`, or starts one and waits until it serves.
    ///
    /// # Errors
    /// When it cannot be started or does not come to serve.
    pub async fn ensure(command: RuntimeCommand) -> Result<Self, RuntimeProcessError> {
        match adopt(&command) {
            Some((process, pid)) => {
                tracing::info!(pid, "adopted the runtime that runs");
                Ok(Self { command, process, pid, since: Instant::now() })
            }
            None => Self::start(command).await,
        }
    }

    async fn start(command: RuntimeCommand) -> Result<Self, RuntimeProcessError> {
        fs::create_dir_all(&command.root).map_err(failed(format!("create {}", command.root.display())))?;
        let log_path = command.root.join("runtime.log");
        let log = open_log(&log_path).map_err(failed(format!("open {}", log_path.display())))?;
        let (ready, tell) = pipe2(OFlag::O_CLOEXEC).map_err(|error| failed("make a pipe")(error.into()))?;
        let pid = spawn(&command, log, &tell).map_err(failed(format!("start {}", command.executable.display())))?;
        drop(tell);
        let process = watch(pid).map_err(failed(format!("watch process {pid}")))?;
        let not_ready = |what: &str| RuntimeProcessError::NotReady { what: what.to_owned(), log: log_path.clone() };
        let mut ready = tokio::net::unix::pipe::Receiver::from_owned_fd(ready).map_err(failed("watch a pipe"))?;
        let mut word = [0; 1];
        match tokio::time::timeout(START_TIMEOUT, tokio::io::AsyncReadExt::read(&mut ready, &mut word)).await {
            Ok(Ok(1)) => {}
            Ok(_) => return Err(not_ready("ended before it served")),
            Err(_) => return Err(not_ready("did not serve in time")),
        }
        tracing::info!(pid, "started the runtime");
        Ok(Self { command, process, pid, since: Instant::now() })
    }

    /// The runtime's process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Keeps a runtime running until `stop`; then ends it too if `end_with_agent`.
    pub async fn keep(mut self, stop: CancellationToken, end_with_agent: bool) {
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    if end_with_agent {
                        self.end().await;
                    }
                    return;
                }
                _ = self.process.ready(Interest::READABLE) => {}
            }
            tracing::error!(pid = self.pid, "the runtime ended; it is started again");
            let mut pause = if self.since.elapsed() < STABLE { Duration::from_millis(50) } else { Duration::ZERO };
            self = loop {
                // Only a runtime that keeps dying waits.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause), if !pause.is_zero() => {}
                    () = std::future::ready(()), if pause.is_zero() => {}
                }
                match Self::ensure(self.command.clone()).await {
                    Ok(runtime) => break runtime,
                    Err(error) => {
                        tracing::error!(%error, "the runtime cannot be started; tried again");
                        pause = (pause * 2).clamp(Duration::from_millis(100), LONGEST_PAUSE);
                    }
                }
            };
        }
    }

    /// Ends the runtime and waits until it has.
    async fn end(&self) {
        if pidfd_send_signal(self.process.get_ref(), Signal::TERM).is_ok() {
            // An error would mean that the descriptor is none; it was opened as one.
            let _ = self.process.ready(Interest::READABLE).await;
        }
    }
}

/// The runtime that holds the root's lock and serves its socket, if there is one.
fn adopt(command: &RuntimeCommand) -> Option<(AsyncFd<OwnedFd>, i32)> {
    let pid: i32 = fs::read_to_string(command.root.join("runtime.pid")).ok()?.trim().parse().ok()?;
    let process = watch(pid).ok()?;
    // A process id may have been given to another: the socket must be served too, and by that process.
    let served = std::os::unix::net::UnixStream::connect(&command.socket).ok()?;
    let peer = nix::sys::socket::getsockopt(&served, nix::sys::socket::sockopt::PeerCredentials).ok()?;
    (peer.pid() == pid).then_some((process, pid))
}

fn watch(pid: i32) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("not a process id"))?;
    let process = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    // SAFETY: an `OwnedFd` is open and stays the same descriptor for as long as it is owned.
    Ok(unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) }?)
}

fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Starts the process in a session of its own. It is told the pipe's number, to say there that it serves.
fn spawn(command: &RuntimeCommand, log: File, tell: &OwnedFd) -> io::Result<i32> {
    let mut process = Command::new(&command.executable);
    process
        .arg("runtime")
        .arg("serve")
        .args(["--root".as_ref(), command.root.as_os_str()])
        .args(["--socket".as_ref(), command.socket.as_os_str()])
        .args(["--handoff-socket".as_ref(), command.handoff_socket.as_os_str()])
        .args(command.pod_cidr.iter().flat_map(|cidr| ["--pod-cidr", cidr]))
        .args(["--ready-fd", &tell.as_raw_fd().to_string()])
        .args(&command.arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let inherit = tell.as_raw_fd();
    // SAFETY: between fork and exec only system calls are made, on a descriptor that stays open.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut process, move || {
            rustix::process::setsid()?;
            let descriptor = rustix::fd::BorrowedFd::borrow_raw(inherit);
            rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
            Ok(())
        });
    }
    let mut child = process.spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    // Reaps it when it has ended, whoever notices first.
    std::thread::Builder::new().name("runtime-reaper".to_owned()).stack_size(64 * 1024).spawn(move || {
        let _ = child.wait();
    })?;
    Ok(pid)
}
