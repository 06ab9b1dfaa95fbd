//! Resources that are not built in: what a CustomResourceDefinition says of them, and how they are served.
//!
//! ```text
//! definition ──► controller: names accepted? ──► conditions in its status
//!                     └─► the table of resources, anew ──► discovery, endpoints
//! ```
//!
//! An object of a custom resource goes the way of all objects; what its kind's own file says of a built-in one is said here by
//! the definition's schema.

mod controller;
pub mod paths;
mod rules;
mod strategy;
mod table;

use std::sync::Arc;

use apimachinery::schema::{self, Schema};
use serde_json::Value;

pub use self::{
    controller::{hold, run, served},
    paths::JsonPath,
    rules::Rules,
};
use crate::resources::{Resource, Subresource};

/// What a definition says of one version of its resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custom {
    /// The definition's name.
    pub definition: String,
    /// The kind of lists.
    pub list_kind: String,
    /// The schema of its objects.
    pub schema: Option<Arc<Value>>,
    /// The same, as objects are held against it.
    pub compiled: Compiled,
    /// The rules that they have to meet besides.
    pub rules: CompiledRules,
    /// Whether `status` is a side of its own.
    pub has_status: bool,
    /// Where the numbers of `scale` lie.
    pub scale: Option<Scale>,
    /// The columns of tables, besides the name.
    pub columns: Vec<Column>,
    /// The fields that field selectors know, as written, and where they lie.
    pub selectable: Vec<(String, JsonPath)>,
    /// The version in which objects are stored.
    pub storage_version: String,
    /// What a client of a deprecated version is warned of.
    pub deprecation: Option<String>,
    /// Whether the definition is going away.
    pub is_terminating: bool,
}

/// A schema made of a definition's.
#[derive(Debug, Clone)]
pub struct Compiled(pub Arc<Schema>);

/// It follows from the definition, which is compared instead.
impl PartialEq for Compiled {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Compiled {}

/// The rules of a definition's schema, if it has any.
#[derive(Debug, Clone)]
pub struct CompiledRules(pub Option<Arc<Rules>>);

/// They follow from the definition, which is compared instead.
impl PartialEq for CompiledRules {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for CompiledRules {}

/// Where the numbers of `scale` lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// How many are wanted.
    pub spec: JsonPath,
    /// How many there are.
    pub status: JsonPath,
    /// What selects them, as text.
    pub selector: Option<JsonPath>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its definition as tables carry it.
    pub definition: Value,
    /// Its type.
    pub kind: String,
    /// Where its value lies.
    pub path: JsonPath,
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn strings(value: &Value, pointer: &str) -> Vec<String> {
    let list = value.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn verbs(verbs: &[&str]) -> Vec<String> {
    verbs.iter().map(|verb| (*verb).to_owned()).collect()
}

/// The resources, one a served version, that an accepted definition brings; the most stable version first.
pub fn resources(definition: &Value) -> Vec<Resource> {
    let group = text(definition, "/spec/group");
    let names = &definition["status"]["acceptedNames"];
    let kind = text(names, "/kind");
    let list_kind = match text(names, "/listKind") {
        "" => format!("{kind}List"),
        given => given.to_owned(),
    };
    let all: Vec<&Value> =
        definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten().collect();
    let storage = all.iter().find(|version| version["storage"] == true).map_or("", |version| text(version, "/name"));
    let mut served: Vec<&Value> = all.iter().copied().filter(|version| version["served"] == true).collect();
    served.sort_by(|one, other| compare_versions(text(one, "/name"), text(other, "/name")));
    let make = |version: &Value| {
        let name = text(version, "/name");
        let sub = |part: &str| version.pointer(&format!("/subresources/{part}")).filter(|part| part.is_object());
        let path = |value: &Value, pointer: &str| JsonPath::parse(text(value, pointer)).unwrap_or_default();
        let scale = sub("scale").map(|scale| Scale {
            spec: path(scale, "/specReplicasPath"),
            status: path(scale, "/statusReplicasPath"),
            selector: Some(text(scale, "/labelSelectorPath")).filter(|text| !text.is_empty()).and_then(JsonPath::parse),
        });
        let mut subresources = Vec::new();
        let mut add = |name: &str, group: &str, version: &str, kind: &str| {
            subresources.push(Subresource {
                name: name.to_owned(),
                group: group.to_owned(),
                version: version.to_owned(),
                kind: kind.to_owned(),
                verbs: verbs(&["get", "patch", "update"]),
            });
        };
        if sub("status").is_some() {
            add("status", group, name, kind);
        }
        if scale.is_some() {
            add("scale", "autoscaling", "v1", "Scale");
        }
        let deprecation = (version["deprecated"] == true).then(|| match text(version, "/deprecationWarning") {
            "" => format!("{group}/{name} {kind} is deprecated"),
            given => given.to_owned(),
        });
        let selectable = version["selectableFields"].as_array().into_iter().flatten().filter_map(|field| {
            let path = text(field, "/jsonPath");
            Some((path.trim_start_matches('.').to_owned(), JsonPath::parse(path)?))
        });
        let schema = version.pointer("/schema/openAPIV3Schema").cloned().map(Arc::new);
        let keeps_unknown = definition["spec"]["preserveUnknownFields"] == true;
        let any = Arc::new(serde_json::json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
        let compiled = schema::custom::compile(schema.as_ref().unwrap_or(&any), keeps_unknown);
        let rules = schema.as_deref().and_then(Rules::of_schema).map(Arc::new);
        let custom = Custom {
            rules: CompiledRules(rules),
            definition: text(definition, "/metadata/name").to_owned(),
            list_kind: list_kind.clone(),
            schema,
            compiled: Compiled(Arc::new(compiled)),
            has_status: sub("status").is_some(),
            scale,
            columns: table::columns(version),
            selectable: selectable.collect(),
            storage_version: storage.to_owned(),
            deprecation,
            is_terminating: !text(definition, "/metadata/deletionTimestamp").is_empty(),
        };
        Resource {
            group: group.to_owned(),
            version: name.to_owned(),
            name: text(names, "/plural").to_owned(),
            singular: text(names, "/singular").to_owned(),
            kind: kind.to_owned(),
            namespaced: text(definition, "/spec/scope") == "Namespaced",
            verbs: verbs(&["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]),
            short_names: strings(names, "/shortNames"),
            categories: strings(names, "/categories"),
            subresources,
            custom: Some(Arc::new(custom)),
        }
    };
    served.into_iter().map(make).collect()
}

/// The order of versions in discovery: stable before beta before alpha, higher numbers first, then everything else by name.
pub fn compare_versions(one: &str, other: &str) -> std::cmp::Ordering {
    /// Stability, major and minor number of `v1`, `v2beta3`.
    fn rank(version: &str) -> Option<(u8, u64, u64)> {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        let (major, rest) = (rest[..digits].parse().ok()?, &rest[digits..]);
        let (stability, minor) = match rest {
            "" => return Some((2, major, 0)),
            _ if rest.starts_with("beta") => (1, &rest[4..]),
            _ => (0, rest.strip_prefix("alpha")?),
        };
        Some((stability, major, minor.parse().ok()?))
    }
    match (rank(one), rank(other)) {
        (Some(one), Some(other)) => other.cmp(&one),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => one.cmp(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_are_in_the_order_of_their_stability() {
        let mut versions = ["foo1", "v1", "v10", "v2beta1", "v1beta2", "v1alpha1", "v2", "bar"];
        versions.sort_by(|one, other| compare_versions(one, other));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "bar", "foo1"]);
    }

    #[test]
    fn a_definition_brings_a_resource_for_each_served_version() {
        let names = json!({"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList", "shortNames": ["wd"]});
        let definition = json!({
            "metadata": {"name": "widgets.example.test"},
            "spec": {"group": "example.test", "scope": "Namespaced", "names": names, "versions": [
                {"name": "v1beta1", "served": true, "storage": false, "deprecated": true},
                {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}}},
                {"name": "v2", "served": false, "storage": false}]},
            "status": {"acceptedNames": names},
        });
        let resources = resources(&definition);
        let versions: Vec<&str> = resources.iter().map(|resource| resource.version.as_str()).collect();
        assert_eq!(versions, ["v1", "v1beta1"]);
        let subresources: Vec<&str> = resources[0].subresources.iter().map(|sub| sub.name.as_str()).collect();
        assert_eq!(subresources, ["status", "scale"]);
        let old = resources[1].custom.as_ref().unwrap();
        assert_eq!(old.deprecation.as_deref(), Some("example.test/v1beta1 Widget is deprecated"));
        assert_eq!(old.storage_version, "v1");
    }
}
