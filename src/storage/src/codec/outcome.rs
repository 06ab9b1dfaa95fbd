//! The binary form of an [`Outcome`].

use super::{CodecError, Reader, Writer, begin, open};
use crate::{KeyValue, Lease, OpResponse, Outcome, RangeResponse, Refusal, TxnResponse, command::MAX_DEPTH};

impl Outcome {
    /// Its binary form.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = begin();
        match self {
            Self::Done { revision } => {
                writer.u8(1);
                writer.u64(*revision);
            }
            Self::Txn(response) => {
                writer.u8(2);
                txn(&mut writer, response);
            }
            Self::Refused(refusal) => {
                writer.u8(3);
                refused(&mut writer, refusal);
            }
            Self::Granted(lease) => {
                writer.u8(4);
                writer.i64(lease.id);
                writer.u64(lease.ttl_seconds);
            }
        }
        writer.done()
    }

    /// Reads it back.
    ///
    /// # Errors
    /// When the bytes are not what [`Outcome::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = open(bytes)?;
        let outcome = match reader.u8()? {
            1 => Self::Done { revision: reader.u64()? },
            2 => Self::Txn(read_txn(&mut reader, 0)?),
            3 => Self::Refused(read_refused(&mut reader)?),
            4 => Self::Granted(Lease { id: reader.i64()?, ttl_seconds: reader.u64()? }),
            found => return Err(CodecError::Unknown { what: "outcome", found }),
        };
        reader.done()?;
        Ok(outcome)
    }
}

fn txn(writer: &mut Writer, response: &TxnResponse) {
    writer.bool(response.succeeded);
    writer.u64(response.revision);
    writer.list(&response.responses, step);
}

fn read_txn(reader: &mut Reader, depth: usize) -> Result<TxnResponse, CodecError> {
    // As deep as requests may be: broken bytes must not use up the stack.
    if depth > MAX_DEPTH {
        return Err(CodecError::Unknown { what: "depth of answers", found: u8::MAX });
    }
    Ok(TxnResponse {
        succeeded: reader.bool()?,
        revision: reader.u64()?,
        responses: reader.list(|reader| read_step(reader, depth))?,
    })
}

fn refused(writer: &mut Writer, refusal: &Refusal) {
    match refusal {
        Refusal::Compacted { requested, compacted } => {
            writer.u8(1);
            writer.u64(*requested);
            writer.u64(*compacted);
        }
        Refusal::FutureRevision { requested, current } => {
            writer.u8(2);
            writer.u64(*requested);
            writer.u64(*current);
        }
        Refusal::TooLarge { size, limit } => {
            writer.u8(3);
            writer.u64(*size as u64);
            writer.u64(*limit as u64);
        }
        Refusal::Invalid(message) => {
            writer.u8(4);
            writer.bytes(message.as_bytes());
        }
        Refusal::LeaseNotFound(id) => {
            writer.u8(5);
            writer.i64(*id);
        }
        Refusal::LeaseExists(id) => {
            writer.u8(6);
            writer.i64(*id);
        }
        Refusal::KeyNotFound(key) => {
            writer.u8(7);
            writer.bytes(key.as_bytes());
        }
        Refusal::DuplicateKey(key) => {
            writer.u8(8);
            writer.bytes(key.as_bytes());
        }
    }
}

fn read_refused(reader: &mut Reader) -> Result<Refusal, CodecError> {
    let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
    let text = |reader: &mut Reader| reader.bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(match reader.u8()? {
        1 => Refusal::Compacted { requested: reader.u64()?, compacted: reader.u64()? },
        2 => Refusal::FutureRevision { requested: reader.u64()?, current: reader.u64()? },
        3 => Refusal::TooLarge { size: size(reader.u64()?), limit: size(reader.u64()?) },
        4 => Refusal::Invalid(text(reader)?),
        5 => Refusal::LeaseNotFound(reader.i64()?),
        6 => Refusal::LeaseExists(reader.i64()?),
        7 => Refusal::KeyNotFound(text(reader)?),
        8 => Refusal::DuplicateKey(text(reader)?),
        found => return Err(CodecError::Unknown { what: "refusal", found }),
    })
}

fn key_value(writer: &mut Writer, kv: &KeyValue) {
    writer.bytes(&kv.key);
    writer.bytes(&kv.value);
    writer.u64(kv.create_revision);
    writer.u64(kv.mod_revision);
    writer.u64(kv.version);
    writer.i64(kv.lease);
}

fn read_key_value(reader: &mut Reader) -> Result<KeyValue, CodecError> {
    Ok(KeyValue {
        key: reader.bytes()?,
        value: reader.bytes()?,
        create_revision: reader.u64()?,
        mod_revision: reader.u64()?,
        version: reader.u64()?,
        lease: reader.i64()?,
    })
}

fn step(writer: &mut Writer, response: &OpResponse) {
    match response {
        OpResponse::Put { prev_kv } => {
            writer.u8(1);
            writer.option(prev_kv.as_ref(), key_value);
        }
        OpResponse::DeleteRange { prev_kvs } => {
            writer.u8(2);
            writer.list(prev_kvs, key_value);
        }
        OpResponse::Range(response) => {
            writer.u8(3);
            writer.u64(response.revision);
            writer.list(&response.kvs, key_value);
            writer.bool(response.more);
            writer.u64(response.count);
        }
        OpResponse::Txn(response) => {
            writer.u8(4);
            txn(writer, response);
        }
    }
}

fn read_step(reader: &mut Reader, depth: usize) -> Result<OpResponse, CodecError> {
    Ok(match reader.u8()? {
        1 => OpResponse::Put { prev_kv: reader.option(read_key_value)? },
        2 => OpResponse::DeleteRange { prev_kvs: reader.list(read_key_value)? },
        3 => OpResponse::Range(RangeResponse {
            revision: reader.u64()?,
            kvs: reader.list(read_key_value)?,
            more: reader.bool()?,
            count: reader.u64()?,
        }),
        4 => OpResponse::Txn(read_txn(reader, depth + 1)?),
        found => return Err(CodecError::Unknown { what: "answer to a step", found }),
    })
}
