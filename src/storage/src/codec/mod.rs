//! The binary form of commands and outcomes, as the log and the peers hold them.
//!
//! Fixed-width big-endian numbers and length-prefixed bytes behind a version byte: values are opaque bytes that a text
//! format would inflate, and the form has to stay readable for as long as a log entry may lie on a disk.

mod command;
mod outcome;
mod wire;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub(crate) use self::wire::{Reader, Writer};
use crate::{Command, Outcome};

/// Bytes that do not decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They end too early.
    #[error("it ends after {have} bytes, {need} more were expected")]
    Short {
        /// How many there are.
        have: usize,
        /// How many are missing.
        need: usize,
    },
    /// There are bytes behind the end.
    #[error("{0} bytes follow its end")]
    Long(usize),
    /// A number stands for nothing known; perhaps a newer version wrote it.
    #[error("unknown {what} {found}")]
    Unknown {
        /// What the number was read for.
        what: &'static str,
        /// The number.
        found: u8,
    },
}

/// The version byte that all encodings begin with.
const VERSION: u8 = 1;

fn begin() -> Writer {
    let mut writer = Writer::default();
    writer.u8(VERSION);
    writer
}

fn open(bytes: &[u8]) -> Result<Reader, CodecError> {
    let mut reader = Reader::copied(bytes);
    match reader.u8()? {
        VERSION => Ok(reader),
        found => Err(CodecError::Unknown { what: "encoding version", found }),
    }
}

macro_rules! encoded {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.encode())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::decode(&deserializer.deserialize_byte_buf(OwnedBytes)?).map_err(de::Error::custom)
            }
        }
    };
}

encoded!(Command);
encoded!(Outcome);

/// Takes bytes in whatever form a serde format has for them.
struct OwnedBytes;

impl<'de> de::Visitor<'de> for OwnedBytes {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Self::Value, E> {
        Ok(bytes)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = sequence.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Compare, CompareOp, KeyRange, KeyValue, Lease, Op, OpResponse, RangeRequest, RangeResponse, Refusal, Txn,
        TxnResponse,
    };

    fn example() -> Command {
        Command::Txn(Txn {
            compare: vec![
                Compare::ModRevision { key: "a".into(), op: CompareOp::Equal, value: 7 },
                Compare::CreateRevision { key: "b".into(), op: CompareOp::NotEqual, value: 8 },
                Compare::Version { key: "c".into(), op: CompareOp::Greater, value: 9 },
                Compare::Value { key: "d".into(), op: CompareOp::Less, value: "x".into() },
                Compare::Lease { key: "e".into(), op: CompareOp::Equal, value: -1 },
                Compare::Range {
                    end: "g".into(),
                    each: Box::new(Compare::Version { key: "f".into(), op: CompareOp::Equal, value: 0 }),
                },
            ],
            success: vec![
                Op::Put { key: "k".into(), value: "v".into(), lease: -4 },
                Op::DeleteRange { range: KeyRange::prefix("p") },
                Op::Update { key: "u".into(), value: Some("v".into()), lease: None },
                Op::Update { key: "w".into(), value: None, lease: Some(7) },
                Op::Txn(Txn { success: vec![Op::Txn(Txn::default())], ..Txn::default() }),
            ],
            failure: vec![Op::Range(RangeRequest {
                range: KeyRange::key("q"),
                revision: Some(3),
                limit: 5,
                keys_only: true,
                count_only: false,
            })],
        })
    }

    #[test]
    fn commands_and_outcomes_come_back_as_they_were() {
        let commands = [
            example(),
            Command::Compact { revision: 9 },
            Command::LeaseGrant { id: 0, ttl_seconds: 5 },
            Command::LeaseGrant { id: 77, ttl_seconds: 5 },
            Command::LeaseRevoke { id: 1 },
        ];
        for command in commands {
            assert_eq!(Command::decode(&command.encode()), Ok(command.clone()));
            let json = serde_json::to_string(&command).unwrap();
            assert_eq!(serde_json::from_str::<Command>(&json).unwrap(), command);
        }
        let kv =
            KeyValue { key: "k".into(), value: "v".into(), create_revision: 1, mod_revision: 2, version: 3, lease: 4 };
        let range = RangeResponse { revision: 5, kvs: vec![kv.clone()], more: true, count: 6 };
        let responses = vec![
            OpResponse::Put { prev_kv: Some(kv.clone()) },
            OpResponse::Put { prev_kv: None },
            OpResponse::DeleteRange { prev_kvs: vec![kv] },
            OpResponse::Range(range),
            OpResponse::Txn(TxnResponse { succeeded: false, revision: 7, responses: vec![] }),
        ];
        let outcomes = [
            Outcome::Done { revision: 1 },
            Outcome::Granted(Lease { id: 3, ttl_seconds: 5 }),
            Outcome::Txn(TxnResponse { succeeded: true, revision: 2, responses }),
            Outcome::Refused(Refusal::Compacted { requested: 1, compacted: 2 }),
            Outcome::Refused(Refusal::FutureRevision { requested: 2, current: 1 }),
            Outcome::Refused(Refusal::TooLarge { size: 2, limit: 1 }),
            Outcome::Refused(Refusal::Invalid("no".to_owned())),
            Outcome::Refused(Refusal::LeaseNotFound(1)),
            Outcome::Refused(Refusal::LeaseExists(2)),
            Outcome::Refused(Refusal::KeyNotFound("k".to_owned())),
            Outcome::Refused(Refusal::DuplicateKey("k".to_owned())),
        ];
        for outcome in outcomes {
            assert_eq!(Outcome::decode(&outcome.encode()), Ok(outcome));
        }
    }

    #[test]
    fn a_cut_or_lengthened_command_is_an_error() {
        let bytes = example().encode();
        for end in 0..bytes.len() {
            assert!(Command::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert_eq!(Command::decode(&[&bytes[..], &[0]].concat()), Err(CodecError::Long(1)));
    }

    #[test]
    fn what_was_written_before_leases_could_be_given_a_number_is_still_read() {
        let written = [&[VERSION, 3][..], &5_u64.to_be_bytes()].concat();
        assert_eq!(Command::decode(&written), Ok(Command::LeaseGrant { id: 0, ttl_seconds: 5 }));
    }

    #[test]
    fn transactions_in_one_another_do_not_use_up_the_stack() {
        let none = 0_u64.to_be_bytes();
        let mut bytes = vec![VERSION, 1];
        for _ in 0..100_000 {
            bytes.extend_from_slice(&none);
            bytes.extend_from_slice(&1_u64.to_be_bytes());
            bytes.push(5);
        }
        bytes.resize(bytes.len() + 100, 0);
        assert!(matches!(Command::decode(&bytes), Err(CodecError::Unknown { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ = Command::decode(&bytes);
            let _ = Command::decode(&[&[VERSION], &bytes[..]].concat());
            let _ = Outcome::decode(&[&[VERSION], &bytes[..]].concat());
        }
    }
}
