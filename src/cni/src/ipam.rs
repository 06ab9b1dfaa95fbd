//! Addresses of pod sandboxes: given out in order, taken back, and remembered across a restart.
//!
//! The table is a bitmap over the node's pod CIDR and a cursor that only moves on, so that an address that was just
//! given back is the last to be given out again: whoever still dials it meets nobody rather than a stranger. Finding a
//! free address looks at 64 of them at a time.
//!
//! What is given out is a journal of one line an event beside a snapshot, appended without waiting for the disk: a
//! killed process loses nothing that the kernel has, and after a power cut no pod that had an address is left.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

/// After so many journal lines the snapshot is written anew.
const JOURNAL_LINES_MAX: usize = 10_000;

/// Why an address could not be given out or remembered.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    /// Every address of the range is in use.
    #[error("no address of {0} is free")]
    Exhausted(String),
    /// The range is not a usable IPv4 network.
    #[error("pod CIDR {0:?} is not an IPv4 network of /8 to /30")]
    InvalidCidr(String),
    /// The record could not be read or written.
    #[error("{action} address record {path}: {source}")]
    Record {
        /// What was being done.
        action: &'static str,
        /// The record's path.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The record holds a line that this code did not write.
    #[error("address record {path} is damaged at line {line}")]
    Damaged {
        /// The record's path.
        path: PathBuf,
        /// The line, counted from one.
        line: usize,
    },
}

/// The addresses of one node's pods.
#[derive(Debug)]
pub struct Ipam {
    cidr: String,
    first: u32,
    count: u32,
    used: Vec<u64>,
    cursor: u32,
    owners: HashMap<String, u32>,
    journal: File,
    journal_lines: usize,
    path: PathBuf,
}

impl Ipam {
    /// The table of `cidr` (for example `127.64.0.0/18`) whose record is the file `path`; the record of an earlier
    /// process is taken over, but for addresses outside of `cidr`.
    ///
    /// # Errors
    /// When `cidr` is not a network or the record cannot be read or written.
    pub fn open(cidr: &str, path: &Path) -> Result<Self, IpamError> {
        let (network, size) = parse_cidr(cidr)?;
        // The network's own address, its first (the node's) and the broadcast address are no pod's.
        let (first, count) = (network + 2, size - 3);
        let owners = read_record(path)?;
        let mut ipam = Self {
            cidr: cidr.to_owned(),
            first,
            count,
            used: vec![0; (count as usize).div_ceil(64)],
            cursor: 0,
            owners: HashMap::with_capacity(owners.len()),
            journal: append(path)?,
            journal_lines: 0,
            path: path.to_owned(),
        };
        for (owner, address) in owners {
            if let Some(index) = ipam.index_of(address) {
                ipam.mark(index);
                ipam.cursor = ipam.cursor.max(index + 1);
                ipam.owners.insert(owner, index);
            }
        }
        ipam.rewrite()?;
        Ok(ipam)
    }

    /// The address of `owner`: the one it has, or a free one.
    ///
    /// # Errors
    /// When none is free or the record cannot be written.
    pub fn allocate(&mut self, owner: &str) -> Result<IpAddr, IpamError> {
        if let Some(index) = self.owners.get(owner) {
            return Ok(self.address(*index));
        }
        let index = self.next_free().ok_or_else(|| IpamError::Exhausted(self.cidr.clone()))?;
        self.record('+', owner, index)?;
        self.mark(index);
        self.cursor = index + 1;
        self.owners.insert(owner.to_owned(), index);
        Ok(self.address(index))
    }

    /// Gives `owner` the very address it had, and says whether it could: not when another has it. An address outside
    /// of the range is nobody's here, and is left to its owner.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn claim(&mut self, owner: &str, address: IpAddr) -> Result<bool, IpamError> {
        let index = match address {
            IpAddr::V4(address) => self.index_of(address),
            IpAddr::V6(_) => None,
        };
        let Some(index) = index else { return Ok(true) };
        if let Some(own) = self.owners.get(owner) {
            return Ok(*own == index);
        }
        if self.used[index as usize / 64] & (1 << (index % 64)) != 0 {
            return Ok(false);
        }
        self.record('+', owner, index)?;
        self.mark(index);
        self.owners.insert(owner.to_owned(), index);
        Ok(true)
    }

    /// The range, as it was given.
    pub fn cidr(&self) -> &str {
        &self.cidr
    }

    /// Takes back what `owner` has; an owner without an address is no error.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn release(&mut self, owner: &str) -> Result<(), IpamError> {
        let Some(index) = self.owners.remove(owner) else { return Ok(()) };
        self.used[index as usize / 64] &= !(1 << (index % 64));
        self.record('-', owner, index)
    }

    /// Takes back the addresses of all owners that `keep` does not know.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) -> Result<(), IpamError> {
        let gone: Vec<String> = self.owners.keys().filter(|owner| !keep(owner)).cloned().collect();
        gone.iter().try_for_each(|owner| self.release(owner))
    }

    /// How many addresses are given out.
    pub fn in_use(&self) -> usize {
        self.owners.len()
    }

    fn address(&self, index: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self.first + index))
    }

    fn index_of(&self, address: Ipv4Addr) -> Option<u32> {
        u32::from(address).checked_sub(self.first).filter(|index| *index < self.count)
    }

    fn mark(&mut self, index: u32) {
        self.used[index as usize / 64] |= 1 << (index % 64);
    }

    /// The first free index at or after the cursor, then before it.
    fn next_free(&self) -> Option<u32> {
        let start = if self.cursor < self.count { self.cursor } else { 0 };
        self.free_in(start, self.count).or_else(|| self.free_in(0, start))
    }

    fn free_in(&self, from: u32, until: u32) -> Option<u32> {
        let mut index = from;
        while index < until {
            let word = self.used[index as usize / 64] >> (index % 64);
            let skip = word.trailing_ones().min(64 - index % 64);
            if skip < 64 - index % 64 {
                return Some(index + skip).filter(|found| *found < until);
            }
            index += skip;
        }
        None
    }

    fn record(&mut self, sign: char, owner: &str, index: u32) -> Result<(), IpamError> {
        let line = format!("{sign} {} {owner}\n", self.address(index));
        self.journal.write_all(line.as_bytes()).map_err(|source| self.failed("append to", source))?;
        self.journal_lines += 1;
        if self.journal_lines > JOURNAL_LINES_MAX + self.owners.len() { self.rewrite() } else { Ok(()) }
    }

    /// Replaces the record by one line an address in use.
    fn rewrite(&mut self) -> Result<(), IpamError> {
        let mut text = String::new();
        for (owner, index) in &self.owners {
            text.push_str(&format!("+ {} {owner}\n", self.address(*index)));
        }
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, &self.path))
            .map_err(|source| self.failed("rewrite", source))?;
        self.journal = append(&self.path)?;
        self.journal_lines = self.owners.len();
        Ok(())
    }

    fn failed(&self, action: &'static str, source: io::Error) -> IpamError {
        IpamError::Record { action, path: self.path.clone(), source }
    }
}

fn append(path: &Path) -> Result<File, IpamError> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|source| IpamError::Record {
        action: "open",
        path: path.to_owned(),
        source,
    })
}

/// Who has which address, by the record at `path`. A last line without its end is a torn write and does not count.
fn read_record(path: &Path) -> Result<HashMap<String, Ipv4Addr>, IpamError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(source) => return Err(IpamError::Record { action: "read", path: path.to_owned(), source }),
    };
    let mut owners = HashMap::new();
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    for (number, line) in text[..whole].lines().enumerate() {
        let damaged = || IpamError::Damaged { path: path.to_owned(), line: number + 1 };
        let mut words = line.splitn(3, ' ');
        let (sign, address, owner) = (words.next(), words.next(), words.next().ok_or_else(damaged)?);
        let address: Ipv4Addr = address.and_then(|address| address.parse().ok()).ok_or_else(damaged)?;
        match sign {
            Some("+") => _ = owners.insert(owner.to_owned(), address),
            Some("-") => _ = owners.remove(owner),
            _ => return Err(damaged()),
        }
    }
    Ok(owners)
}

/// The network's first address and how many it has.
fn parse_cidr(cidr: &str) -> Result<(u32, u32), IpamError> {
    let invalid = || IpamError::InvalidCidr(cidr.to_owned());
    let (address, bits) = cidr.split_once('/').ok_or_else(invalid)?;
    let address: Ipv4Addr = address.parse().map_err(|_| invalid())?;
    let bits: u32 = bits.parse().map_err(|_| invalid())?;
    if !(8..=30).contains(&bits) {
        return Err(invalid());
    }
    let size = 1 << (32 - bits);
    Ok((u32::from(address) & !(size - 1), size))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn open(folder: &tempfile::TempDir, cidr: &str) -> Ipam {
        Ipam::open(cidr, &folder.path().join("addresses")).expect("a table")
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn addresses_start_after_the_networks_own_and_the_nodes() {
        let folder = folder();
        let mut ipam = open(&folder, "127.64.0.0/18");
        assert_eq!(ipam.allocate("a").expect("an address").to_string(), "127.64.0.2");
        assert_eq!(ipam.allocate("b").expect("an address").to_string(), "127.64.0.3");
        assert_eq!(ipam.allocate("a").expect("the same again").to_string(), "127.64.0.2");
    }

    #[test]
    fn a_restart_keeps_what_was_given_out_and_does_not_reuse_at_once() {
        let folder = folder();
        let mut ipam = open(&folder, "127.64.0.0/18");
        let kept = ipam.allocate("kept").expect("an address");
        let gone = ipam.allocate("gone").expect("an address");
        ipam.release("gone").expect("released");
        assert_ne!(ipam.allocate("next").expect("an address"), gone);
        drop(ipam);
        let mut ipam = open(&folder, "127.64.0.0/18");
        assert_eq!(ipam.allocate("kept").expect("the same"), kept);
        assert_eq!(ipam.in_use(), 2);
    }

    #[test]
    fn a_full_range_says_so_and_serves_again_after_a_release() {
        let folder = folder();
        let mut ipam = open(&folder, "127.64.0.0/29");
        let owners: Vec<String> = (0..5).map(|number| number.to_string()).collect();
        for owner in &owners {
            ipam.allocate(owner).expect("an address");
        }
        assert!(matches!(ipam.allocate("more"), Err(IpamError::Exhausted(_))));
        ipam.release("2").expect("released");
        assert_eq!(ipam.allocate("more").expect("the freed one").to_string(), "127.64.0.4");
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_a_damaged_one_is_named() {
        let folder = folder();
        let path = folder.path().join("addresses");
        fs::write(&path, "+ 127.64.0.2 a\n+ 127.64.0.3 b").expect("written");
        assert_eq!(Ipam::open("127.64.0.0/24", &path).expect("a table").in_use(), 1);
        fs::write(&path, "+ 127.64.0.2 a\n* x y\n").expect("written");
        assert!(matches!(Ipam::open("127.64.0.0/24", &path), Err(IpamError::Damaged { line: 2, .. })));
    }

    #[test]
    fn an_address_is_claimed_by_who_had_it_and_by_nobody_else() {
        let folder = folder();
        let mut ipam = open(&folder, "127.64.0.0/24");
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(ipam.claim("a", address("127.64.0.9")).expect("recorded"));
        assert!(ipam.claim("a", address("127.64.0.9")).expect("recorded"));
        assert!(!ipam.claim("a", address("127.64.0.10")).expect("recorded"));
        assert!(!ipam.claim("b", address("127.64.0.9")).expect("recorded"));
        assert!(ipam.claim("b", address("127.65.0.9")).expect("not of this range"));
        drop(ipam);
        assert_eq!(open(&folder, "127.64.0.0/24").allocate("a").expect("the same"), address("127.64.0.9"));
    }

    #[test]
    fn a_cidr_that_is_none_is_refused() {
        let folder = folder();
        for cidr in ["", "127.64.0.0", "127.64.0.0/33", "x/18", "127.64.0.0/31"] {
            assert!(matches!(Ipam::open(cidr, &folder.path().join("addresses")), Err(IpamError::InvalidCidr(_))));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_two_owners_ever_share_an_address(steps in prop::collection::vec((0u8..40, any::<bool>()), 1..200)) {
            let folder = folder();
            let mut ipam = open(&folder, "127.64.0.0/27");
            for (owner, take) in steps {
                let owner = owner.to_string();
                if take {
                    let full = ipam.in_use() == 29;
                    let known = ipam.owners.contains_key(&owner);
                    prop_assert_eq!(ipam.allocate(&owner).is_ok(), !full || known);
                } else {
                    ipam.release(&owner).expect("released");
                }
                let distinct: HashSet<u32> = ipam.owners.values().copied().collect();
                prop_assert_eq!(distinct.len(), ipam.owners.len());
                prop_assert!(distinct.iter().all(|index| *index < ipam.count));
            }
            let before = ipam.owners.clone();
            drop(ipam);
            prop_assert_eq!(&open(&folder, "127.64.0.0/27").owners, &before);
        }
    }
}
