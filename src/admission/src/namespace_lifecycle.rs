//! `NamespaceLifecycle`: nothing is made in a namespace that is not there or goes away, and some namespaces stay.

use apimachinery::status::{GroupResource, Status, StatusCause};
use auth::ObjectReader;

use crate::{Operation, Request, text};

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Refuses what would outlive its namespace.
pub fn admit(request: &Request<'_>, reader: &dyn ObjectReader) -> Result<(), Status> {
    let is_namespace = request.group.is_empty() && request.resource == "namespaces";
    if is_namespace || request.namespace.is_empty() || request.operation != Operation::Create {
        return Ok(());
    }
    // Reviews are asked, not kept.
    if request.group == "authorization.k8s.io" {
        return Ok(());
    }
    let Some(namespace) = reader.get("", "namespaces", "", request.namespace) else {
        return Err(Status::not_found(&GroupResource::new("", "namespaces"), request.namespace));
    };
    if text(&namespace, "/metadata/deletionTimestamp").is_empty() {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {} because it is being terminated", request.namespace);
    let mut status = request.forbidden(&why);
    if let Some(details) = &mut status.details {
        details.causes = vec![StatusCause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {} is being terminated", request.namespace),
            field: "metadata.namespace".to_owned(),
        }];
    }
    Err(status)
}

/// Refuses to delete a namespace that has to stay.
pub fn validate(request: &Request<'_>) -> Result<(), Status> {
    let deletes =
        request.operation == Operation::Delete && request.group.is_empty() && request.resource == "namespaces";
    if deletes && IMMORTAL.contains(&request.name) {
        return Err(request.forbidden("this namespace may not be deleted"));
    }
    Ok(())
}
