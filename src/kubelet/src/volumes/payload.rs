//! The files of a volume. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod};

use crate::pod::{
    fields::{self, FieldError, NodeFacts},
    objects::{ObjectError, PodObjects},
};

/// The files of a volume by their path in it.
pub(super) type Payload = BTreeMap<String, File>;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub data: Vec<u8>,
    pub mode: u32,
}

/// Why a volume has no files.
#[derive(Debug, thiserror::Error)]
pub(super) enum PayloadError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("configmap references non-existent config key: {0}")]
    NoConfigKey(String),
    #[error("references non-existent secret key: {0}")]
    NoSecretKey(String),
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("failed to fetch token: {0}")]
    Token(String),
    #[error("{0} is not supported on this node yet")]
    Unsupported(&'static str),
}

/// The permissions of files that name none themselves.
pub(super) fn mode(given: Option<i32>) -> u32 {
    given.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644)
}

pub(super) fn config_map(
    objects: &PodObjects,
    name: &str,
    optional: bool,
    items: Option<&[KeyToPath]>,
    mode: u32,
) -> Result<Payload, PayloadError> {
    let Some(map) = objects.config_map(name, optional)? else { return Ok(Payload::new()) };
    let text = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    pick(text.chain(binary).collect(), items, optional, mode, PayloadError::NoConfigKey)
}

pub(super) fn secret(
    objects: &PodObjects,
    name: &str,
    optional: bool,
    items: Option<&[KeyToPath]>,
    mode: u32,
) -> Result<Payload, PayloadError> {
    let Some(secret) = objects.secret(name, optional)? else { return Ok(Payload::new()) };
    let data = secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    pick(data.collect(), items, optional, mode, PayloadError::NoSecretKey)
}

fn pick(
    data: BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: u32,
    missing: fn(String) -> PayloadError,
) -> Result<Payload, PayloadError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let file = |data: &[u8]| File { data: data.to_vec(), mode };
        return Ok(data.into_iter().map(|(key, data)| (key.to_owned(), file(data))).collect());
    };
    let mut files = Payload::new();
    for item in items {
        match data.get(item.key.as_str()) {
            Some(data) => {
                let mode = item.mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(mode);
                files.insert(item.path.clone(), File { data: data.to_vec(), mode });
            }
            None if optional => {}
            None => return Err(missing(item.key.clone())),
        }
    }
    Ok(files)
}

pub(super) fn downward(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    node: &NodeFacts,
    mode: u32,
) -> Result<Payload, PayloadError> {
    let mut files = Payload::new();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => fields::field_text(pod, &field.field_path)?,
            (None, Some(selector)) => fields::resource_text(pod, selector, None, node)?,
            (None, None) => String::new(),
        };
        let mode = item.mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(mode);
        files.insert(item.path.clone(), File { data: text.into_bytes(), mode });
    }
    Ok(files)
}
