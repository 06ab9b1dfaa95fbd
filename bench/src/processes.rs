//! Memory and processor time of the cluster's processes, as the kernel counts them.

use std::{collections::HashMap, fs, path::Path};

/// The cluster's processes together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Resident memory, shared pages counted once (PSS), bytes.
    pub memory: u64,
    /// Processor time so far, clock ticks.
    pub ticks: u64,
    /// Bytes written to disk so far.
    pub written: u64,
    /// How many processes.
    pub processes: usize,
}

/// Clock ticks a second, as `/proc` counts them on every Linux.
pub const TICKS_PER_SECOND: f64 = 100.0;

fn fields(text: &str) -> HashMap<&str, u64> {
    let field = |line: &'_ str| -> Option<(usize, u64)> {
        let colon = line.find(':')?;
        Some((colon, line[colon + 1..].split_whitespace().next()?.parse().ok()?))
    };
    text.lines().filter_map(|line| field(line).map(|(colon, value)| (&line[..colon], value))).collect()
}

/// All processes whose command is `name`.
pub fn usage(name: &str) -> Usage {
    let mut all = Usage::default();
    for entry in fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
        if fs::read_to_string(entry.path().join("comm")).unwrap_or_default().trim() == name {
            all.add(&entry.path());
        }
    }
    all
}

/// One process.
pub fn usage_of(process: u32) -> Usage {
    let mut one = Usage::default();
    one.add(&Path::new("/proc").join(process.to_string()));
    one
}

impl Usage {
    /// Adds the process of this folder of `/proc`.
    fn add(&mut self, process: &Path) {
        let read = |file: &str| fs::read_to_string(process.join(file)).unwrap_or_default();
        self.processes += 1;
        self.memory += fields(&read("smaps_rollup")).get("Pss").copied().unwrap_or_default() * 1024;
        self.written += fields(&read("io")).get("write_bytes").copied().unwrap_or_default();
        let stat = read("stat");
        // The command's name, in brackets, may hold anything.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
        self.ticks += ticks.sum::<u64>();
    }
}
