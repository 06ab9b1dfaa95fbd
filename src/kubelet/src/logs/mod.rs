//! Container logs: files in CRI log format, below the pod's folder.
//!
//! ```text
//!   <root>/pods/<namespace>_<name>_<uid>/<container>/<restart count>.log
//!   2026-11-24T02:30:00.123456789Z stdout F a line
//! ```

mod line;
mod reader;
pub mod rotation;

use std::{
    io::{Read, Seek, SeekFrom},
    path::Path,
};

pub use reader::{Options, follow};

use crate::pod::observed::ObservedContainer;

/// As much of a termination message is kept.
const MESSAGE_BYTES_MAX: u64 = 4_096;
/// As much of a log stands in for it.
const LOG_TAIL_BYTES_MAX: u64 = 2_048;
const LOG_TAIL_LINES_MAX: usize = 80;

/// What an ended container left to say: its termination message, or the end of its log when it failed without one and
/// its policy says so. `None` leaves what the runtime said.
pub fn termination_message(container: &ObservedContainer) -> Option<String> {
    let written = container.termination_file.as_deref().and_then(|path| head(path, MESSAGE_BYTES_MAX));
    if written.is_some() {
        return written;
    }
    if !container.message_from_log || container.exit_code == 0 {
        return None;
    }
    let tail = tail(&container.log_path, LOG_TAIL_BYTES_MAX * 2)?;
    let lines: Vec<&[u8]> = tail.split_inclusive(|byte| *byte == b'\n').collect();
    let first = lines.len().saturating_sub(LOG_TAIL_LINES_MAX);
    let mut text = Vec::new();
    for raw in &lines[first..] {
        if let Some(line) = line::parse(raw) {
            text.extend_from_slice(line.content);
            if line.is_full {
                text.push(b'\n');
            }
        }
    }
    let excess = text.len().saturating_sub(usize::try_from(LOG_TAIL_BYTES_MAX).unwrap_or(usize::MAX));
    let text = String::from_utf8_lossy(&text[excess..]).into_owned();
    Some(text).filter(|text| !text.is_empty())
}

fn head(path: &Path, bytes_max: u64) -> Option<String> {
    let mut text = Vec::new();
    std::fs::File::open(path).ok()?.take(bytes_max).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned()).filter(|text| !text.is_empty())
}

fn tail(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let start = length.saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut text = Vec::new();
    file.take(bytes_max).read_to_end(&mut text).ok()?;
    if start > 0 {
        // It begins in the middle of a line.
        let next = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| end + 1);
        text.drain(..next);
    }
    Some(text)
}
