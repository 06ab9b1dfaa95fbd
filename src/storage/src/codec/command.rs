//! The binary form of a [`Command`].

use super::{CodecError, Reader, Writer, begin, open};
use crate::{Command, Compare, CompareOp, KeyRange, Op, RangeRequest, Txn};

impl Command {
    /// Its binary form.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = begin();
        match self {
            Self::Txn(txn) => {
                writer.u8(1);
                writer.list(&txn.compare, compare);
                writer.list(&txn.success, op);
                writer.list(&txn.failure, op);
            }
            Self::Compact { revision } => {
                writer.u8(2);
                writer.u64(*revision);
            }
            Self::LeaseGrant { ttl_seconds } => {
                writer.u8(3);
                writer.u64(*ttl_seconds);
            }
            Self::LeaseRevoke { id } => {
                writer.u8(4);
                writer.i64(*id);
            }
        }
        writer.done()
    }

    /// Reads it back.
    ///
    /// # Errors
    /// When the bytes are not what [`Command::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = open(bytes)?;
        let command = match reader.u8()? {
            1 => Self::Txn(Txn {
                compare: reader.list(read_compare)?,
                success: reader.list(read_op)?,
                failure: reader.list(read_op)?,
            }),
            2 => Self::Compact { revision: reader.u64()? },
            3 => Self::LeaseGrant { ttl_seconds: reader.u64()? },
            4 => Self::LeaseRevoke { id: reader.i64()? },
            found => return Err(CodecError::Unknown { what: "command", found }),
        };
        reader.done()?;
        Ok(command)
    }
}

fn compare(writer: &mut Writer, compare: &Compare) {
    let (target, relation) = match compare {
        Compare::ModRevision { op, .. } => (1, op),
        Compare::CreateRevision { op, .. } => (2, op),
        Compare::Version { op, .. } => (3, op),
        Compare::Value { op, .. } => (4, op),
    };
    writer.u8(target);
    writer.u8(match relation {
        CompareOp::Equal => 1,
        CompareOp::NotEqual => 2,
        CompareOp::Greater => 3,
        CompareOp::Less => 4,
    });
    writer.bytes(compare.key());
    match compare {
        Compare::ModRevision { value, .. } | Compare::CreateRevision { value, .. } | Compare::Version { value, .. } => {
            writer.u64(*value)
        }
        Compare::Value { value, .. } => writer.bytes(value),
    }
}

fn read_compare(reader: &mut Reader) -> Result<Compare, CodecError> {
    let target = reader.u8()?;
    let op = match reader.u8()? {
        1 => CompareOp::Equal,
        2 => CompareOp::NotEqual,
        3 => CompareOp::Greater,
        4 => CompareOp::Less,
        found => return Err(CodecError::Unknown { what: "relation", found }),
    };
    let key = reader.bytes()?;
    Ok(match target {
        1 => Compare::ModRevision { key, op, value: reader.u64()? },
        2 => Compare::CreateRevision { key, op, value: reader.u64()? },
        3 => Compare::Version { key, op, value: reader.u64()? },
        4 => Compare::Value { key, op, value: reader.bytes()? },
        found => return Err(CodecError::Unknown { what: "comparison", found }),
    })
}

fn range(writer: &mut Writer, range: &KeyRange) {
    writer.bytes(&range.start);
    writer.option(range.end.as_ref(), |writer, end| writer.bytes(end));
}

fn read_range(reader: &mut Reader) -> Result<KeyRange, CodecError> {
    Ok(KeyRange { start: reader.bytes()?, end: reader.option(Reader::bytes)? })
}

fn op(writer: &mut Writer, op: &Op) {
    match op {
        Op::Put { key, value, lease } => {
            writer.u8(1);
            writer.bytes(key);
            writer.bytes(value);
            writer.i64(*lease);
        }
        Op::DeleteRange { range: keys } => {
            writer.u8(2);
            range(writer, keys);
        }
        Op::Range(request) => {
            writer.u8(3);
            range(writer, &request.range);
            writer.option(request.revision, Writer::u64);
            writer.u64(request.limit as u64);
            writer.bool(request.keys_only);
            writer.bool(request.count_only);
        }
    }
}

fn read_op(reader: &mut Reader) -> Result<Op, CodecError> {
    Ok(match reader.u8()? {
        1 => Op::Put { key: reader.bytes()?, value: reader.bytes()?, lease: reader.i64()? },
        2 => Op::DeleteRange { range: read_range(reader)? },
        3 => Op::Range(RangeRequest {
            range: read_range(reader)?,
            revision: reader.option(Reader::u64)?,
            limit: usize::try_from(reader.u64()?).unwrap_or(usize::MAX),
            keys_only: reader.bool()?,
            count_only: reader.bool()?,
        }),
        found => return Err(CodecError::Unknown { what: "step", found }),
    })
}
