//! Who is asking, and may they: the cluster's authority, authentication, RBAC and Node authorization.

pub mod authn;
pub mod bootstrap;
pub mod node;
pub mod pki;
pub mod rbac;
pub mod tokens;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

pub use self::{
    authn::{AuthError, Authenticator},
    node::NodeAuthorizer,
    pki::{ClusterCa, PkiError},
    rbac::RbacAuthorizer,
    tokens::TokenSigner,
};

/// Who asks (`user.Info` in Kubernetes).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// The name by which roles are bound.
    pub name: String,
    /// An identifier that is not given twice; empty where there is none.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// What else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What is asked for (`authorizer.Attributes` in Kubernetes).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Who asks.
    pub user: UserInfo,
    /// What to do.
    pub verb: String,
    /// The resource's group.
    pub api_group: String,
    /// The resource's version.
    pub api_version: String,
    /// The resource.
    pub resource: String,
    /// A part of it.
    pub subresource: String,
    /// One object of it.
    pub name: String,
    /// Where; empty for the whole cluster.
    pub namespace: String,
    /// The path, when it is no resource.
    pub path: String,
    /// Whether it is a resource.
    pub resource_request: bool,
}

/// What an authorizer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes, because.
    Allow(String),
    /// No, whatever others say.
    Deny(String),
    /// Others may know.
    NoOpinion(String),
}

/// The objects of the cluster as they are now.
pub trait ObjectReader: Send + Sync {
    /// One object; the namespace is empty for those of the whole cluster.
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// All objects of a resource, of one namespace or of all.
    fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>>;
    /// The pods of a namespace that are bound to a node.
    fn pods_of(&self, node: &str, namespace: &str) -> Vec<Arc<Value>> {
        let mut pods = self.list("", "pods", Some(namespace));
        pods.retain(|pod| text(pod, "/spec/nodeName") == node);
        pods
    }
}

/// A text in an object; empty when it is not there.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
