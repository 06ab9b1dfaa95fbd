//! How a pod resolves names, and names of its own that it adds.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use crate::{
    checks, ip,
    json::{has, list, text},
};

/// Name servers at most.
const SERVERS_MAX: usize = 3;
/// Search domains at most.
const SEARCHES_MAX: usize = 32;
/// Characters of all search domains together.
const SEARCH_CHARACTERS_MAX: usize = 2048;

/// The policy.
pub(crate) fn check_policy(errors: &mut ErrorList, path: &Path, policy: &str) {
    let supported = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    checks::required_one_of(errors, path, policy, supported);
}

/// The configuration; `path` is its own.
pub(crate) fn check_config(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let config = crate::json::field(spec, "dnsConfig");
    let servers = list(config, "nameservers");
    if text(spec, "dnsPolicy") == "None" {
        if !has(spec, "dnsConfig") {
            errors.push(FieldError::required(path, "must provide `dnsConfig` when `dnsPolicy` is None"));
            return;
        }
        if servers.is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(FieldError::required(&path.child("nameservers"), why));
            return;
        }
    }
    if servers.len() > SERVERS_MAX {
        let why = format!("must not have more than {SERVERS_MAX} nameservers");
        errors.push(FieldError::invalid(&path.child("nameservers"), servers.to_vec(), why));
    }
    for (index, server) in servers.iter().enumerate() {
        ip::check_legacy(errors, &path.child("nameservers").index(index), server.as_str().unwrap_or_default(), &[]);
    }
    let searches = list(config, "searches");
    let searches_path = path.child("searches");
    if searches.len() > SEARCHES_MAX {
        let why = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.push(FieldError::invalid(&searches_path, searches.to_vec(), why));
    }
    let length: usize = searches.iter().filter_map(Value::as_str).map(|search| search.len() + 1).sum();
    if length.saturating_sub(1) > SEARCH_CHARACTERS_MAX {
        let why =
            format!("must not have more than {SEARCH_CHARACTERS_MAX} characters (including spaces) in the search list");
        errors.push(FieldError::invalid(&searches_path, searches.to_vec(), why));
    }
    for (index, search) in searches.iter().enumerate() {
        let search = search.as_str().unwrap_or_default();
        let name = search.strip_suffix('.').unwrap_or(search);
        if search != "." {
            let problems = apimachinery::names::is_dns1123_subdomain_with_underscore(name);
            checks::invalid(errors, &searches_path.index(index), name, problems);
        }
    }
    for (index, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.push(FieldError::required(&path.child("options").index(index), "must not be empty"));
        }
    }
}

/// Names that a pod adds to its own table.
pub(crate) fn check_host_aliases(errors: &mut ErrorList, path: &Path, aliases: &[Value]) {
    for (index, alias) in aliases.iter().enumerate() {
        let path = path.index(index);
        ip::check_legacy(errors, &path.child("ip"), text(alias, "ip"), &[]);
        for (index, name) in list(alias, "hostnames").iter().enumerate() {
            checks::dns_subdomain(errors, &path.child("hostnames").index(index), name.as_str().unwrap_or_default());
        }
    }
}
