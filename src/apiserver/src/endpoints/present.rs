//! Objects in the form that the client accepts.
//!
//! The common case, JSON of the version in which the object is stored, is a copy of bytes. Everything else (tables, metadata
//! alone, YAML, another version) is decoded, changed and encoded.

use std::sync::Arc;

use apimachinery::tables;
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Answer, Context, Failure,
    list::Page,
    negotiate::{self, Accepted, Form},
};
use crate::{cacher::Entry, convert, core::Core, fail, query::Query, resources::Resource, respond};

/// What a table's rows carry of their objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Include {
    None,
    Metadata,
    Object,
}

/// Presents the objects of one resource.
#[derive(Debug, Clone)]
pub struct Presenter {
    resource: Arc<Resource>,
    accepted: Accepted,
    include: Include,
    now: Timestamp,
}

impl Presenter {
    /// Presents as the request asks.
    ///
    /// # Errors
    /// 406 when there is no such form.
    pub fn of(core: &Core, context: &Context, resource: &Arc<Resource>) -> Result<Self, Failure> {
        let accepted = negotiate::accept(&context.headers).ok_or_else(|| Box::new(fail::not_acceptable()))?;
        if accepted.form == Form::Discovery {
            return Err(fail::not_acceptable().into());
        }
        let include = match Query::of(&context.uri).text("includeObject") {
            None | Some("Metadata") => Include::Metadata,
            Some("None") => Include::None,
            Some("Object") => Include::Object,
            Some(other) => {
                let why = format!("unrecognized includeObject value: {other:?}");
                return Err(fail::bad_request(why).into());
            }
        };
        Ok(Self { resource: resource.clone(), accepted, include, now: core.clock.now() })
    }

    /// An object from the cache.
    ///
    /// # Errors
    /// 500 when it cannot be converted.
    pub fn entry(&self, entry: &Entry) -> Answer {
        if self.is_plain() && !self.accepted.yaml {
            let api_version = self.resource.api_version();
            let bytes = entry.encoded.object(&api_version, &self.resource.kind, entry.revision);
            return Ok(respond::json_bytes(StatusCode::OK, bytes));
        }
        self.object(StatusCode::OK, self.served(entry))
    }

    /// An object in the resource's own version.
    ///
    /// # Errors
    /// None at present; a form may fail to be written.
    pub fn object(&self, code: StatusCode, object: Value) -> Answer {
        let shown = match self.accepted.form {
            Form::Object | Form::Discovery => object,
            Form::Metadata | Form::MetadataList => metadata_of(object),
            Form::Table => {
                let metadata = json!({"resourceVersion": object.pointer("/metadata/resourceVersion")});
                self.table(vec![object], metadata, true)
            }
        };
        self.write(code, &shown)
    }

    /// A value as it is, in JSON or YAML.
    ///
    /// # Errors
    /// 500 when it cannot be written.
    pub fn write(&self, code: StatusCode, value: &Value) -> Answer {
        if !self.accepted.yaml {
            return Ok(respond::json(code, value));
        }
        let text = serde_yaml_ng::to_string(value).map_err(|error| Box::new(fail::internal(error)))?;
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = code;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
        Ok(response)
    }

    /// A list of objects that are not stored.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn objects(&self, kind: &str, items: Vec<Value>) -> Answer {
        let list = json!({"kind": kind, "apiVersion": self.resource.api_version(), "metadata": {}, "items": items});
        self.write(StatusCode::OK, &list)
    }

    /// A page of a list.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn list(&self, page: &Page) -> Answer {
        let mut metadata = json!({"resourceVersion": page.revision.to_string()});
        if !page.continue_token.is_empty() {
            metadata["continue"] = page.continue_token.clone().into();
        }
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        match self.accepted.form {
            Form::Table => {
                let objects = page.entries.iter().map(|entry| self.served(entry)).collect();
                self.write(StatusCode::OK, &self.table(objects, metadata, true))
            }
            Form::Metadata | Form::MetadataList => {
                let items: Vec<Value> = page.entries.iter().map(|entry| metadata_of(self.served(entry))).collect();
                let list = json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items,
                });
                self.write(StatusCode::OK, &list)
            }
            Form::Object | Form::Discovery if self.accepted.yaml || !self.is_plain() => {
                let items: Vec<Value> = page.entries.iter().map(|entry| without_kind(self.served(entry))).collect();
                let list = json!({
                    "kind": self.resource.list_kind(), "apiVersion": self.resource.api_version(), "metadata": metadata,
                    "items": items,
                });
                self.write(StatusCode::OK, &list)
            }
            Form::Object | Form::Discovery => {
                let size: usize = page.entries.iter().map(|entry| entry.encoded.stored().len() + 32).sum();
                let mut out = Vec::with_capacity(size + 256);
                let head = format!(
                    "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
                    self.resource.list_kind(),
                    self.resource.api_version()
                );
                out.extend_from_slice(head.as_bytes());
                for (index, entry) in page.entries.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    entry.encoded.write_item(&mut out, entry.revision);
                }
                out.extend_from_slice(b"]}");
                Ok(respond::json_bytes(StatusCode::OK, out))
            }
        }
    }

    /// One event of a watch; the first event of a table brings the columns.
    pub fn event(&self, kind: &str, entry: &Entry, first: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(entry.encoded.stored().len() + 96);
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        if self.is_plain() {
            entry.encoded.write_object(&mut out, &self.resource.api_version(), &self.resource.kind, entry.revision);
        } else {
            let object = self.served(entry);
            let shown = match self.accepted.form {
                Form::Table => {
                    let metadata = json!({"resourceVersion": entry.revision.to_string()});
                    self.table(vec![object], metadata, first)
                }
                Form::Metadata | Form::MetadataList => metadata_of(object),
                Form::Object | Form::Discovery => object,
            };
            out.extend_from_slice(shown.to_string().as_bytes());
        }
        out.extend_from_slice(b"}\n");
        out
    }

    /// A bookmark: a revision up to which the watch is complete.
    pub fn bookmark(&self, revision: u64, initial_events_end: bool) -> Vec<u8> {
        let (kind, api_version) = match self.accepted.form {
            Form::Table => ("Table".to_owned(), "meta.k8s.io/v1".to_owned()),
            Form::Metadata | Form::MetadataList => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
            Form::Object | Form::Discovery => (self.resource.kind.clone(), self.resource.api_version()),
        };
        let mut object =
            json!({"kind": kind, "apiVersion": api_version, "metadata": {"resourceVersion": revision.to_string()}});
        if initial_events_end {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        if self.accepted.form == Form::Table {
            object["columnDefinitions"] = Value::Null;
            object["rows"] = json!([{"cells": [], "object": metadata_of(object.clone())}]);
        }
        format!("{}\n", json!({"type": "BOOKMARK", "object": object})).into_bytes()
    }

    /// Whether stored bytes are what is asked for.
    fn is_plain(&self) -> bool {
        self.accepted.form == Form::Object && !convert::is_needed(&self.resource)
    }

    fn served(&self, entry: &Entry) -> Value {
        convert::from_storage(&self.resource, entry.decode())
    }

    fn table(&self, objects: Vec<Value>, metadata: Value, columns: bool) -> Value {
        let (group, name) = (&self.resource.group, &self.resource.name);
        let mut table = match &self.resource.custom {
            Some(custom) => custom.table(&objects, self.now),
            None => tables::table(group, &self.resource.version, name, &objects, self.now),
        };
        if let Some(rows) = table.get_mut("rows").and_then(Value::as_array_mut) {
            for (row, object) in rows.iter_mut().zip(objects) {
                row["object"] = match self.include {
                    Include::None => Value::Null,
                    Include::Metadata => metadata_of(object),
                    Include::Object => object,
                };
            }
        }
        table["metadata"] = metadata;
        if !columns {
            table["columnDefinitions"] = Value::Null;
        }
        table
    }
}

/// An object's metadata alone.
fn metadata_of(mut object: Value) -> Value {
    let metadata = object.get_mut("metadata").map(Value::take).unwrap_or_default();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

fn without_kind(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}
