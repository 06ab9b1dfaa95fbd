//! IPAddresses: which address belongs to what.

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks,
    golang::{Shape, Struct},
    ip,
    json::{field, text},
    kind::Kind,
};

static PARENT: Struct = Struct(&[
    ("Group", "group", Shape::Text),
    ("Resource", "resource", Shape::Text),
    ("Namespace", "namespace", Shape::Text),
    ("Name", "name", Shape::Text),
]);

pub(crate) struct IpAddress;

impl Kind for IpAddress {
    fn check_name(&self, name: &str) -> Vec<String> {
        let mut errors = ErrorList::new();
        ip::check(&mut errors, &Path::root(), name);
        errors.into_iter().map(|error| error.detail).collect()
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        let (path, parent) = (Path::new("spec").child("parentRef"), field(field(object, "spec"), "parentRef"));
        if parent.is_null() {
            errors.push(FieldError::required(&path, ""));
            return;
        }
        let group = text(parent, "group");
        if !group.is_empty() {
            checks::dns_subdomain(errors, &path.child("group"), group);
        }
        for (name, is_required) in [("resource", true), ("name", true), ("namespace", false)] {
            let (path, value) = (path.child(name), text(parent, name));
            if !value.is_empty() {
                checks::invalid(errors, &path, value, names::is_path_segment_name(value));
            } else if is_required {
                errors.push(FieldError::required(&path, ""));
            }
        }
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate_create(new, errors);
        let of = |object| PARENT.show_pointer(field(field(object, "spec"), "parentRef"));
        let (now, before) = (of(new), of(old));
        if now != before {
            let path = Path::new("spec").child("parentRef");
            errors.push(checks::shown(ErrorKind::Invalid, &path, &now, checks::IMMUTABLE));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn it_is_named_by_its_address_in_canonical_form() {
        let count = |name: &str| {
            let spec = json!({"parentRef": {"resource": "services", "name": "s"}});
            let object = json!({"metadata": {"name": name}, "spec": spec});
            crate::validate_create("networking.k8s.io", "IPAddress", &object).len()
        };
        assert_eq!(count("10.0.0.1"), 0);
        assert_eq!(count("2001:db8::1"), 0);
        assert_eq!(count("2001:DB8::1"), 1);
        assert_eq!(count("x"), 1);
    }
}
