//! `DefaultIngressClass`: an Ingress that names no class gets the default one.

use auth::ObjectReader;

use crate::{Operation, Request, storage::default_of};

/// Gives a new Ingress its class.
pub fn admit(request: &mut Request<'_>, reader: &dyn ObjectReader) {
    let creates = request.operation == Operation::Create && request.subresource.is_empty();
    if !creates || (request.group, request.resource) != ("networking.k8s.io", "ingresses") {
        return;
    }
    let Some(ingress) = request.object.as_deref_mut() else { return };
    let named = !ingress["spec"]["ingressClassName"].is_null()
        || !ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"].is_null();
    if named || !ingress["spec"].is_object() {
        return;
    }
    let classes = reader.list("networking.k8s.io", "ingressclasses", None);
    if let Some(class) = default_of(classes, &["ingressclass.kubernetes.io/is-default-class"]) {
        ingress["spec"]["ingressClassName"] = class["metadata"]["name"].clone();
    }
}
