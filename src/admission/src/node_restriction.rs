//! `NodeRestriction`: a node changes itself and its own pods, and nothing else.

use apimachinery::status::Status;
use auth::node::node_of;

use crate::{Operation, Request, text};

/// Refuses a node that reaches beyond itself.
pub fn validate(request: &Request<'_>) -> Result<(), Status> {
    let Some(node) = node_of(request.user) else { return Ok(()) };
    let object = request.object.as_deref();
    match (request.group, request.resource) {
        ("", "pods") => {
            let current = request.old.or(object);
            let bound = current.map(|pod| text(pod, "/spec/nodeName")).unwrap_or_default();
            match (request.operation, request.subresource) {
                (Operation::Create, "") => {
                    let mirror = object
                        .is_some_and(|pod| !text(pod, "/metadata/annotations/kubernetes.io~1config.mirror").is_empty());
                    let why = format!(
                        "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
                    );
                    if mirror && bound == node { Ok(()) } else { Err(request.forbidden(&why)) }
                }
                (Operation::Update, "status") | (Operation::Delete, _) if bound != node => {
                    let why =
                        format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself");
                    Err(request.forbidden(&why))
                }
                _ => Ok(()),
            }
        }
        ("", "nodes") if matches!(request.operation, Operation::Create | Operation::Update) && request.name != node => {
            let what = if request.operation == Operation::Create { "create" } else { "modify" };
            Err(request.forbidden(&format!("node {node:?} is not allowed to {what} node {:?}", request.name)))
        }
        ("coordination.k8s.io", "leases") if request.namespace != "kube-node-lease" || request.name != node => {
            Err(request.forbidden("can only access node lease with the same name as the requesting node"))
        }
        _ => Ok(()),
    }
}
