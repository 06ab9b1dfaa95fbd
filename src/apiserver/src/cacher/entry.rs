//! One object in the watch cache: its bytes, and the few words that selectors ask for.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde_json::Value;

use super::fields;
use crate::encoding::Encoded;

/// An object at one revision.
#[derive(Debug)]
pub struct Entry {
    /// `namespace/name`, or `name` of a cluster-scoped object: the order of lists.
    pub key: String,
    /// The revision of its last write; for an event of a deletion the revision of the deletion.
    pub revision: u64,
    /// The store's revision of its last write, which writes compare with.
    pub written: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its selectable fields besides name and namespace.
    pub fields: Vec<(&'static str, String)>,
    /// Its bytes.
    pub encoded: Encoded,
    decoded: OnceLock<Arc<Value>>,
}

impl Entry {
    /// Reads a stored value.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn read(
        group: &str,
        resource: &str,
        key: String,
        value: Bytes,
        revision: u64,
    ) -> Result<Self, serde_json::Error> {
        let object: Value = serde_json::from_slice(&value)?;
        Ok(Self {
            labels: labels_of(&object),
            fields: fields::selectable(group, resource, &object),
            encoded: Encoded::from_stored(value)?,
            key,
            revision,
            written: revision,
            decoded: OnceLock::new(),
        })
    }

    /// The same object as it was, at the revision at which it went away.
    pub fn gone(&self, revision: u64) -> Self {
        Self {
            key: self.key.clone(),
            revision,
            written: self.written,
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            encoded: self.encoded.clone(),
            decoded: OnceLock::new(),
        }
    }

    /// The object decoded; kept, so that readers that ask often (authorization, admission) share one.
    pub fn object(&self) -> Arc<Value> {
        self.decoded
            .get_or_init(|| {
                Arc::new(self.encoded.decode(self.revision).expect("the entry was decoded when it was read"))
            })
            .clone()
    }

    /// The object decoded for one use.
    pub fn decode(&self) -> Value {
        match self.decoded.get() {
            Some(object) => (**object).clone(),
            None => self.encoded.decode(self.revision).expect("the entry was decoded when it was read"),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.key.rsplit_once('/').map_or(self.key.as_str(), |(_, name)| name)
    }

    /// Its namespace; empty for a cluster-scoped object.
    pub fn namespace(&self) -> &str {
        self.key.rsplit_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// What a field selector sees under `field`.
    pub fn field(&self, field: &str) -> &str {
        match field {
            "metadata.name" => self.name(),
            "metadata.namespace" => self.namespace(),
            other => self.fields.iter().find(|(name, _)| *name == other).map_or("", |(_, value)| value),
        }
    }
}

/// The labels of an object.
pub fn labels_of(object: &Value) -> BTreeMap<String, String> {
    object
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .map(|labels| {
            labels.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
        })
        .unwrap_or_default()
}
