//! How an object is laid out in bytes, in the store and on the wire.
//!
//! A stored value is `{"apiVersion":A,"kind":K,"metadata":{…},…}` in exactly this order and without a `resourceVersion`,
//! because that is the revision of the write itself. So what is served is the stored bytes from `"metadata":{` on (the
//! *tail*), behind a short head that names the kind and the revision; an item of a list and an event of a watch are the same
//! tail behind another head. Nothing is decoded to be read.

use bytes::Bytes;
use serde_json::{Map, Value};

const METADATA: &[u8] = b"\"metadata\":{";

/// An object's stored bytes, split where the head ends.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// All of the stored value.
    value: Bytes,
    /// Where the first field of `metadata` begins.
    tail: usize,
}

impl Encoded {
    /// Takes a stored value apart; a value that was not laid out by [`encode`] is laid out anew.
    ///
    /// # Errors
    /// When the value is no JSON object with metadata.
    pub fn from_stored(value: Bytes) -> Result<Self, serde_json::Error> {
        match tail_of(&value) {
            Some(tail) => Ok(Self { value, tail }),
            None => Ok(encode(&serde_json::from_slice(&value)?)),
        }
    }

    /// The bytes to store.
    pub fn stored(&self) -> &Bytes {
        &self.value
    }

    /// The object as it is served alone, at `revision`.
    pub fn object(&self, api_version: &str, kind: &str, revision: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.value.len() + 64);
        self.write_object(&mut out, api_version, kind, revision);
        out
    }

    /// Writes the object as it is served alone, at `revision`.
    pub fn write_object(&self, out: &mut Vec<u8>, api_version: &str, kind: &str, revision: u64) {
        out.extend_from_slice(b"{\"kind\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"apiVersion\":\"");
        out.extend_from_slice(api_version.as_bytes());
        out.extend_from_slice(b"\",");
        self.write_tail(out, revision);
    }

    /// Writes the object as an item of a typed list, which does not repeat its kind.
    pub fn write_item(&self, out: &mut Vec<u8>, revision: u64) {
        out.push(b'{');
        self.write_tail(out, revision);
    }

    fn write_tail(&self, out: &mut Vec<u8>, revision: u64) {
        out.extend_from_slice(METADATA);
        out.extend_from_slice(b"\"resourceVersion\":\"");
        out.extend_from_slice(revision.to_string().as_bytes());
        out.push(b'"');
        if self.value.get(self.tail) != Some(&b'}') {
            out.push(b',');
        }
        out.extend_from_slice(&self.value[self.tail..]);
    }

    /// The object decoded, with its revision.
    ///
    /// # Errors
    /// When the stored value is no JSON.
    pub fn decode(&self, revision: u64) -> Result<Value, serde_json::Error> {
        let mut value: Value = serde_json::from_slice(&self.value)?;
        set_resource_version(&mut value, revision);
        Ok(value)
    }
}

/// Lays out an object for the store; its `resourceVersion` is left out.
pub fn encode(object: &Value) -> Encoded {
    let empty = Map::new();
    let fields = object.as_object().unwrap_or(&empty);
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"{\"apiVersion\":");
    write(&mut out, fields.get("apiVersion").unwrap_or(&Value::Null));
    out.extend_from_slice(b",\"kind\":");
    write(&mut out, fields.get("kind").unwrap_or(&Value::Null));
    out.push(b',');
    out.extend_from_slice(METADATA);
    let tail = out.len();
    let mut first = true;
    if let Some(metadata) = fields.get("metadata").and_then(Value::as_object) {
        for (name, value) in metadata.iter().filter(|(name, _)| *name != "resourceVersion") {
            write_field(&mut out, name, value, &mut first);
        }
    }
    out.push(b'}');
    let mut first = false;
    for (name, value) in fields.iter().filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"))
    {
        write_field(&mut out, name, value, &mut first);
    }
    out.push(b'}');
    Encoded { value: Bytes::from(out), tail }
}

/// Sets `metadata.resourceVersion`.
pub fn set_resource_version(object: &mut Value, revision: u64) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), Value::String(revision.to_string()));
    }
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &Value, first: &mut bool) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    write(out, &Value::String(name.to_owned()));
    out.push(b':');
    write(out, value);
}

fn write(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("a JSON value is written to memory without an error");
}

/// Finds the tail of a value that [`encode`] laid out: the head holds two plain strings and nothing else.
fn tail_of(value: &[u8]) -> Option<usize> {
    let rest = value.strip_prefix(b"{\"apiVersion\":\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    let rest = rest[end..].strip_prefix(b"\",\"kind\":\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    let rest = rest[end..].strip_prefix(b"\",\"metadata\":{")?;
    (!rest.starts_with(b"\"resourceVersion\"")).then(|| value.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({"kind":"Pod","apiVersion":"v1","data":{"a":1},"metadata":{"name":"x","resourceVersion":"3","labels":{"a":"b"}}})
    }

    #[test]
    fn what_is_served_is_what_was_stored_with_its_revision() {
        let encoded = encode(&pod());
        let mut want = pod();
        set_resource_version(&mut want, 9);
        assert_eq!(serde_json::from_slice::<Value>(&encoded.object("v1", "Pod", 9)).unwrap(), want);
        assert_eq!(encoded.decode(9).unwrap(), want);
        let mut item = Vec::new();
        encoded.write_item(&mut item, 9);
        want.as_object_mut().unwrap().retain(|name, _| name != "kind" && name != "apiVersion");
        assert_eq!(serde_json::from_slice::<Value>(&item).unwrap(), want);
    }

    #[test]
    fn stored_bytes_are_split_again_without_being_decoded() {
        let encoded = encode(&pod());
        let again = Encoded::from_stored(encoded.stored().clone()).unwrap();
        assert_eq!(again.tail, encoded.tail);
        assert_eq!(again.object("v1", "Pod", 1), encoded.object("v1", "Pod", 1));
    }

    #[test]
    fn foreign_layouts_are_laid_out_anew() {
        let foreign = Bytes::from_static(br#"{"metadata":{"name":"x"},"kind":"Pod","apiVersion":"v1"}"#);
        let encoded = Encoded::from_stored(foreign).unwrap();
        assert_eq!(encoded.decode(2).unwrap()["metadata"]["resourceVersion"], "2");
        assert!(Encoded::from_stored(Bytes::from_static(b"nonsense")).is_err());
    }

    #[test]
    fn empty_metadata_is_still_an_object() {
        let encoded = encode(&json!({"apiVersion":"v1","kind":"Pod","metadata":{}}));
        assert_eq!(
            serde_json::from_slice::<Value>(&encoded.object("v1", "Pod", 4)).unwrap()["metadata"]["resourceVersion"],
            "4"
        );
    }
}
