//! Reading a log: the end of it, since when, and on as it grows.

use std::{
    io::SeekFrom,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    sync::mpsc,
};

use super::line;
use crate::fs_watch::FsWatch;

const CHUNK_BYTES: usize = 64 << 10;

/// What of a log is wanted.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Go on as the log grows.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<usize>,
    /// Only what was written since then.
    pub since: Option<Timestamp>,
    /// Each line with its timestamp.
    pub timestamps: bool,
    /// No more than so many bytes.
    pub limit: Option<usize>,
    /// Only `stdout` or `stderr`.
    pub stream: Option<String>,
}

/// Sends the log at `path` to `sink`, and on as it grows until `ended` resolves and all is sent, or nobody listens.
pub async fn follow(
    path: PathBuf,
    options: Options,
    files: FsWatch,
    ended: impl Future<Output = ()>,
    sink: mpsc::Sender<std::io::Result<Bytes>>,
) {
    if let Err(error) = send(&path, &options, &files, ended, &sink).await {
        // Who does not listen any more does not mind.
        let _ = sink.send(Err(error)).await;
    }
}

async fn send(
    path: &Path,
    options: &Options,
    files: &FsWatch,
    ended: impl Future<Output = ()>,
    sink: &mpsc::Sender<std::io::Result<Bytes>>,
) -> std::io::Result<()> {
    // Before the first look, so that no change is missed.
    let folder = path.parent().unwrap_or(path);
    let folder = if options.follow { Some(files.watch(folder)?) } else { None };
    let mut growth = if options.follow { Some(files.watch(path)?) } else { None };
    let mut file = File::open(path).await?;
    if let Some(lines) = options.tail {
        let start = tail_start(&mut file, lines).await?;
        file.seek(SeekFrom::Start(start)).await?;
    }
    let mut output = Output { options, sent: 0 };
    let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
    let mut last = !options.follow;
    tokio::pin!(ended);
    loop {
        buffer.reserve(CHUNK_BYTES);
        if file.read_buf(&mut buffer).await? > 0 {
            let (text, done) = output.render(&mut buffer);
            if !text.is_empty() && sink.send(Ok(text)).await.is_err() || done {
                return Ok(());
            }
            continue;
        }
        // Is there a new file under the old name, then the old one has been read to its end.
        let inode = file.metadata().await?.ino();
        match tokio::fs::metadata(path).await {
            Ok(now) if now.ino() != inode => {
                growth = if options.follow { Some(files.watch(path)?) } else { None };
                file = File::open(path).await?;
                continue;
            }
            _ => {}
        }
        if last {
            return Ok(());
        }
        let (Some(folder), Some(growth)) = (&folder, &growth) else { return Ok(()) };
        tokio::select! {
            () = growth.changed() => {}
            () = folder.changed() => {}
            // What was written before the end is still read.
            () = &mut ended, if !last => last = true,
            () = sink.closed() => return Ok(()),
        }
    }
}

struct Output<'a> {
    options: &'a Options,
    sent: usize,
}

impl Output<'_> {
    /// Takes whole lines out of `buffer`; true when no more is wanted.
    fn render(&mut self, buffer: &mut BytesMut) -> (Bytes, bool) {
        let Some(end) = buffer.iter().rposition(|byte| *byte == b'\n') else { return (Bytes::new(), false) };
        let whole = buffer.split_to(end + 1);
        let mut text = BytesMut::with_capacity(whole.len());
        for raw in whole.split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = line::parse(raw) else { continue };
            if self.options.stream.as_ref().is_some_and(|wanted| wanted.as_bytes() != line.stream) {
                continue;
            }
            if let (Some(since), Some(time)) = (self.options.since, line.time())
                && time < since
            {
                continue;
            }
            if self.options.timestamps {
                text.extend_from_slice(line.timestamp);
                text.extend_from_slice(b" ");
            }
            text.extend_from_slice(line.content);
            if line.is_full {
                text.extend_from_slice(b"\n");
            }
        }
        if let Some(limit) = self.options.limit
            && self.sent + text.len() >= limit
        {
            text.truncate(limit - self.sent);
            self.sent = limit;
            return (text.freeze(), true);
        }
        self.sent += text.len();
        (text.freeze(), false)
    }
}

/// Where the last `lines` lines begin.
async fn tail_start(file: &mut File, lines: usize) -> std::io::Result<u64> {
    let length = file.metadata().await?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut block = vec![0; CHUNK_BYTES];
    let mut end = length;
    let mut seen = 0;
    while end > 0 {
        let start = end.saturating_sub(CHUNK_BYTES as u64);
        // A block is at most CHUNK_BYTES long.
        let size = usize::try_from(end - start).unwrap_or(CHUNK_BYTES);
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(&mut block[..size]).await?;
        for place in (0..size).rev() {
            // The newline at the very end ends the last line; it does not begin another.
            if block[place] == b'\n' && start + place as u64 + 1 != length {
                seen += 1;
                if seen == lines {
                    return Ok(start + place as u64 + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::Duration};

    use super::*;

    fn raw(lines: std::ops::Range<u32>) -> String {
        lines.map(|n| format!("2026-11-24T02:30:{n:02}Z stdout F line {n}\n")).collect()
    }

    async fn read(text: &str, options: Options) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("0.log");
        std::fs::write(&path, text).expect("a log");
        let (sink, mut source) = mpsc::channel(16);
        let files = FsWatch::new().expect("inotify");
        follow(path, options, files, std::future::pending(), sink).await;
        let mut output = Vec::new();
        while let Some(chunk) = source.recv().await {
            output.extend_from_slice(&chunk.expect("no error"));
        }
        String::from_utf8(output).expect("text")
    }

    #[tokio::test]
    async fn a_log_is_cut_as_asked() {
        let log = format!("{}2026-11-24T02:30:58Z stderr P half\n2026-11-24T02:30:59Z stderr F -full\n", raw(0..3));
        assert_eq!(read(&log, Options::default()).await, "line 0\nline 1\nline 2\nhalf-full\n");
        let tail = Options { tail: Some(3), ..Default::default() };
        assert_eq!(read(&log, tail).await, "line 2\nhalf-full\n");
        assert_eq!(read(&log, Options { tail: Some(0), ..Default::default() }).await, "");
        assert_eq!(read(&log, Options { limit: Some(9), ..Default::default() }).await, "line 0\nli");
        let since = "2026-11-24T02:30:02Z".parse().ok();
        let since = Options { since, timestamps: true, stream: Some("stdout".to_owned()), ..Default::default() };
        assert_eq!(read(&log, since).await, "2026-11-24T02:30:02Z line 2\n");
    }

    #[tokio::test]
    async fn following_sees_growth_and_rotation_and_ends_with_the_container() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("0.log");
        std::fs::write(&path, raw(0..1)).expect("a log");
        let files = FsWatch::new().expect("inotify");
        tokio::spawn(files.clone().run());
        let (sink, mut source) = mpsc::channel(16);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let options = Options { follow: true, ..Default::default() };
        let ended = async move {
            let _ = ended.await;
        };
        let following = tokio::spawn(follow(path.clone(), options, files, ended, sink));
        let mut seen = String::new();
        let mut next = async |expected: &str| {
            while seen != expected {
                let chunk = tokio::time::timeout(Duration::from_secs(5), source.recv()).await.expect("in time");
                seen.push_str(std::str::from_utf8(&chunk.expect("open").expect("no error")).expect("text"));
            }
            seen.clear();
        };
        next("line 0\n").await;
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("the log");
        file.write_all(raw(1..3).as_bytes()).expect("more");
        next("line 1\nline 2\n").await;
        std::fs::rename(&path, folder.path().join("0.log.old")).expect("a rotation");
        std::fs::write(&path, raw(3..4)).expect("a new log");
        next("line 3\n").await;
        end.send(()).expect("it listens");
        tokio::time::timeout(Duration::from_secs(5), following).await.expect("in time").expect("no panic");
    }

    proptest::proptest! {
        #[test]
        fn the_tail_is_the_last_lines(lengths in proptest::collection::vec(0usize..5_000, 0..60), tail in 0usize..70) {
            let lines: Vec<String> = lengths.iter().map(|length| format!("{}\n", "x".repeat(*length))).collect();
            let expected: String = lines[lines.len().saturating_sub(tail)..].concat();
            let log: String =
                lines.iter().map(|line| format!("2026-11-24T02:30:00Z stdout F {line}")).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let found = runtime.block_on(read(&log, Options { tail: Some(tail), ..Default::default() }));
            proptest::prop_assert_eq!(found, expected);
        }
    }
}
