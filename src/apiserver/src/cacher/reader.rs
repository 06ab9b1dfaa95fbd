//! The watch cache as authorization and admission see it.

use std::sync::Arc;

use auth::ObjectReader;
use serde_json::Value;

use super::{Cacher, Scope};

/// Reads decoded objects from the watch cache.
#[derive(Debug, Clone)]
pub struct CacheReader(Arc<Cacher>);

impl CacheReader {
    /// A reader of `cacher`.
    pub fn new(cacher: Arc<Cacher>) -> Self {
        Self(cacher)
    }
}

impl ObjectReader for CacheReader {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = crate::keys::object(namespace, name);
        self.0.resource(group, resource)?.get(&key).map(|entry| entry.object())
    }

    fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let Some(cache) = self.0.resource(group, resource) else { return Vec::new() };
        let scope = namespace.map_or(Scope::All, |namespace| Scope::Namespace(namespace.to_owned()));
        cache.list(&scope, None, |_| true).0.iter().map(|entry| entry.object()).collect()
    }

    /// Only these are decoded: a node asks often, and the pods of others are many.
    fn pods_of(&self, node: &str, namespace: &str) -> Vec<Arc<Value>> {
        let Some(cache) = self.0.resource("", "pods") else { return Vec::new() };
        let scope = Scope::Namespace(namespace.to_owned());
        let bound = cache.list(&scope, None, |entry| entry.field("spec.nodeName") == node).0;
        bound.iter().map(|entry| entry.object()).collect()
    }
}
