//! The bodies of frames. What comes often is binary, and entries are encoded as the log encodes them; the rest is JSON.
//!
//! ```text
//! append     vote │ log ID before │ committed log ID │ count u32 │ index u64, length u32, entry …
//! vote       term u64 │ server u64 │ committed u8
//! log ID     0, or 1 │ term u64 │ server u64 │ index u64
//! appended   0 │ matching log ID; or 1 │ conflicting log ID; or 2 │ higher vote
//! answer     0 │ what was asked for; or 1 │ server that leads u64, 0 when unknown; or 2, 3, 4 │ text
//! ```

use bytes::{Buf, BufMut, Bytes, TryGetError};
use openraft::raft::StreamAppendError;
use serde::{Serialize, de::DeserializeOwned};

use super::{PeerError, frame::FrameError};
use crate::{
    entry::{self, EntryError},
    types::{Append, Appended, LeaderId, LogId, Vote},
};

/// The kinds of frames once both sides know each other.
pub(crate) mod kind {
    /// Is anybody there? Without a body.
    pub(crate) const PING: u8 = 10;
    /// The answer to it.
    pub(crate) const PONG: u8 = 11;
    /// A batch of entries; those of one number are one stream.
    pub(crate) const APPEND: u8 = 12;
    /// The answer to each.
    pub(crate) const APPENDED: u8 = 13;
    /// Nothing more will be appended under this number.
    pub(crate) const APPEND_END: u8 = 14;
    /// Everything under this number is answered.
    pub(crate) const APPEND_DONE: u8 = 15;
    /// A candidate asks for a vote.
    pub(crate) const VOTE: u8 = 16;
    /// A candidate to be asks whether it would get one.
    pub(crate) const PRE_VOTE: u8 = 17;
    /// The leader hands over.
    pub(crate) const TRANSFER: u8 = 18;
    /// A command for the leader.
    pub(crate) const PROPOSE: u8 = 19;
    /// Up to where to apply the log before reading.
    pub(crate) const READ_INDEX: u8 = 20;
    /// A change of membership for the leader.
    pub(crate) const CHANGE: u8 = 21;
    /// A snapshot begins.
    pub(crate) const SNAPSHOT: u8 = 22;
    /// A piece of it.
    pub(crate) const SNAPSHOT_PART: u8 = 23;
    /// It was sent.
    pub(crate) const SNAPSHOT_END: u8 = 24;
    /// About a lease, for the leader.
    pub(crate) const LEASE: u8 = 27;
    /// Whoever answers closes, and has not taken what it has not answered.
    pub(crate) const GOODBYE: u8 = 28;
    /// The answer to all but pings and batches.
    pub(crate) const ANSWER: u8 = 26;
}

/// Why a body is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error("a message ends too early: {0}")]
    Short(#[from] TryGetError),
    #[error("a message has {0} bytes behind its end")]
    Long(usize),
    #[error("a message has the unknown tag {0}")]
    Tag(u8),
    #[error("entry {0} of a message is none: {1}")]
    Entry(u64, EntryError),
    #[error("a message cannot be read: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<MessageError> for PeerError {
    fn from(error: MessageError) -> Self {
        Self::Garbage(error.to_string())
    }
}

impl From<MessageError> for FrameError {
    fn from(error: MessageError) -> Self {
        Self::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string()))
    }
}

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was done.
    Done(Bytes),
    /// Nothing was done: another server leads, if one does.
    Elsewhere(Option<u64>),
    /// Nothing was done, and cannot be now.
    Unavailable(String),
    /// It may have been done or not, or still may be.
    Unknown(String),
    /// Nothing was done: it makes no sense.
    Invalid(String),
}

impl Answer {
    /// A JSON answer.
    pub(crate) fn json(value: &impl Serialize) -> Self {
        Self::Done(json(value))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (tag, body) = match self {
            Self::Done(body) => (0, &body[..]),
            Self::Elsewhere(leader) => {
                bytes.put_u8(1);
                bytes.put_u64(leader.unwrap_or(0));
                return bytes;
            }
            Self::Unavailable(why) => (2, why.as_bytes()),
            Self::Unknown(why) => (3, why.as_bytes()),
            Self::Invalid(why) => (4, why.as_bytes()),
        };
        bytes.reserve(1 + body.len());
        bytes.put_u8(tag);
        bytes.extend_from_slice(body);
        bytes
    }

    pub(super) fn decode(mut body: Bytes) -> Result<Self, MessageError> {
        let text = |body: Bytes| String::from_utf8_lossy(&body).into_owned();
        Ok(match body.try_get_u8()? {
            0 => Self::Done(body),
            1 => {
                let leader = body.try_get_u64()?;
                done(&body)?;
                Self::Elsewhere((leader > 0).then_some(leader))
            }
            2 => Self::Unavailable(text(body)),
            3 => Self::Unknown(text(body)),
            4 => Self::Invalid(text(body)),
            tag => return Err(MessageError::Tag(tag)),
        })
    }
}

pub(crate) fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("numbers and names have a JSON form").into()
}

pub(super) fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, MessageError> {
    Ok(serde_json::from_slice(body)?)
}

pub(super) fn encode_append(append: &Append) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_vote(&mut bytes, &append.vote);
    put_log_id(&mut bytes, append.prev_log_id);
    put_log_id(&mut bytes, append.leader_commit);
    bytes.put_u32(u32::try_from(append.entries.len()).expect("a batch has far fewer entries"));
    for entry in &append.entries {
        let encoded = entry::encode(entry);
        bytes.put_u64(entry.log_id.index);
        bytes.put_u32(u32::try_from(encoded.len()).expect("commands are bounded far below 4 GiB"));
        bytes.extend_from_slice(&encoded);
    }
    bytes
}

pub(super) fn decode_append(mut bytes: &[u8]) -> Result<Append, MessageError> {
    let vote = take_vote(&mut bytes)?;
    let prev_log_id = take_log_id(&mut bytes)?;
    let leader_commit = take_log_id(&mut bytes)?;
    let count = bytes.try_get_u32()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let index = bytes.try_get_u64()?;
        let length = bytes.try_get_u32()? as usize;
        let entry = bytes.split_at_checked(length);
        let (entry, rest) = entry.ok_or(TryGetError { requested: length, available: bytes.len() })?;
        entries.push(entry::decode(index, entry).map_err(|error| MessageError::Entry(index, error))?);
        bytes = rest;
    }
    done(bytes)?;
    Ok(Append { vote, prev_log_id, entries, leader_commit })
}

pub(super) fn encode_appended(appended: &Appended) -> Vec<u8> {
    let mut bytes = Vec::new();
    match appended {
        Ok(matching) => {
            bytes.put_u8(0);
            put_log_id(&mut bytes, *matching);
        }
        Err(StreamAppendError::Conflict(at)) => {
            bytes.put_u8(1);
            put_log_id(&mut bytes, Some(*at));
        }
        Err(StreamAppendError::HigherVote(vote)) => {
            bytes.put_u8(2);
            put_vote(&mut bytes, vote);
        }
    }
    bytes
}

pub(super) fn decode_appended(mut bytes: &[u8]) -> Result<Appended, MessageError> {
    let appended = match bytes.try_get_u8()? {
        0 => Ok(take_log_id(&mut bytes)?),
        1 => Err(StreamAppendError::Conflict(take_log_id(&mut bytes)?.ok_or(MessageError::Tag(0))?)),
        2 => Err(StreamAppendError::HigherVote(take_vote(&mut bytes)?)),
        tag => return Err(MessageError::Tag(tag)),
    };
    done(bytes)?;
    Ok(appended)
}

fn done(rest: &[u8]) -> Result<(), MessageError> {
    if rest.is_empty() { Ok(()) } else { Err(MessageError::Long(rest.len())) }
}

fn put_vote(bytes: &mut Vec<u8>, vote: &Vote) {
    bytes.put_u64(vote.leader_id.term);
    bytes.put_u64(vote.leader_id.node_id);
    bytes.put_u8(vote.committed.into());
}

fn take_vote(bytes: &mut &[u8]) -> Result<Vote, MessageError> {
    let leader_id = LeaderId { term: bytes.try_get_u64()?, node_id: bytes.try_get_u64()? };
    let committed = match bytes.try_get_u8()? {
        0 => false,
        1 => true,
        tag => return Err(MessageError::Tag(tag)),
    };
    Ok(Vote { leader_id, committed })
}

fn put_log_id(bytes: &mut Vec<u8>, log_id: Option<LogId>) {
    let Some(LogId { leader_id, index }) = log_id else { return bytes.put_u8(0) };
    bytes.put_u8(1);
    bytes.put_u64(leader_id.term);
    bytes.put_u64(leader_id.node_id);
    bytes.put_u64(index);
}

fn take_log_id(bytes: &mut &[u8]) -> Result<Option<LogId>, MessageError> {
    match bytes.try_get_u8()? {
        0 => Ok(None),
        1 => {
            let leader_id = LeaderId { term: bytes.try_get_u64()?, node_id: bytes.try_get_u64()? };
            Ok(Some(LogId { leader_id, index: bytes.try_get_u64()? }))
        }
        tag => Err(MessageError::Tag(tag)),
    }
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use proptest::prelude::*;
    use storage::Command;

    use super::*;
    use crate::types::Entry;

    fn log_id() -> impl Strategy<Value = LogId> {
        (0..9u64, 1..4u64, 0..99u64)
            .prop_map(|(term, node_id, index)| LogId { leader_id: LeaderId { term, node_id }, index })
    }

    fn vote() -> impl Strategy<Value = Vote> {
        (log_id(), any::<bool>()).prop_map(|(log_id, committed)| Vote { leader_id: log_id.leader_id, committed })
    }

    proptest! {
        #[test]
        fn a_batch_comes_back_as_it_was_and_a_cut_one_is_an_error(
            vote in vote(), before in proptest::option::of(log_id()), commit in proptest::option::of(log_id()),
            ids in proptest::collection::vec(log_id(), 0..5), cut: prop::sample::Index,
        ) {
            let payload = |index| match index % 2 {
                0 => EntryPayload::Blank,
                _ => EntryPayload::Normal(Command::Compact { revision: index }),
            };
            let entries = ids.into_iter().map(|log_id| Entry { log_id, payload: payload(log_id.index) }).collect();
            let append = Append { vote, prev_log_id: before, entries, leader_commit: commit };
            let bytes = encode_append(&append);
            let back = decode_append(&bytes).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{append:?}"));
            prop_assert!(decode_append(&bytes[..cut.index(bytes.len())]).is_err());
            prop_assert!(decode_append(&[&bytes[..], &[0]].concat()).is_err());
        }

        #[test]
        fn answers_come_back_as_they_were(vote in vote(), id in log_id(), matching in proptest::option::of(log_id()), text: String) {
            for appended in [Ok(matching), Err(StreamAppendError::Conflict(id)), Err(StreamAppendError::HigherVote(vote))] {
                prop_assert_eq!(decode_appended(&encode_appended(&appended)).unwrap(), appended);
            }
            for answer in [
                Answer::Done(text.clone().into()),
                Answer::Elsewhere(None),
                Answer::Elsewhere(Some(3)),
                Answer::Unavailable(text.clone()),
                Answer::Unknown(text.clone()),
                Answer::Invalid(text.clone()),
            ] {
                prop_assert_eq!(Answer::decode(answer.encode().into()).unwrap(), answer);
            }
        }

        #[test]
        fn no_bytes_make_the_decoders_panic(bytes: Vec<u8>) {
            let _ = (decode_append(&bytes), decode_appended(&bytes), Answer::decode(bytes.into()));
        }
    }
}
