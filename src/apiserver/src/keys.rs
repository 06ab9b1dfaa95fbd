//! Where an object lies in the store: `/registry/{group or "core"}/{resource}/{namespace}/{name}`.

use bytes::Bytes;

/// What every object's key begins with.
pub const ROOT: &str = "/registry/";

/// The name of the core group in a key.
const CORE: &str = "core";

/// `namespace/name`, or `name` of a cluster-scoped object: the end of its key, and its order in lists.
pub fn object(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// What the keys of a resource's objects begin with.
pub fn prefix(group: &str, resource: &str) -> String {
    format!("{ROOT}{}/{resource}/", if group.is_empty() { CORE } else { group })
}

/// The key of an object.
pub fn full(group: &str, resource: &str, namespace: &str, name: &str) -> Bytes {
    Bytes::from(prefix(group, resource) + &object(namespace, name))
}

/// Group, resource and the object's own part of a key; `None` for what is no object.
pub fn split(key: &[u8]) -> Option<(&str, &str, &str)> {
    let mut parts = std::str::from_utf8(key).ok()?.strip_prefix(ROOT)?.splitn(3, '/');
    let (group, resource, object) = (parts.next()?, parts.next()?, parts.next()?);
    Some((if group == CORE { "" } else { group }, resource, object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_apart_as_it_was_put_together() {
        assert_eq!(split(&full("", "pods", "default", "x")), Some(("", "pods", "default/x")));
        assert_eq!(split(&full("apps", "deployments", "a", "b")), Some(("apps", "deployments", "a/b")));
        assert_eq!(split(&full("", "nodes", "", "n")), Some(("", "nodes", "n")));
        assert_eq!(split(b"/other"), None);
    }
}
