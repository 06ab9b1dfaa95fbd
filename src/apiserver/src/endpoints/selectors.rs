//! Label and field selectors, parsed once a request and asked once an object.

use apimachinery::selectors::{FieldSelector, LabelSelector};
use serde_json::Value;

use super::{Failure, options::ListOptions};
use crate::{
    cacher::{self, Entry},
    custom::JsonPath,
    fail,
    resources::Resource,
};

/// What a list or a watch selects.
#[derive(Debug, Clone)]
pub struct Selection {
    labels: Option<LabelSelector>,
    fields: Vec<FieldRequirement>,
}

/// One requirement of a field selector.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRequirement {
    field: String,
    value: String,
    equal: bool,
    /// Where a field of a custom resource lies.
    path: Option<JsonPath>,
}

impl FieldRequirement {
    fn selects(&self, entry: &Entry) -> bool {
        let found = match &self.path {
            None => entry.field(&self.field) == self.value,
            Some(path) => match path.first(&entry.object()) {
                None | Some(Value::Null) => self.value.is_empty(),
                Some(Value::String(text)) => *text == self.value,
                Some(other) => {
                    let text = other.to_string();
                    text == self.value
                }
            },
        };
        found == self.equal
    }
}

impl Selection {
    /// Reads both selectors of a request for `resource`.
    ///
    /// # Errors
    /// 400 when one does not parse or names a field that cannot be selected by.
    pub fn of(resource: &Resource, options: &ListOptions) -> Result<Self, Failure> {
        let labels = if options.label_selector.is_empty() {
            None
        } else {
            let parsed = LabelSelector::parse(&options.label_selector);
            Some(parsed.map_err(|why| Box::new(fail::bad_request(why.to_string())))?)
        };
        let fields = if options.field_selector.is_empty() {
            Vec::new()
        } else {
            let parsed = FieldSelector::parse(&options.field_selector);
            let parsed = parsed.map_err(|why| Box::new(fail::bad_request(why.to_string())))?;
            requirements(resource, &parsed)?
        };
        Ok(Self { labels, fields })
    }

    /// A selection of everything.
    pub fn all() -> Self {
        Self { labels: None, fields: Vec::new() }
    }

    /// Whether it selects everything.
    pub fn is_all(&self) -> bool {
        self.labels.is_none() && self.fields.is_empty()
    }

    /// Whether it selects `entry`.
    pub fn selects(&self, entry: &Entry) -> bool {
        self.labels.as_ref().is_none_or(|labels| labels.matches(&entry.labels))
            && self.fields.iter().all(|required| required.selects(entry))
    }

    /// The only name it can select.
    pub fn name(&self) -> Option<&str> {
        let pinned = |required: &&FieldRequirement| required.equal && required.field == "metadata.name";
        self.fields.iter().find(pinned).map(|required| required.value.as_str())
    }
}

fn requirements(resource: &Resource, selector: &FieldSelector) -> Result<Vec<FieldRequirement>, Failure> {
    let (group, name) = crate::registry::strategy::storage_of(&resource.group, &resource.name);
    let mut requirements = Vec::new();
    for (field, equal, value) in selector.requirements() {
        let field = stored_field(&resource.group, field);
        let custom =
            resource.custom.as_ref().and_then(|custom| custom.selectable.iter().find(|(name, _)| *name == field));
        if let Some((_, path)) = custom {
            let path = Some(path.clone());
            requirements.push(FieldRequirement { field, value: value.to_owned(), equal, path });
            continue;
        }
        if !cacher::is_selectable(group, name, &field) {
            return Err(fail::bad_request(cacher::unsupported(group, name, &field)).into());
        }
        requirements.push(FieldRequirement { field, value: value.to_owned(), equal, path: None });
    }
    Ok(requirements)
}

/// `events.k8s.io` names the fields of stored events differently.
fn stored_field(group: &str, field: &str) -> String {
    if group != "events.k8s.io" {
        return field.to_owned();
    }
    match field.strip_prefix("regarding.") {
        Some(rest) => format!("involvedObject.{rest}"),
        None => match field {
            "reportingController" => "reportingComponent".into(),
            other => other.to_owned(),
        },
    }
}
