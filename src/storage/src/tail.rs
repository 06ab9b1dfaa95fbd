//! Damage that RocksDB takes for the end of a file.
//!
//! A write-ahead log (and the manifest, which has the same form) may end in the middle of a record: that is what a crash
//! leaves, and RocksDB drops it. But a record whose *length* was damaged, so that it seems to reach beyond the file's end,
//! looks the same, and then everything behind it would be dropped in silence. The two can be told apart: of a record that
//! was cut off the end is missing; of one whose length alone is wrong everything is there, and its checksum, which does
//! not cover the length, is right for some shorter one.
//!
//! ```text
//! block of 32 KiB: record, record, …        record: checksum u32 │ length u16 │ type u8 │ bytes      (little-endian)
//! ```

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use crate::StoreError;

const BLOCK: usize = 32 << 10;
const HEAD: usize = 7;

/// Looks at the end of every write-ahead log of the database at `path`, and at that of its manifest.
///
/// # Errors
/// When one ends with a record whose length is damaged, or cannot be read.
pub(crate) fn verify(path: &Path) -> Result<(), StoreError> {
    let failed = |error: io::Error| StoreError::Io(format!("{}: {error}", path.display()));
    if !path.exists() {
        return Ok(());
    }
    for file in fs::read_dir(path).map_err(failed)? {
        let file = file.map_err(failed)?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let logged = name.strip_suffix(".log").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        if !logged && !name.starts_with("MANIFEST-") {
            continue;
        }
        let (start, block) = last_block(&file).map_err(failed)?;
        if let Some(Damage { at, length, true_length }) = damage(&block) {
            return Err(StoreError::Corrupt {
                file: file.display().to_string(),
                message: format!(
                    "the record at byte {} says that it has {length} bytes, which is more than the file has; \
                     its checksum is right for {true_length}",
                    start + at as u64
                ),
            });
        }
    }
    Ok(())
}

/// The last block of a file, and where it begins.
fn last_block(path: &Path) -> io::Result<(u64, Vec<u8>)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(1) / BLOCK as u64 * BLOCK as u64;
    file.seek(SeekFrom::Start(start))?;
    let mut block = Vec::with_capacity(BLOCK);
    file.take(BLOCK as u64).read_to_end(&mut block)?;
    Ok((start, block))
}

/// A record whose length is wrong.
#[derive(Debug, PartialEq, Eq)]
struct Damage {
    at: usize,
    length: usize,
    true_length: usize,
}

/// A record of `block`, which is the last of its file, that seems cut off but is whole.
fn damage(block: &[u8]) -> Option<Damage> {
    let mut at = 0;
    while let Some(head) = block.get(at..at + HEAD) {
        let length = length(head);
        let rest = &block[at + HEAD..];
        if length <= rest.len() {
            at += HEAD + length;
            continue;
        }
        let true_length = whole(head, rest)?;
        return Some(Damage { at, length, true_length });
    }
    None
}

/// How long a record really is whose head says that it is longer than `rest`, if it is whole: its checksum is right for a
/// shorter length, behind which the block ends or another record stands. For a record that was cut off, one of its at most
/// 32,768 beginnings would have to have the right 32 bits by chance.
fn whole(head: &[u8], rest: &[u8]) -> Option<usize> {
    let mut sum = crc32c::crc32c(&head[6..]);
    for true_length in 0..=rest.len() {
        if masked(sum) == checksum(head) && begins_with_a_record(&rest[true_length..]) {
            return Some(true_length);
        }
        sum = crc32c::crc32c_append(sum, rest.get(true_length..=true_length).unwrap_or_default());
    }
    None
}

/// Whether nothing more is there, or a whole record, or the beginning of one that was cut off.
fn begins_with_a_record(bytes: &[u8]) -> bool {
    let Some((head, rest)) = bytes.split_at_checked(HEAD) else { return true };
    rest.get(..length(head))
        .is_none_or(|record| masked(crc32c::crc32c_append(crc32c::crc32c(&head[6..]), record)) == checksum(head))
}

fn checksum(head: &[u8]) -> u32 {
    u32::from_le_bytes([head[0], head[1], head[2], head[3]])
}

fn length(head: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([head[4], head[5]]))
}

/// How RocksDB writes a CRC-32C down.
fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: u8 = 1;

    fn record(bytes: &[u8]) -> Vec<u8> {
        let sum = masked(crc32c::crc32c_append(crc32c::crc32c(&[FULL]), bytes));
        let length = u16::try_from(bytes.len()).unwrap();
        [&sum.to_le_bytes()[..], &length.to_le_bytes(), &[FULL], bytes].concat()
    }

    proptest! {
        #[test]
        fn a_damaged_length_is_found_and_a_cut_file_is_none(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            victim: prop::sample::Index,
            bit in 0..16_usize,
            cut: prop::sample::Index,
        ) {
            let records: Vec<_> = records.iter().map(|bytes| record(bytes)).collect();
            let block = records.concat();
            prop_assert_eq!(damage(&block[..cut.index(block.len())]), None);
            let victim = victim.index(records.len());
            let at = records[..victim].concat().len();
            let mut damaged = block.clone();
            damaged[at + 4 + bit / 8] ^= 1 << (bit % 8);
            let length = length(&damaged[at..]);
            let seems_cut = at + HEAD + length > block.len();
            let true_length = records[victim].len() - HEAD;
            // A length that stays within the file makes RocksDB see a wrong checksum.
            if seems_cut {
                prop_assert_eq!(damage(&damaged), Some(Damage { at, length, true_length }));
            }
        }
    }
}
