//! Who asks for a certificate: the one who creates the request, whatever it says of itself.

use auth::UserInfo;
use serde_json::{Value, json};

use crate::resources::Resource;

/// Writes the user into a CertificateSigningRequest that is created.
pub fn stamp(resource: &Resource, object: &mut Value, user: &UserInfo) {
    if (resource.group.as_str(), resource.kind.as_str()) != ("certificates.k8s.io", "CertificateSigningRequest") {
        return;
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
    spec.insert("username".to_owned(), json!(user.name));
    spec.insert("groups".to_owned(), json!(user.groups));
    if !user.uid.is_empty() {
        spec.insert("uid".to_owned(), json!(user.uid));
    }
    if !user.extra.is_empty() {
        spec.insert("extra".to_owned(), json!(user.extra));
    }
}
