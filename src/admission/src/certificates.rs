//! `CertificateApproval`, `CertificateSigning` and `CertificateSubjectRestriction`: who may approve and sign what, and which
//! certificates are never asked for.

use apimachinery::status::Status;
use auth::Attributes;
use serde_json::Value;

use crate::{Authorizer, Operation, Request, text};

/// Refuses who may not.
pub fn validate(request: &Request<'_>, authorizer: &dyn Authorizer) -> Result<(), Status> {
    if (request.group, request.resource) != ("certificates.k8s.io", "certificatesigningrequests") {
        return Ok(());
    }
    let Some(object) = request.object.as_deref() else { return Ok(()) };
    // What is decided is who signs what is there, not what the request says.
    let signer = text(request.old.unwrap_or(object), "/spec/signerName");
    match (request.operation, request.subresource) {
        (Operation::Update, "approval") => may(request, authorizer, "approve", signer),
        (Operation::Update, "status") => {
            let part = |pointer: &str| {
                (
                    object.pointer(pointer).filter(|value| !value.is_null()),
                    request.old.and_then(|old| old.pointer(pointer)),
                )
            };
            let failed = |object: Option<&Value>| -> usize {
                let conditions =
                    object.and_then(|object| object.pointer("/status/conditions")).and_then(Value::as_array);
                conditions.into_iter().flatten().filter(|condition| condition["type"] == "Failed").count()
            };
            let (new, old) = part("/status/certificate");
            if new == old.filter(|value| !value.is_null()) && failed(Some(object)) == failed(request.old) {
                return Ok(());
            }
            may(request, authorizer, "sign", signer)
        }
        (Operation::Create, "") if signer == "kubernetes.io/kube-apiserver-client" => {
            let groups = text(object, "/spec/request");
            if auth::pki::request_organizations(groups).iter().any(|group| group == "system:masters") {
                let why = "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed";
                return Err(request.forbidden(why));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn may(request: &Request<'_>, authorizer: &dyn Authorizer, verb: &str, signer: &str) -> Result<(), Status> {
    let domain = signer.split('/').next().unwrap_or_default();
    let asked = |name: String| Attributes {
        user: request.user.clone(),
        verb: verb.to_owned(),
        api_group: "certificates.k8s.io".to_owned(),
        api_version: "*".to_owned(),
        resource: "signers".to_owned(),
        name,
        resource_request: true,
        ..Attributes::default()
    };
    if authorizer.allows(&asked(signer.to_owned())) || authorizer.allows(&asked(format!("{domain}/*"))) {
        return Ok(());
    }
    Err(request.forbidden(&format!("user not permitted to {verb} requests with signerName {signer:?}")))
}
