//! The binary form of a [`Command`].

use super::{CodecError, Reader, Writer, begin, open};
use crate::{Command, Compare, CompareOp, KeyRange, Op, RangeRequest, Txn, command::MAX_DEPTH};

/// Stands before a comparison of a whole range.
const OF_RANGE: u8 = 6;

impl Command {
    /// Its binary form.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = begin();
        match self {
            Self::Txn(inner) => {
                writer.u8(1);
                txn(&mut writer, inner);
            }
            Self::Compact { revision } => {
                writer.u8(2);
                writer.u64(*revision);
            }
            Self::LeaseGrant { id: 0, ttl_seconds } => {
                writer.u8(3);
                writer.u64(*ttl_seconds);
            }
            Self::LeaseGrant { id, ttl_seconds } => {
                writer.u8(5);
                writer.i64(*id);
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
            1 => Self::Txn(read_txn(&mut reader, 0)?),
            2 => Self::Compact { revision: reader.u64()? },
            3 => Self::LeaseGrant { id: 0, ttl_seconds: reader.u64()? },
            4 => Self::LeaseRevoke { id: reader.i64()? },
            5 => Self::LeaseGrant { id: reader.i64()?, ttl_seconds: reader.u64()? },
            found => return Err(CodecError::Unknown { what: "command", found }),
        };
        reader.done()?;
        Ok(command)
    }
}

fn txn(writer: &mut Writer, txn: &Txn) {
    writer.list(&txn.compare, compare);
    writer.list(&txn.success, op);
    writer.list(&txn.failure, op);
}

fn read_txn(reader: &mut Reader, depth: usize) -> Result<Txn, CodecError> {
    // Deeper ones are never proposed: a broken record must not use up the stack.
    if depth > MAX_DEPTH {
        return Err(CodecError::Unknown { what: "depth of transactions", found: u8::MAX });
    }
    Ok(Txn {
        compare: reader.list(read_compare)?,
        success: reader.list(|reader| read_op(reader, depth))?,
        failure: reader.list(|reader| read_op(reader, depth))?,
    })
}

fn compare(writer: &mut Writer, of: &Compare) {
    let (target, relation) = match of {
        Compare::ModRevision { op, .. } => (1, op),
        Compare::CreateRevision { op, .. } => (2, op),
        Compare::Version { op, .. } => (3, op),
        Compare::Value { op, .. } => (4, op),
        Compare::Lease { op, .. } => (5, op),
        Compare::Range { end, each } => {
            writer.u8(OF_RANGE);
            writer.bytes(end);
            return compare(writer, each);
        }
    };
    writer.u8(target);
    writer.u8(match relation {
        CompareOp::Equal => 1,
        CompareOp::NotEqual => 2,
        CompareOp::Greater => 3,
        CompareOp::Less => 4,
    });
    writer.bytes(of.key());
    match of {
        Compare::ModRevision { value, .. } | Compare::CreateRevision { value, .. } | Compare::Version { value, .. } => {
            writer.u64(*value)
        }
        Compare::Value { value, .. } => writer.bytes(value),
        Compare::Lease { value, .. } => writer.i64(*value),
        Compare::Range { .. } => {}
    }
}

fn read_compare(reader: &mut Reader) -> Result<Compare, CodecError> {
    match reader.u8()? {
        OF_RANGE => {
            let end = reader.bytes()?;
            let target = reader.u8()?;
            Ok(Compare::Range { end, each: Box::new(read_single(reader, target)?) })
        }
        target => read_single(reader, target),
    }
}

fn read_single(reader: &mut Reader, target: u8) -> Result<Compare, CodecError> {
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
        5 => Compare::Lease { key, op, value: reader.i64()? },
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
        Op::Update { key, value, lease } => {
            writer.u8(4);
            writer.bytes(key);
            writer.option(value.as_ref(), |writer, value| writer.bytes(value));
            writer.option(*lease, Writer::i64);
        }
        Op::Txn(inner) => {
            writer.u8(5);
            txn(writer, inner);
        }
    }
}

fn read_op(reader: &mut Reader, depth: usize) -> Result<Op, CodecError> {
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
        4 => Op::Update {
            key: reader.bytes()?,
            value: reader.option(Reader::bytes)?,
            lease: reader.option(Reader::i64)?,
        },
        5 => Op::Txn(read_txn(reader, depth + 1)?),
        found => return Err(CodecError::Unknown { what: "step", found }),
    })
}
