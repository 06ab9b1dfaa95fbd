//! Bodies in Kubernetes' protobuf form, which typed Go clients (kubectl among them) send.
//!
//! The numbers of fields are data (`data/protobuf.tsv`); what is read becomes the same JSON that a client could have sent, and
//! goes the same way from there. Answers are never in protobuf: every such client takes JSON as well.

use std::{collections::HashMap, sync::OnceLock};

use base64::Engine;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

const TABLE: &str = include_str!("../../data/protobuf.tsv");
/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// How deep messages may lie in each other.
const DEPTH_MAX: usize = 100;

/// Why a body is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// It does not begin as it should.
    #[error("provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}")]
    Prefix,
    /// It breaks off, or is none.
    #[error("proto: {0}")]
    Malformed(&'static str),
    /// The kind has no such form here.
    #[error("no protobuf form of kind {kind:?} in version {api_version:?} is known: send JSON")]
    Unknown {
        /// The version.
        api_version: String,
        /// The kind.
        kind: String,
    },
}

type Read<T> = Result<T, ProtobufError>;

/// What a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Bytes,
    Bool,
    Signed,
    Unsigned,
    Double,
    Message(&'static str),
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    Raw,
    Duration,
    Wrapped,
    SchemaOrBool,
    SchemaOrSchemas,
    SchemaOrStrings,
}

/// How often it may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Many {
    One,
    List,
    Map,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    /// Empty for a message whose fields are those of the message around it.
    name: &'static str,
    many: Many,
    kind: Type,
}

type Messages = HashMap<&'static str, HashMap<u64, Field>>;

fn messages() -> &'static Messages {
    static MESSAGES: OnceLock<Messages> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let mut messages = Messages::new();
        let mut current = "";
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let Some(field) = line.strip_prefix('\t') else {
                current = line;
                continue;
            };
            let mut parts = field.split('\t');
            let (Some(Ok(number)), Some(name), Some(code)) = (parts.next().map(str::parse), parts.next(), parts.next())
            else {
                continue;
            };
            let (many, code) = match code.as_bytes().first() {
                Some(b'*') => (Many::List, &code[1..]),
                Some(b'{') => (Many::Map, &code[1..]),
                _ => (Many::One, code),
            };
            let kind = match code {
                "s" => Type::Text,
                "y" => Type::Bytes,
                "b" => Type::Bool,
                "i" => Type::Signed,
                "u" => Type::Unsigned,
                "d" => Type::Double,
                "!T" => Type::Time,
                "!U" => Type::MicroTime,
                "!Q" => Type::Quantity,
                "!I" => Type::IntOrString,
                "!R" => Type::Raw,
                "!D" => Type::Duration,
                "!L" => Type::Wrapped,
                "!B" => Type::SchemaOrBool,
                "!A" => Type::SchemaOrSchemas,
                "!S" => Type::SchemaOrStrings,
                other => Type::Message(other.trim_start_matches('&')),
            };
            messages.entry(current).or_default().insert(number, Field { name, many, kind });
        }
        messages
    })
}

/// The message of a kind.
fn message_of(api_version: &str, kind: &str) -> Option<&'static str> {
    let name = if kind == "DeleteOptions" {
        "meta/v1.DeleteOptions".to_owned()
    } else {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("core", api_version));
        format!("{}/{version}.{kind}", group.split('.').next().unwrap_or_default())
    };
    messages().get_key_value(name.as_str()).map(|(name, _)| *name)
}

/// The object in a body.
///
/// # Errors
/// When it is none.
pub fn decode(body: &[u8]) -> Read<Value> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::Prefix)?;
    let (mut api_version, mut kind, mut raw, mut content_type) = (String::new(), String::new(), &[][..], String::new());
    each(envelope, |number, wire| {
        match number {
            1 => each(wire.bytes()?, |number, wire| {
                match number {
                    1 => api_version = text(wire)?,
                    2 => kind = text(wire)?,
                    _ => {}
                }
                Ok(())
            })?,
            2 => raw = wire.bytes()?,
            4 => content_type = text(wire)?,
            _ => {}
        }
        Ok(())
    })?;
    if content_type == "application/json" {
        return serde_json::from_slice(raw).map_err(|_| ProtobufError::Malformed("the JSON inside is malformed"));
    }
    let name = message_of(&api_version, &kind)
        .ok_or_else(|| ProtobufError::Unknown { api_version: api_version.clone(), kind: kind.clone() })?;
    let mut object = Map::new();
    message(name, raw, &mut object, 0)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

/// A value as it is on the wire.
#[derive(Debug, Clone, Copy)]
enum Wire<'b> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'b [u8]),
}

impl<'b> Wire<'b> {
    fn bytes(self) -> Read<&'b [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(ProtobufError::Malformed("wrong wireType")),
        }
    }

    fn number(self) -> Read<u64> {
        match self {
            Self::Varint(number) | Self::Fixed(number) => Ok(number),
            Self::Bytes(_) => Err(ProtobufError::Malformed("wrong wireType")),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Read<u64> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(ProtobufError::Malformed("unexpected EOF"))?;
        *bytes = rest;
        if shift > 63 {
            return Err(ProtobufError::Malformed("integer overflow"));
        }
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(ProtobufError::Malformed("integer overflow"))
}

fn cut<'b>(bytes: &mut &'b [u8], length: usize) -> Read<&'b [u8]> {
    if length > bytes.len() {
        return Err(ProtobufError::Malformed("unexpected EOF"));
    }
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    Ok(taken)
}

/// Visits every field of a message.
fn each<'b>(mut bytes: &'b [u8], mut visit: impl FnMut(u64, Wire<'b>) -> Read<()>) -> Read<()> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let little = |taken: &[u8]| taken.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let wire = match tag & 7 {
            0 => Wire::Varint(varint(&mut bytes)?),
            1 => Wire::Fixed(little(cut(&mut bytes, 8)?)),
            2 => {
                let length = varint(&mut bytes)?;
                let length = usize::try_from(length).map_err(|_| ProtobufError::Malformed("negative length"))?;
                Wire::Bytes(cut(&mut bytes, length)?)
            }
            5 => Wire::Fixed(little(cut(&mut bytes, 4)?)),
            _ => return Err(ProtobufError::Malformed("illegal wireType")),
        };
        visit(tag >> 3, wire)?;
    }
    Ok(())
}

fn text(wire: Wire<'_>) -> Read<String> {
    let text = std::str::from_utf8(wire.bytes()?).map_err(|_| ProtobufError::Malformed("invalid UTF-8"))?;
    Ok(text.to_owned())
}

fn message(name: &str, bytes: &[u8], object: &mut Map<String, Value>, depth: usize) -> Read<()> {
    if depth > DEPTH_MAX {
        return Err(ProtobufError::Malformed("messages lie too deep in each other"));
    }
    // A message without fields here (an empty one, or one that is newer) says nothing.
    let Some(fields) = messages().get(name) else { return Ok(()) };
    each(bytes, |number, wire| {
        let Some(field) = fields.get(&number) else { return Ok(()) };
        if field.name.is_empty() {
            if let Type::Message(inner) = field.kind {
                message(inner, wire.bytes()?, object, depth + 1)?;
            }
            return Ok(());
        }
        match field.many {
            Many::One => {
                let value = value(field.kind, wire, depth)?;
                // A message may come in several parts; those of Kubernetes' clients do not.
                object.insert(field.name.to_owned(), value);
            }
            Many::List => {
                let list = object.entry(field.name).or_insert_with(|| json!([]));
                let Some(list) = list.as_array_mut() else { return Ok(()) };
                match (field.kind, wire) {
                    // Numbers may be packed.
                    (Type::Signed | Type::Unsigned | Type::Bool, Wire::Bytes(mut packed)) => {
                        while !packed.is_empty() {
                            list.push(value(field.kind, Wire::Varint(varint(&mut packed)?), depth)?);
                        }
                    }
                    _ => list.push(value(field.kind, wire, depth)?),
                }
            }
            Many::Map => {
                let (mut key, mut inner) = (String::new(), None);
                each(wire.bytes()?, |number, wire| {
                    match number {
                        1 => key = text(wire)?,
                        2 => inner = Some(wire),
                        _ => {}
                    }
                    Ok(())
                })?;
                let inner = value(field.kind, inner.unwrap_or(Wire::Bytes(&[])), depth)?;
                object.entry(field.name).or_insert_with(|| json!({}))[key] = inner;
            }
        }
        Ok(())
    })
}

fn value(kind: Type, wire: Wire<'_>, depth: usize) -> Read<Value> {
    Ok(match kind {
        Type::Text => text(wire)?.into(),
        Type::Bytes => base64::engine::general_purpose::STANDARD.encode(wire.bytes()?).into(),
        Type::Bool => (wire.number()? != 0).into(),
        Type::Signed => wire.number()?.cast_signed().into(),
        Type::Unsigned => wire.number()?.into(),
        Type::Double => f64::from_bits(wire.number()?).into(),
        Type::Message(name) => {
            let mut object = Map::new();
            message(name, wire.bytes()?, &mut object, depth + 1)?;
            Value::Object(object)
        }
        Type::Time | Type::MicroTime => time(wire.bytes()?, kind == Type::MicroTime)?,
        Type::Quantity => {
            let mut quantity = String::new();
            each(wire.bytes()?, |number, wire| {
                if number == 1 {
                    quantity = text(wire)?;
                }
                Ok(())
            })?;
            quantity.into()
        }
        Type::IntOrString => {
            let (mut is_text, mut number_value, mut text_value) = (false, 0, String::new());
            each(wire.bytes()?, |number, wire| {
                match number {
                    1 => is_text = wire.number()? == 1,
                    2 => number_value = wire.number()?.cast_signed(),
                    3 => text_value = text(wire)?,
                    _ => {}
                }
                Ok(())
            })?;
            if is_text { text_value.into() } else { number_value.into() }
        }
        Type::Raw => {
            let mut raw = Value::Null;
            each(wire.bytes()?, |number, wire| {
                if number == 1 {
                    let malformed = |_| ProtobufError::Malformed("the JSON inside is malformed");
                    raw = serde_json::from_slice(wire.bytes()?).map_err(malformed)?;
                }
                Ok(())
            })?;
            raw
        }
        Type::Duration => {
            let mut nanoseconds = 0;
            each(wire.bytes()?, |number, wire| {
                if number == 1 {
                    nanoseconds = wire.number()?.cast_signed();
                }
                Ok(())
            })?;
            #[expect(clippy::cast_precision_loss, reason = "durations of the API are whole seconds")]
            let seconds = nanoseconds as f64 / 1e9;
            format!("{seconds}s").into()
        }
        Type::Wrapped => {
            let mut items = Vec::new();
            each(wire.bytes()?, |number, wire| {
                if number == 1 {
                    items.push(Value::from(text(wire)?));
                }
                Ok(())
            })?;
            items.into()
        }
        Type::SchemaOrBool | Type::SchemaOrSchemas | Type::SchemaOrStrings => schema_or(kind, wire.bytes()?, depth)?,
    })
}

fn schema_or(kind: Type, bytes: &[u8], depth: usize) -> Read<Value> {
    const SCHEMA: Type = Type::Message("apiextensions/v1.JSONSchemaProps");
    let (mut allows, mut schema, mut items) = (false, None, Vec::new());
    each(bytes, |number, wire| {
        match (kind, number) {
            (Type::SchemaOrBool, 1) => allows = wire.number()? != 0,
            (Type::SchemaOrBool, 2) | (_, 1) => schema = Some(value(SCHEMA, wire, depth)?),
            (Type::SchemaOrSchemas, 2) => items.push(value(SCHEMA, wire, depth)?),
            (Type::SchemaOrStrings, 2) => items.push(text(wire)?.into()),
            _ => {}
        }
        Ok(())
    })?;
    Ok(match (kind, schema) {
        (_, Some(schema)) => schema,
        (Type::SchemaOrBool, None) => allows.into(),
        (_, None) => items.into(),
    })
}

fn time(bytes: &[u8], micro: bool) -> Read<Value> {
    let (mut seconds, mut nanoseconds) = (0, 0);
    each(bytes, |number, wire| {
        match number {
            1 => seconds = wire.number()?.cast_signed(),
            2 => nanoseconds = i32::try_from(wire.number()?.cast_signed()).unwrap_or(0),
            _ => {}
        }
        Ok(())
    })?;
    // The zero time of Go, and no time at all, are `null`.
    if (seconds, nanoseconds) == (0, 0) || seconds == -62_135_596_800 {
        return Ok(Value::Null);
    }
    let at = Timestamp::new(seconds, nanoseconds).map_err(|_| ProtobufError::Malformed("a time that is none"))?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(at.strftime(format).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("short");
        assert!(length < 128);
        [&[number << 3 | 2, length][..], bytes].concat()
    }

    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
    }

    #[test]
    fn an_object_becomes_the_json_that_could_have_been_sent() {
        let entry = [field(1, b"k"), field(2, b"v")].concat();
        let metadata = [field(1, b"name"), field(11, &entry), field(8, &[0x08, 0x80, 0xb0, 0xb7, 0xce, 0x06])].concat();
        let raw = [field(1, &metadata), field(2, &entry), field(3, &entry)].concat();
        assert_eq!(
            decode(&body("v1", "ConfigMap", &raw)).unwrap(),
            json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "name", "labels": {"k": "v"}, "creationTimestamp": "2026-04-02T02:44:16Z"},
                "data": {"k": "v"}, "binaryData": {"k": "dg=="}})
        );
    }

    #[test]
    fn numbers_inlined_messages_and_numbers_or_strings_are_read() {
        // replicas: 3 of a Deployment's spec; maxSurge "25%", maxUnavailable 1.
        let percent = [&[0x08, 1][..], &field(3, b"25%")].concat();
        let rolling = [field(1, &[0x10, 1]), field(2, &percent)].concat();
        let strategy = [field(1, b"RollingUpdate"), field(2, &rolling)].concat();
        let spec = [&[0x08, 3][..], &field(4, &strategy)].concat();
        let read = decode(&body("apps/v1", "Deployment", &field(2, &spec))).unwrap();
        assert_eq!(read["spec"]["replicas"], 3);
        let rolling = json!({"maxUnavailable": 1, "maxSurge": "25%"});
        assert_eq!(read["spec"]["strategy"], json!({"type": "RollingUpdate", "rollingUpdate": rolling}));
        // A volume's source lies in the volume itself.
        let volume = [field(1, b"v"), field(2, &field(1, &field(1, b"/x")))].concat();
        let read = decode(&body("v1", "Pod", &field(2, &field(1, &volume)))).unwrap();
        assert_eq!(read["spec"]["volumes"], json!([{"name": "v", "hostPath": {"path": "/x"}}]));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert_eq!(decode(b"{}"), Err(ProtobufError::Prefix));
        let whole = body("v1", "ConfigMap", &field(1, b"x"));
        // Without its last field it is whole as well, and says less.
        for cut in (5..whole.len()).filter(|cut| *cut != whole.len() - 5) {
            assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(matches!(decode(&body("v1", "Nothing", b"")), Err(ProtobufError::Unknown { .. })));
        let mut nested = Vec::new();
        for _ in 0..50 {
            nested = field(28, &nested.iter().copied().take(100).collect::<Vec<_>>());
        }
        let _ = decode(&body("apiextensions.k8s.io/v1", "CustomResourceDefinition", &nested));
    }
}
