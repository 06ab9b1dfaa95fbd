//! What a request must satisfy after it is authorized.
//!
//! One file a plug-in, named as kube-apiserver names it; [`Chain`] runs them in its order. Mutating plug-ins change the
//! object, validating ones only look; both see the cluster through [`ObjectReader`].

#![allow(clippy::result_large_err, reason = "a refusal is rare, and its status is what callers hand on")]

mod certificates;
mod ingress_class;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod pod_defaults;
mod pod_security;
mod pod_topology_labels;
mod priority;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage;

use std::sync::Arc;

use apimachinery::status::{GroupResource, Status};
use auth::{Attributes, ObjectReader, UserInfo};
use component_base::SharedEntropy;
use serde_json::Value;

pub use resource_quota::Charge;

/// Whether somebody may do something: what some plug-ins ask beyond the request itself.
pub trait Authorizer: Send + Sync {
    /// Whether it is allowed.
    fn allows(&self, attributes: &Attributes) -> bool;
}

/// What is done to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
    /// A connection to it is opened (exec, port-forward, proxy).
    Connect,
}

/// A request as plug-ins see it.
#[derive(Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// What is done.
    pub operation: Operation,
    /// The resource's group.
    pub group: &'a str,
    /// The resource's version.
    pub version: &'a str,
    /// The resource.
    pub resource: &'a str,
    /// A part of it; empty for the whole.
    pub subresource: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Where; empty for the whole cluster.
    pub namespace: &'a str,
    /// Which; empty while a name is yet to be made.
    pub name: &'a str,
    /// The object as it shall be; none for deletions.
    pub object: Option<&'a mut Value>,
    /// The object as it is; none for creations.
    pub old: Option<&'a Value>,
    /// Whether nothing shall be kept.
    pub dry_run: bool,
    /// The options of the operation.
    pub options: &'a Value,
}

impl Request<'_> {
    /// Whether this creates a whole object of a core resource.
    fn creates(&self, resource: &str) -> bool {
        self.operation == Operation::Create
            && self.group.is_empty()
            && self.resource == resource
            && self.subresource.is_empty()
    }

    /// 403 because of `why`.
    fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(&GroupResource::new(self.group, self.resource), self.name, why)
    }
}

/// The plug-ins that are on, in their order.
pub struct Chain {
    reader: Arc<dyn ObjectReader>,
    entropy: SharedEntropy,
    authorizer: Arc<dyn Authorizer>,
}

impl Chain {
    /// All plug-ins, over the objects that `reader` sees.
    pub fn new(reader: Arc<dyn ObjectReader>, entropy: SharedEntropy, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { reader, entropy, authorizer }
    }

    /// Lets mutating plug-ins change the object; what they warn of.
    ///
    /// # Errors
    /// When one refuses.
    pub fn admit(&self, request: &mut Request<'_>) -> Result<Vec<String>, Status> {
        namespace_lifecycle::admit(request, &*self.reader)?;
        limit_ranger::admit(request, &*self.reader);
        service_account::admit(request, &*self.reader, &self.entropy)?;
        priority::admit(request, &*self.reader)?;
        pod_defaults::admit(request);
        pod_topology_labels::admit(request, &*self.reader);
        storage::admit(request, &*self.reader);
        runtime_class::admit(request, &*self.reader)?;
        ingress_class::admit(request, &*self.reader);
        Ok(Vec::new())
    }

    /// Asks validating plug-ins; what they warn of.
    ///
    /// # Errors
    /// When one refuses.
    pub fn validate(&self, request: &Request<'_>) -> Result<Vec<String>, Status> {
        namespace_lifecycle::validate(request)?;
        limit_ranger::validate(request, &*self.reader)?;
        node_restriction::validate(request, &*self.reader)?;
        let warnings = pod_security::validate(request, &*self.reader)?;
        storage::validate(request, &*self.reader)?;
        runtime_class::validate(request, &*self.reader)?;
        certificates::validate(request, &*self.authorizer)?;
        Ok(warnings)
    }

    /// What the request adds to quotas. Asked last, and again whenever the write is tried anew: the charges are to be written
    /// in the same transaction.
    ///
    /// # Errors
    /// When a quota has not enough left.
    pub fn charges(&self, request: &Request<'_>) -> Result<Vec<Charge>, Status> {
        resource_quota::charges(request, &*self.reader)
    }
}

/// A text in an object; empty when it is not there.
fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
