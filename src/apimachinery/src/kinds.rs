//! The table of kinds: every group, version and resource that the API serves, with its verbs, names and subresources.
//!
//! The table is data (`data/discovery.json`), in the order in which discovery shows it. Routes, discovery, storage, OpenAPI and printing
//! are driven by it; a kind that is not in it does not exist.

use std::{collections::HashMap, sync::LazyLock};

use serde::Deserialize;

const DISCOVERY: &str = include_str!("../data/discovery.json");

/// A group, a version of it, and a kind there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct GroupVersionKind {
    /// The group; empty for core.
    pub group: String,
    /// The version.
    pub version: String,
    /// The kind.
    pub kind: String,
}

impl GroupVersionKind {
    /// Names a kind.
    pub fn new(group: impl Into<String>, version: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// `apps/v1`, or `v1`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
}

/// `apps/v1`, or `v1` in the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Group and version of an `apiVersion`; the group of `v1` is empty.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Something below an object: `status`, `scale`, `log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// Its name, without the resource's.
    pub name: String,
    /// Group of its kind; empty (with an empty version) when it is that of the resource.
    pub group: String,
    /// Version of its kind; empty when group and version are those of the resource.
    pub version: String,
    /// Its kind.
    pub kind: String,
    /// What can be done with it, sorted.
    pub verbs: Vec<String>,
    /// Kinds that it takes beside its own.
    pub accepted_types: Vec<GroupVersionKind>,
}

/// One resource of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceInfo {
    /// The group; empty for core.
    pub group: String,
    /// The version.
    pub version: String,
    /// The plural name.
    pub resource: String,
    /// The singular name.
    pub singular: String,
    /// The kind of its objects.
    pub kind: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// What can be done with it, sorted.
    pub verbs: Vec<String>,
    /// Short names, as `po`.
    pub short_names: Vec<String>,
    /// Categories, as `all`.
    pub categories: Vec<String>,
    /// What is below its objects.
    pub subresources: Vec<Subresource>,
}

impl ResourceInfo {
    /// `apps/v1`, or `v1`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// The kind with its group and version.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(&self.group, &self.version, &self.kind)
    }

    /// Whether `verb` can be done with it.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|own| own == verb)
    }

    /// A subresource by name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Group, version and kind of a subresource's objects.
    pub fn subresource_gvk(&self, sub: &Subresource) -> GroupVersionKind {
        if sub.version.is_empty() {
            GroupVersionKind::new(&self.group, &self.version, &sub.kind)
        } else {
            GroupVersionKind::new(&sub.group, &sub.version, &sub.kind)
        }
    }

    /// Whether its objects are kept, rather than answered and forgotten as reviews are.
    pub fn is_stored(&self) -> bool {
        self.has_verb("list") && self.resource != "componentstatuses"
    }

    /// `/api/v1` or `/apis/apps/v1`.
    pub fn base_path(&self) -> String {
        base_path(&self.group, &self.version)
    }
}

/// `/api/v1` or `/apis/apps/v1`.
pub fn base_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// A group with its versions, preferred first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// The group; empty for core.
    pub name: String,
    /// Its versions, preferred first.
    pub versions: Vec<String>,
}

/// All resources of the built-in API.
#[derive(Debug)]
pub struct Registry {
    groups: Vec<GroupInfo>,
    resources: Vec<ResourceInfo>,
    by_resource: HashMap<(String, String, String), usize>,
    by_kind: HashMap<(String, String, String), usize>,
}

impl Registry {
    /// The table, read once.
    pub fn builtin() -> &'static Self {
        static TABLE: LazyLock<Registry> = LazyLock::new(|| {
            let file: File = serde_json::from_str(DISCOVERY)
                .expect("the embedded discovery data has the form that it was written in");
            Registry::from_file(file)
        });
        &TABLE
    }

    fn from_file(file: File) -> Self {
        let mut groups = Vec::new();
        let mut resources = Vec::new();
        for group in file.core.items.into_iter().chain(file.groups.items) {
            let name = group.metadata.name;
            groups.push(GroupInfo {
                name: name.clone(),
                versions: group.versions.iter().map(|version| version.version.clone()).collect(),
            });
            for version in group.versions {
                let info = |entry: ResourceEntry| entry.into_info(&name, &version.version);
                resources.extend(version.resources.into_iter().map(info));
            }
        }
        let mut by_resource = HashMap::new();
        let mut by_kind = HashMap::new();
        for (index, info) in resources.iter().enumerate() {
            let key = |name: &str| (info.group.clone(), info.version.clone(), name.to_owned());
            by_resource.insert(key(&info.resource), index);
            // Bindings and the like share no kind with a stored resource; of two the stored one is meant.
            let slot = by_kind.entry(key(&info.kind)).or_insert(index);
            if info.is_stored() {
                *slot = index;
            }
        }
        Self { groups, resources, by_resource, by_kind }
    }

    /// All groups, core first, in the order of discovery.
    pub fn groups(&self) -> &[GroupInfo] {
        &self.groups
    }

    /// All resources, in the order of discovery.
    pub fn resources(&self) -> &[ResourceInfo] {
        &self.resources
    }

    /// The resources of one version.
    pub fn of_version<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a ResourceInfo> {
        self.resources.iter().filter(move |info| info.group == group && info.version == version)
    }

    /// A resource by its plural name.
    pub fn resource(&self, group: &str, version: &str, resource: &str) -> Option<&ResourceInfo> {
        let index = self.by_resource.get(&(group.to_owned(), version.to_owned(), resource.to_owned()))?;
        self.resources.get(*index)
    }

    /// A resource by its kind.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&ResourceInfo> {
        let index = self.by_kind.get(&(group.to_owned(), version.to_owned(), kind.to_owned()))?;
        self.resources.get(*index)
    }

    /// The resource in the preferred version that has it.
    pub fn preferred(&self, group: &str, resource: &str) -> Option<&ResourceInfo> {
        let group = self.groups.iter().find(|info| info.name == group)?;
        group.versions.iter().find_map(|version| self.resource(&group.name, version, resource))
    }

    /// The resource of a kind in the preferred version that has it.
    pub fn preferred_kind(&self, group: &str, kind: &str) -> Option<&ResourceInfo> {
        let group = self.groups.iter().find(|info| info.name == group)?;
        group.versions.iter().find_map(|version| self.kind(&group.name, version, kind))
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "/api")]
    core: List,
    #[serde(rename = "/apis")]
    groups: List,
}

#[derive(Deserialize)]
struct List {
    items: Vec<GroupEntry>,
}

#[derive(Deserialize)]
struct GroupEntry {
    #[serde(default)]
    metadata: GroupMeta,
    versions: Vec<VersionEntry>,
}

#[derive(Deserialize, Default)]
struct GroupMeta {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct VersionEntry {
    version: String,
    #[serde(default)]
    resources: Vec<ResourceEntry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct KindEntry {
    group: String,
    version: String,
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceEntry {
    resource: String,
    response_kind: KindEntry,
    scope: String,
    singular_resource: String,
    verbs: Vec<String>,
    #[serde(default)]
    short_names: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    subresources: Vec<SubresourceEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubresourceEntry {
    subresource: String,
    #[serde(default)]
    response_kind: KindEntry,
    #[serde(default)]
    accepted_types: Vec<KindEntry>,
    verbs: Vec<String>,
}

impl ResourceEntry {
    fn into_info(self, group: &str, version: &str) -> ResourceInfo {
        ResourceInfo {
            group: group.to_owned(),
            version: version.to_owned(),
            resource: self.resource,
            singular: self.singular_resource,
            kind: self.response_kind.kind,
            namespaced: self.scope == "Namespaced",
            verbs: self.verbs,
            short_names: self.short_names,
            categories: self.categories,
            subresources: self.subresources.into_iter().map(SubresourceEntry::into_info).collect(),
        }
    }
}

impl SubresourceEntry {
    fn into_info(self) -> Subresource {
        let types = self.accepted_types.into_iter();
        Subresource {
            name: self.subresource,
            group: self.response_kind.group,
            version: self.response_kind.version,
            kind: self.response_kind.kind,
            verbs: self.verbs,
            accepted_types: types.map(|entry| GroupVersionKind::new(entry.group, entry.version, entry.kind)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_kinds_are_there() {
        let table = Registry::builtin();
        let pods = table.resource("", "v1", "pods").expect("pods");
        assert!(pods.namespaced && pods.has_verb("watch") && pods.short_names == ["po"]);
        assert_eq!(pods.subresource("status").expect("a status").kind, "Pod");
        let deployments = table.kind("apps", "v1", "Deployment").expect("deployments");
        let scale = deployments.subresource("scale").expect("a scale");
        assert_eq!(deployments.subresource_gvk(scale), GroupVersionKind::new("autoscaling", "v1", "Scale"));
        assert_eq!(table.preferred("autoscaling", "horizontalpodautoscalers").expect("autoscalers").version, "v2");
        assert!(table.resource("apps", "v1", "pods").is_none());
    }

    #[test]
    fn reviews_and_bindings_are_not_stored() {
        let table = Registry::builtin();
        assert!(!table.resource("", "v1", "bindings").expect("bindings").is_stored());
        assert!(!table.resource("authorization.k8s.io", "v1", "subjectaccessreviews").expect("reviews").is_stored());
        assert!(table.resource("", "v1", "events").expect("events").is_stored());
    }

    #[test]
    fn names_of_versions_split_and_join() {
        assert_eq!(split_api_version("v1"), ("", "v1"));
        assert_eq!(split_api_version("apps/v1"), ("apps", "v1"));
        assert_eq!(api_version("", "v1"), "v1");
        assert_eq!(base_path("apps", "v1"), "/apis/apps/v1");
    }
}
