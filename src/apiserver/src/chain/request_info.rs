//! What a request is about, read from its method, path and query alone.

use http::{Method, Uri};

/// The parts of a request that authorization, limits and routing need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether it is about a resource, as opposed to a path such as `/healthz`.
    pub is_resource: bool,
    /// The path as asked.
    pub path: String,
    /// The API verb; for other paths the method in lower case.
    pub verb: String,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace; empty for none.
    pub namespace: String,
    /// Plural name of the resource.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Name of the object; empty for none.
    pub name: String,
    /// What follows the subresource (a proxied path).
    pub rest: Vec<String>,
}

impl RequestInfo {
    /// Reads a request.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let path = uri.path();
        let mut info = Self { path: path.to_owned(), verb: method.as_str().to_ascii_lowercase(), ..Self::default() };
        let decoded: Vec<String> =
            path.split('/').filter(|part| !part.is_empty()).map(crate::query::decode_path).collect();
        let mut parts: &[String] = &decoded;
        match parts.first().map(String::as_str) {
            Some("api") if parts.len() >= 3 => parts = &parts[1..],
            Some("apis") if parts.len() >= 4 => {
                info.group.clone_from(&parts[1]);
                parts = &parts[2..];
            }
            _ => return info,
        }
        info.is_resource = true;
        info.version.clone_from(&parts[0]);
        parts = &parts[1..];
        info.verb = verb_of(method).to_owned();
        if parts[0] == "watch" && parts.len() > 1 {
            info.verb = "watch".into();
            parts = &parts[1..];
        }
        if parts[0] == "namespaces"
            && let Some(namespace) = parts.get(1)
        {
            info.namespace.clone_from(namespace);
            // `finalize` and `status` are subresources of the namespace itself, not resources in it.
            if parts.len() > 2 && !matches!(parts[2].as_str(), "finalize" | "status") {
                parts = &parts[2..];
            }
        }
        info.resource = parts.first().cloned().unwrap_or_default();
        info.name = parts.get(1).cloned().unwrap_or_default();
        info.subresource = parts.get(2).cloned().unwrap_or_default();
        info.rest = parts.get(3..).unwrap_or_default().to_vec();
        if info.name.is_empty() && matches!(info.verb.as_str(), "get" | "delete") {
            info.verb = if info.verb == "delete" { "deletecollection".into() } else { "list".into() };
        }
        if matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
            let query = crate::query::Query::of(uri);
            if info.verb == "list" && query.flag("watch") {
                info.verb = "watch".into();
            }
            if info.name.is_empty()
                && let Some(name) = query.get("fieldSelector").and_then(single_name)
            {
                info.name = name;
            }
        }
        info
    }

    /// Whether the request may take as long as it wants.
    pub fn is_long_running(&self, uri: &Uri) -> bool {
        self.verb == "watch"
            || matches!(self.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy")
            || (self.subresource == "log" && crate::query::Query::of(uri).flag("follow"))
    }

    /// Whether the request only reads.
    pub fn is_read(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list" | "watch" | "head" | "options")
    }
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::GET | Method::HEAD => "get",
        _ => "",
    }
}

/// The name that a field selector of one requirement pins, so that rules by name apply to such lists and watches.
fn single_name(selector: &str) -> Option<String> {
    let value = selector.strip_prefix("metadata.name=")?;
    let value = value.strip_prefix('=').unwrap_or(value);
    (!value.is_empty() && !value.contains([',', '=', '!', '\\'])).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: Method, uri: &str) -> RequestInfo {
        RequestInfo::of(&method, &uri.parse().unwrap())
    }

    #[test]
    fn paths_of_resources_are_taken_apart() {
        let pods = info(Method::GET, "/api/v1/namespaces/a/pods");
        assert_eq!((pods.verb.as_str(), pods.namespace.as_str(), pods.resource.as_str()), ("list", "a", "pods"));
        let log = info(Method::GET, "/api/v1/namespaces/a/pods/x/log?follow=true");
        assert_eq!((log.verb.as_str(), log.name.as_str(), log.subresource.as_str()), ("get", "x", "log"));
        let scale = info(Method::PUT, "/apis/apps/v1/namespaces/a/deployments/d/scale");
        assert_eq!((scale.group.as_str(), scale.version.as_str(), scale.verb.as_str()), ("apps", "v1", "update"));
        let proxy = info(Method::GET, "/api/v1/nodes/n/proxy/a/b");
        assert_eq!(proxy.rest, ["a", "b"]);
    }

    #[test]
    fn a_namespace_is_an_object_and_has_subresources() {
        let namespace = info(Method::GET, "/api/v1/namespaces/a");
        assert_eq!(
            (namespace.resource.as_str(), namespace.name.as_str(), namespace.namespace.as_str()),
            ("namespaces", "a", "a")
        );
        let finalize = info(Method::PUT, "/api/v1/namespaces/a/finalize");
        assert_eq!((finalize.resource.as_str(), finalize.subresource.as_str()), ("namespaces", "finalize"));
        let all = info(Method::GET, "/api/v1/namespaces");
        assert_eq!((all.resource.as_str(), all.verb.as_str(), all.namespace.as_str()), ("namespaces", "list", ""));
    }

    #[test]
    fn a_watch_is_asked_for_in_two_ways_and_a_pinned_name_counts() {
        assert_eq!(info(Method::GET, "/api/v1/pods?watch=1").verb, "watch");
        let old = info(Method::GET, "/api/v1/watch/namespaces/a/pods");
        assert_eq!((old.verb.as_str(), old.namespace.as_str(), old.resource.as_str()), ("watch", "a", "pods"));
        assert_eq!(info(Method::GET, "/api/v1/namespaces/a/pods/x?watch=true").verb, "get");
        assert_eq!(info(Method::GET, "/api/v1/pods?fieldSelector=metadata.name%3Dx").name, "x");
        assert_eq!(info(Method::DELETE, "/api/v1/namespaces/a/pods").verb, "deletecollection");
    }

    #[test]
    fn other_paths_keep_their_method() {
        for path in ["/healthz", "/api", "/apis", "/apis/apps", "/apis/apps/v1", "/api/v1"] {
            let other = info(Method::GET, path);
            assert!(!other.is_resource, "{path}");
            assert_eq!(other.verb, "get");
        }
    }
}
