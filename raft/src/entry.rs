//! The binary form of a log entry.
//!
//! ```text
//! version 1 │ term u64 │ node u64 │ kind u8 │ blank: nothing; command: as storage encodes it; membership: JSON
//! ```
//!
//! The index is the key that the entry lies under.

use bytes::{Buf, BufMut};
use openraft::{EntryPayload, vote::leader_id_adv::LeaderId};
use storage::{CodecError, Command, Op, Txn};

use crate::types::{Entry, LogId};

const VERSION: u8 = 1;
const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

const HEAD: usize = 18;

/// Why the bytes of an entry are none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("it has {0} bytes, its head alone has {HEAD}")]
    Short(usize),
    #[error("it has version {0}, this server reads {VERSION}")]
    Version(u8),
    #[error("it has the unknown kind {0}")]
    Kind(u8),
    #[error("its command cannot be read: {0}")]
    Command(#[from] CodecError),
    #[error("its membership cannot be read: {0}")]
    Membership(#[from] serde_json::Error),
}

pub(crate) fn encode(entry: &Entry) -> Vec<u8> {
    let (kind, body) = match &entry.payload {
        EntryPayload::Blank => (BLANK, Vec::new()),
        EntryPayload::Normal(command) => (COMMAND, command.encode()),
        EntryPayload::Membership(membership) => {
            (MEMBERSHIP, serde_json::to_vec(membership).expect("numbers and names have a JSON form"))
        }
    };
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.put_u8(VERSION);
    bytes.put_u64(entry.log_id.leader_id.term);
    bytes.put_u64(entry.log_id.leader_id.node_id);
    bytes.put_u8(kind);
    bytes.extend_from_slice(&body);
    bytes
}

/// About how many bytes an entry has.
pub(crate) fn size(entry: &Entry) -> usize {
    fn of(txn: &Txn) -> usize {
        let ops = txn.success.iter().chain(&txn.failure);
        ops.map(|op| match op {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Update { key, value, .. } => key.len() + value.as_ref().map_or(0, |value| value.len()),
            Op::Txn(inner) => of(inner),
            Op::DeleteRange { .. } | Op::Range(_) => 0,
        })
        .sum()
    }
    match &entry.payload {
        EntryPayload::Normal(Command::Txn(txn)) => HEAD + of(txn),
        _ => HEAD,
    }
}

pub(crate) fn decode(index: u64, mut bytes: &[u8]) -> Result<Entry, EntryError> {
    if bytes.len() < HEAD {
        return Err(EntryError::Short(bytes.len()));
    }
    match bytes.get_u8() {
        VERSION => {}
        found => return Err(EntryError::Version(found)),
    }
    let leader_id = LeaderId { term: bytes.get_u64(), node_id: bytes.get_u64() };
    let payload = match bytes.get_u8() {
        BLANK => EntryPayload::Blank,
        COMMAND => EntryPayload::Normal(Command::decode(bytes)?),
        MEMBERSHIP => EntryPayload::Membership(serde_json::from_slice(bytes)?),
        found => return Err(EntryError::Kind(found)),
    };
    Ok(Entry { log_id: LogId { leader_id, index }, payload })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use openraft::Membership;
    use proptest::prelude::*;

    use super::*;

    fn entry(payload: EntryPayload<Command, u64, crate::Server>) -> Entry {
        Entry { log_id: LogId { leader_id: LeaderId { term: 3, node_id: 4 }, index: 5 }, payload }
    }

    #[test]
    fn an_entry_comes_back_as_it_was_and_a_cut_one_is_an_error() {
        let membership = Membership::new_with_defaults(vec![BTreeSet::from([1, 2])], []);
        // What the first version wrote of a server.
        assert_eq!(serde_json::from_str::<crate::Server>(r#"{"addr":""}"#).unwrap(), crate::Server::default());
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Command::Compact { revision: 7 }),
            EntryPayload::Membership(membership),
        ] {
            let entry = entry(payload);
            let bytes = encode(&entry);
            assert_eq!(decode(5, &bytes).unwrap(), entry);
            for end in 0..bytes.len() {
                assert!(decode(5, &bytes[..end]).is_err(), "{entry} cut at {end}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, head in any::<[u8; 16]>(), kind in 0..4u8) {
            let _ = decode(1, &bytes);
            let _ = decode(1, &[&[VERSION], &head[..], &[kind], &bytes[..]].concat());
        }
    }
}
