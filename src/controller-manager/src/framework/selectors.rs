//! Selectors and labels of typed objects.

use std::collections::BTreeMap;

use apimachinery::selectors::LabelSelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use kube::Resource;

use super::SyncError;

/// Reads an object's selector: none selects nothing, an empty one everything.
///
/// # Errors
/// When a key, value or operator is none.
pub fn parse_selector(selector: Option<&v1::LabelSelector>) -> Result<LabelSelector, SyncError> {
    let Some(selector) = selector else { return Ok(LabelSelector::nothing()) };
    let value = serde_json::to_value(selector).map_err(|error| SyncError::Other(error.to_string()))?;
    LabelSelector::from_value(&value).map_err(|error| SyncError::Other(error.to_string()))
}

/// The labels of an object.
pub fn labels_of<K: Resource>(object: &K) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    object.meta().labels.as_ref().unwrap_or(&NONE)
}
