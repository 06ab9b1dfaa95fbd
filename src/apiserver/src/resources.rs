//! The resources that are served, found by their path.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use apimachinery::kinds;
use bytes::Bytes;

use crate::{
    cacher::{Cacher, ResourceCache, Scope},
    chain::RequestInfo,
    custom::Custom,
    discovery,
    registry::strategy,
};

/// What lies below a resource's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// Its name.
    pub name: String,
    /// The group of its kind.
    pub group: String,
    /// The version of its kind.
    pub version: String,
    /// Its kind.
    pub kind: String,
    /// What can be done with it.
    pub verbs: Vec<String>,
}

/// One resource of one version of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural name.
    pub name: String,
    /// Singular name.
    pub singular: String,
    /// Kind.
    pub kind: String,
    /// Whether its objects lie in namespaces.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<String>,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories.
    pub categories: Vec<String>,
    /// What lies below its objects.
    pub subresources: Vec<Subresource>,
    /// What its definition says, of a resource that is not built in.
    pub custom: Option<Arc<Custom>>,
}

impl Resource {
    /// `group/version` as objects write it.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The kind of its lists.
    pub fn list_kind(&self) -> String {
        match &self.custom {
            Some(custom) => custom.list_kind.clone(),
            None => format!("{}List", self.kind),
        }
    }

    /// Whether `verb` can be done with it.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|has| has == verb)
    }

    /// Whether its objects are stored, as opposed to answered and forgotten.
    pub fn is_stored(&self) -> bool {
        self.has_verb("list") && !(self.group.is_empty() && self.name == "componentstatuses")
    }

    /// The namespace that a request for it means; empty for a cluster-scoped one.
    pub fn namespace_of<'a>(&self, info: &'a RequestInfo) -> &'a str {
        if self.namespaced { &info.namespace } else { "" }
    }

    /// Which of its objects a list or a watch means.
    pub fn scope_of(&self, info: &RequestInfo) -> Scope {
        match self.namespace_of(info) {
            "" => Scope::All,
            namespace => Scope::Namespace(namespace.to_owned()),
        }
    }

    /// Its part of the watch cache.
    ///
    /// # Panics
    /// When the resource is not stored, which whoever calls this knows.
    pub fn cache(&self, cacher: &Cacher) -> Arc<ResourceCache> {
        let (group, name) = strategy::storage_of(&self.group, &self.name);
        let cache = cacher.resource(group, name);
        cache.expect(
            "the cache has every built-in resource from its start, and a custom one before it is served, for good",
        )
    }
}

/// All resources that are served.
#[derive(Debug, Clone, Default)]
pub struct Table {
    groups: Vec<(String, Vec<String>)>,
    resources: HashMap<(String, String), Vec<Arc<Resource>>>,
    /// Aggregated discovery of the core group and of all others, with their tags: made once, asked for often.
    aggregated: [OnceLock<(Bytes, String)>; 2],
}

impl Table {
    /// The resources that are built in.
    pub fn builtin() -> Self {
        let mut table = Self::default();
        for info in kinds::Registry::builtin().resources() {
            match table.groups.iter_mut().find(|(group, _)| *group == info.group) {
                Some((_, versions)) if !versions.contains(&info.version) => versions.push(info.version.clone()),
                Some(_) => {}
                None => table.groups.push((info.group.clone(), vec![info.version.clone()])),
            }
            let resource = Arc::new(Resource {
                group: info.group.clone(),
                version: info.version.clone(),
                name: info.resource.clone(),
                singular: info.singular.clone(),
                kind: info.kind.clone(),
                namespaced: info.namespaced,
                verbs: info.verbs.clone(),
                short_names: info.short_names.clone(),
                categories: info.categories.clone(),
                subresources: info
                    .subresources
                    .iter()
                    .map(|sub| {
                        let kind = info.subresource_gvk(sub);
                        Subresource {
                            name: sub.name.clone(),
                            group: kind.group,
                            version: kind.version,
                            kind: kind.kind,
                            verbs: sub.verbs.clone(),
                        }
                    })
                    .collect(),
                custom: None,
            });
            table.resources.entry((info.group.clone(), info.version.clone())).or_default().push(resource);
        }
        table
    }

    /// The same with `custom` resources after the built-in ones, groups and versions in the order in which they come.
    pub fn with(custom: Vec<Resource>) -> Self {
        let mut table = Self::builtin();
        for resource in custom {
            match table.groups.iter_mut().find(|(group, _)| *group == resource.group) {
                Some((_, versions)) if versions.contains(&resource.version) => {}
                Some((_, versions)) => versions.push(resource.version.clone()),
                None => table.groups.push((resource.group.clone(), vec![resource.version.clone()])),
            }
            let key = (resource.group.clone(), resource.version.clone());
            table.resources.entry(key).or_default().push(Arc::new(resource));
        }
        table
    }

    /// Aggregated discovery of the core group, or of all others, encoded, and its tag.
    pub fn aggregated(&self, core: bool) -> &(Bytes, String) {
        self.aggregated[usize::from(core)].get_or_init(|| {
            let body = discovery::aggregated(self, core).to_string();
            let tag = format!("\"{}\"", hex::encode_upper(<sha2::Sha512 as sha2::Digest>::digest(&body)));
            (Bytes::from(body), tag)
        })
    }

    /// The resources that are not built in.
    pub fn custom(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let versions =
            self.groups.iter().flat_map(|(group, versions)| versions.iter().map(move |version| (group, version)));
        versions
            .flat_map(|(group, version)| self.resources(group, version))
            .filter(|resource| resource.custom.is_some())
    }

    /// The groups, in the order of discovery; the core group is the empty name.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|(group, _)| group.as_str())
    }

    /// The versions of a group, the preferred one first; none for a group that is not served.
    pub fn versions(&self, group: &str) -> &[String] {
        self.groups.iter().find(|(name, _)| name == group).map_or(&[], |(_, versions)| versions)
    }

    /// The resources of a version of a group.
    pub fn resources(&self, group: &str, version: &str) -> &[Arc<Resource>] {
        self.resources.get(&(group.to_owned(), version.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// A resource.
    pub fn find(&self, group: &str, version: &str, name: &str) -> Option<&Arc<Resource>> {
        self.resources(group, version).iter().find(|resource| resource.name == name)
    }

    /// Whether any version of a group, of a kind, is served; for messages about kinds that are not.
    pub fn has_kind(&self, group: &str, version: &str, kind: &str) -> bool {
        self.resources(group, version).iter().any(|resource| {
            resource.kind == kind
                || resource.list_kind() == kind
                || resource
                    .subresources
                    .iter()
                    .any(|sub| sub.kind == kind && sub.group == group && sub.version == version)
        })
    }

    /// Group and plural name under which the objects of each stored resource lie.
    pub fn stored(&self) -> Vec<(String, String)> {
        let mut stored: Vec<(String, String)> = self
            .resources
            .values()
            .flatten()
            .filter(|resource| resource.is_stored())
            .map(|resource| {
                let (group, name) = strategy::storage_of(&resource.group, &resource.name);
                (group.to_owned(), name.to_owned())
            })
            .collect();
        stored.sort();
        stored.dedup();
        stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_is_found_and_stored_once() {
        let table = Table::builtin();
        assert_eq!(table.find("apps", "v1", "deployments").unwrap().kind, "Deployment");
        assert_eq!(table.versions("autoscaling"), ["v2", "v1"]);
        assert!(table.versions("nope").is_empty());
        let stored = table.stored();
        assert!(stored.contains(&(String::new(), "events".into())));
        assert!(!stored.contains(&("events.k8s.io".into(), "events".into())), "events are stored once");
        assert!(
            !stored.iter().any(|(_, name)| name == "tokenreviews" || name == "bindings" || name == "componentstatuses")
        );
    }
}
