//! Standard output and error as a CRI log.
//!
//! ```text
//! 2026-11-24T02:00:00.000000000Z stdout F a whole line
//! 2026-11-24T02:00:00.000000000Z stderr P a part of a line that is long, or that never ended
//! ```
//!
//! A guest's write becomes one write to the file, which the kernel keeps: no thread or channel stands between them.
//! The file may be moved away at any time; [`CriLog::reopen`] then makes a new one at the old path, and a line begun
//! before goes on in it. A log that cannot be written (a full disk) loses lines, counts them, and never stops the
//! guest.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use component_base::SharedClock;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

/// Longer lines are written in parts, as containerd does it.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// What a guest may write in one go.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The log of one container.
#[derive(Debug)]
pub struct CriLog {
    clock: SharedClock,
    path: Option<PathBuf>,
    inner: Mutex<Inner>,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    file: Option<File>,
    begun: [Vec<u8>; 2],
    out: Vec<u8>,
}

impl CriLog {
    /// Opens the log at `path`, after what is there; without a path everything written is dropped.
    ///
    /// # Errors
    /// When the file or its folder cannot be made.
    pub fn open(path: Option<&Path>, clock: SharedClock) -> io::Result<Self> {
        let file = path.map(open_append).transpose()?;
        let inner = Mutex::new(Inner { file, ..Inner::default() });
        Ok(Self { clock, path: path.map(Path::to_owned), inner, lost: AtomicU64::new(0) })
    }

    /// Goes on in a new file at the same path.
    ///
    /// # Errors
    /// When it cannot be made; the old file is then kept.
    pub fn reopen(&self) -> io::Result<()> {
        if let Some(path) = &self.path {
            let file = open_append(path)?;
            self.inner.lock().file = Some(file);
        }
        Ok(())
    }

    /// Writes what a guest wrote.
    pub fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if inner.file.is_none() {
            return;
        }
        let stamp = self.clock.now().strftime("%Y-%m-%dT%H:%M:%S%.9fZ").to_string();
        inner.out.clear();
        let begun = &mut inner.begun[stream as usize];
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let mut text = text;
            while begun.len() + text.len() > LINE_BYTES_MAX {
                let (part, rest) = text.split_at(LINE_BYTES_MAX - begun.len());
                begun.extend_from_slice(part);
                push_line(&mut inner.out, &stamp, stream, 'P', begun);
                begun.clear();
                text = rest;
            }
            begun.extend_from_slice(text);
            if ended {
                push_line(&mut inner.out, &stamp, stream, 'F', begun);
                begun.clear();
            }
        }
        self.flush(inner);
    }

    /// Writes lines that were begun and never ended, as parts: the guest is gone.
    pub fn finish(&self) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let stamp = self.clock.now().strftime("%Y-%m-%dT%H:%M:%S%.9fZ").to_string();
        inner.out.clear();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let begun = std::mem::take(&mut inner.begun[stream as usize]);
            if !begun.is_empty() {
                push_line(&mut inner.out, &stamp, stream, 'P', &begun);
            }
        }
        self.flush(inner);
    }

    /// How many writes were lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn flush(&self, inner: &mut Inner) {
        if inner.out.is_empty() {
            return;
        }
        if let Some(file) = &mut inner.file
            && let Err(error) = file.write_all(&inner.out)
            && self.lost.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!(path = ?self.path, %error, "a container's log cannot be written; its lines are lost");
        }
        // A burst must not be kept for ever.
        if inner.out.capacity() > 4 * WRITE_BYTES_MAX {
            inner.out = Vec::new();
        }
    }
}

fn push_line(out: &mut Vec<u8>, stamp: &str, stream: Stream, tag: char, text: &[u8]) {
    out.extend_from_slice(stamp.as_bytes());
    out.push(b' ');
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(&[b' ', tag as u8, b' ']);
    out.extend_from_slice(text);
    out.push(b'\n');
}

fn open_append(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// One stream of a log, as a guest's standard output or error.
#[derive(Debug, Clone)]
pub struct LogStream {
    log: Arc<CriLog>,
    stream: Stream,
}

impl LogStream {
    /// The stream `stream` of `log`.
    pub fn new(log: Arc<CriLog>, stream: Stream) -> Self {
        Self { log, stream }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.log.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[async_trait::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.log.write(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use component_base::clock::ManualClock;

    use super::*;

    const STAMP: &str = "2026-11-24T02:00:00.120000000Z";

    fn log(folder: &Path) -> (CriLog, PathBuf) {
        let path = folder.join("pod/container/0.log");
        let clock = ManualClock::new(STAMP.parse().expect("a timestamp"));
        (CriLog::open(Some(&path), Arc::new(clock)).expect("a log"), path)
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).expect("a log").replace(STAMP, "T")
    }

    #[test]
    fn lines_are_tagged_and_streams_do_not_mix() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (log, path) = log(folder.path());
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"oops\n");
        log.write(Stream::Stdout, b"o\n\n");
        assert_eq!(read(&path), "T stdout F one\nT stderr F oops\nT stdout F two\nT stdout F \n");
    }

    #[test]
    fn a_line_that_never_ended_is_a_part() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (log, path) = log(folder.path());
        log.write(Stream::Stdout, b"no end");
        assert_eq!(read(&path), "");
        log.finish();
        assert_eq!(read(&path), "T stdout P no end\n");
    }

    #[test]
    fn a_long_line_is_written_in_parts_and_no_byte_is_lost() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (log, path) = log(folder.path());
        log.write(Stream::Stdout, &[b'a'; 10]);
        log.write(Stream::Stdout, &[b'x'; 2 * LINE_BYTES_MAX]);
        log.write(Stream::Stdout, b"\n");
        let text = read(&path);
        let tags: Vec<&str> = text.lines().map(|line| &line[9..10]).collect();
        assert_eq!(tags, ["P", "P", "F"]);
        let bytes: usize = text.lines().map(|line| line.len() - 11).sum();
        assert_eq!(bytes, 2 * LINE_BYTES_MAX + 10);
    }

    #[test]
    fn a_line_begun_before_a_rotation_ends_in_the_new_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (log, path) = log(folder.path());
        log.write(Stream::Stdout, b"old\nbeg");
        fs::rename(&path, path.with_extension("1")).expect("rotated");
        log.reopen().expect("reopened");
        log.write(Stream::Stdout, b"un\n");
        assert_eq!(read(&path), "T stdout F begun\n");
        assert_eq!(read(&path.with_extension("1")), "T stdout F old\n");
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (log, path) = log(folder.path());
        log.write(Stream::Stdout, &[0xff, 0, 0xfe, b'\n']);
        let bytes = fs::read(&path).expect("a log");
        assert!(bytes.ends_with(&[b'F', b' ', 0xff, 0, 0xfe, b'\n']));
    }

    #[test]
    fn a_full_disk_loses_lines_and_not_the_guest() {
        if !Path::new("/dev/full").exists() {
            return;
        }
        let clock = ManualClock::new(STAMP.parse().expect("a timestamp"));
        let log = CriLog::open(Some(Path::new("/dev/full")), Arc::new(clock)).expect("a log");
        log.write(Stream::Stdout, b"lost\n");
        assert_eq!(log.lost(), 1);
    }
}
