//! NetworkPolicies.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::{Value, json};

use crate::{
    checks, ip,
    json::{default, each, field, has, int, list, text, with},
    kind::Kind,
    labels::{self, Values},
    metadata,
};

pub(crate) struct NetworkPolicy;

impl Kind for NetworkPolicy {
    fn has_generation(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            for name in ["ingress", "egress"] {
                each(spec, name, |rule| each(rule, "ports", |port| default(port, "protocol", "TCP")));
            }
            default(spec, "podSelector", json!({}));
            if list(spec, "policyTypes").is_empty() {
                spec["policyTypes"] =
                    if list(spec, "egress").is_empty() { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
            }
        });
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(field(object, "spec"), &Value::Null, errors);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        validate(field(new, "spec"), field(old, "spec"), errors);
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>, warnings: &mut Vec<String>) {
        let spec = field(object, "spec");
        for (path, peer) in peers(spec) {
            let (path, block) = (path.child("ipBlock"), field(peer, "ipBlock"));
            ip::warn_range(&path.child("cidr"), text(block, "cidr"), warnings);
            for (index, range) in list(block, "except").iter().enumerate() {
                ip::warn_range(&path.child("except").index(index), range.as_str().unwrap_or_default(), warnings);
            }
        }
    }
}

/// Both directions: the rules, and who they are about.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

fn peers(spec: &Value) -> impl Iterator<Item = (Path, &Value)> {
    DIRECTIONS.into_iter().flat_map(move |(name, peers)| {
        list(spec, name).iter().enumerate().flat_map(move |(index, rule)| {
            let path = Path::new("spec").child(name).index(index).child(peers);
            list(rule, peers).iter().enumerate().map(move |(index, peer)| (path.index(index), peer))
        })
    })
}

fn selectors(spec: &Value) -> impl Iterator<Item = &Value> {
    let of_peers = peers(spec).flat_map(|(_, peer)| [field(peer, "podSelector"), field(peer, "namespaceSelector")]);
    of_peers.chain([field(spec, "podSelector")])
}

fn validate(spec: &Value, old: &Value, errors: &mut ErrorList) {
    // What was stored before values were checked may be written again.
    let values = if selectors(old).any(labels::has_invalid_value) { Values::Any } else { Values::Checked };
    let stored: Vec<&str> = peers(old)
        .map(|(_, peer)| field(peer, "ipBlock"))
        .flat_map(|block| list(block, "except").iter().chain([field(block, "cidr")]))
        .filter_map(Value::as_str)
        .collect();
    let path = Path::new("spec");
    labels::check_selector_with(errors, &path.child("podSelector"), field(spec, "podSelector"), values);
    for (name, peers) in DIRECTIONS {
        for (index, rule) in list(spec, name).iter().enumerate() {
            let path = path.child(name).index(index);
            for (index, port) in list(rule, "ports").iter().enumerate() {
                check_port(port, &path.child("ports").index(index), errors);
            }
            for (index, peer) in list(rule, peers).iter().enumerate() {
                check_peer(peer, values, &stored, &path.child(peers).index(index), errors);
            }
        }
    }
    let (path, types) = (path.child("policyTypes"), list(spec, "policyTypes"));
    if types.len() > 2 {
        errors.push(FieldError::invalid(&path, types.to_vec(), "may not specify more than two policyTypes"));
        return;
    }
    for (index, kind) in types.iter().enumerate() {
        checks::one_of(errors, &path.index(index), kind.as_str().unwrap_or_default(), &["Ingress", "Egress"]);
    }
}

fn check_port(port: &Value, path: &Path, errors: &mut ErrorList) {
    if has(port, "protocol") {
        checks::one_of(errors, &path.child("protocol"), text(port, "protocol"), &["TCP", "UDP", "SCTP"]);
    }
    let (at, end_at) = (path.child("port"), path.child("endPort"));
    let end = int(port, "endPort");
    let given = field(port, "port");
    let refuse_end = |detail: &str, errors: &mut ErrorList| {
        if let Some(end) = end {
            errors.push(FieldError::invalid(&end_at, end, detail));
        }
    };
    if given.is_null() {
        refuse_end("may not be specified when `port` is not specified", errors);
    } else if let Some(name) = given.as_str() {
        refuse_end("may not be specified when `port` is non-numeric", errors);
        checks::invalid(errors, &at, name, names::is_valid_port_name(name));
    } else {
        let number = given.as_i64().unwrap_or_default();
        if let Some(end) = end {
            if end < number {
                // The value that is shown is the port's, as in kube-apiserver.
                errors.push(FieldError::invalid(&end_at, number, "must be greater than or equal to `port`"));
            }
            checks::port_number(errors, &end_at, end);
        }
        checks::port_number(errors, &at, number);
    }
}

fn check_peer(peer: &Value, values: Values, stored: &[&str], path: &Path, errors: &mut ErrorList) {
    let mut selected = false;
    for name in ["podSelector", "namespaceSelector"] {
        if has(peer, name) {
            selected = true;
            labels::check_selector_with(errors, &path.child(name), field(peer, name), values);
        }
    }
    if has(peer, "ipBlock") {
        check_block(field(peer, "ipBlock"), stored, &path.child("ipBlock"), errors);
        if selected {
            errors.push(FieldError::forbidden(path, "may not specify both ipBlock and another peer"));
        }
    } else if !selected {
        errors.push(FieldError::required(path, "must specify a peer"));
    }
}

fn check_block(block: &Value, stored: &[&str], path: &Path, errors: &mut ErrorList) {
    let at = path.child("cidr");
    let range = text(block, "cidr");
    if !checks::required(errors, &at, range) {
        return;
    }
    let before = errors.len();
    ip::check_range_legacy(errors, &at, range, stored);
    if errors.len() > before {
        return;
    }
    let at = path.child("except");
    for (index, except) in list(block, "except").iter().enumerate() {
        let (at, except) = (at.index(index), except.as_str().unwrap_or_default());
        let before = errors.len();
        ip::check_range_legacy(errors, &at, except, stored);
        if errors.len() == before && !ip::contains_strictly(range, except) {
            errors.push(FieldError::invalid(&at, except, "must be a strict subset of `cidr`"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(spec: Value) -> Vec<String> {
        let mut object = json!({"metadata": {"name": "p"}, "spec": spec});
        crate::set_defaults("networking.k8s.io", "v1", "NetworkPolicy", &mut object);
        let errors = crate::validate_create("networking.k8s.io", "NetworkPolicy", &object);
        errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect()
    }

    #[test]
    fn ports_and_peers_are_whole() {
        let rule = |rule: Value| said(json!({"ingress": [rule]}));
        assert!(rule(json!({"ports": [{"port": 80, "endPort": 81}, {"port": "http"}, {}]})).is_empty());
        assert_eq!(rule(json!({"ports": [{"endPort": 81}]})), ["spec.ingress[0].ports[0].endPort: Invalid value"]);
        assert_eq!(rule(json!({"ports": [{"port": 80, "endPort": 79}]})).len(), 1);
        assert_eq!(rule(json!({"from": [{}]})), ["spec.ingress[0].from[0]: Required value"]);
        let block = |cidr: &str, except: &str| rule(json!({"from": [{"ipBlock": {"cidr": cidr, "except": [except]}}]}));
        assert!(block("10.0.0.0/8", "10.1.0.0/16").is_empty());
        assert_eq!(block("10.0.0.0/8", "10.0.0.0/8"), ["spec.ingress[0].from[0].ipBlock.except[0]: Invalid value"]);
        assert_eq!(block("10.0.0.0/8", "11.0.0.0/16").len(), 1);
    }

    #[test]
    fn a_policy_is_of_the_directions_that_it_has_rules_for() {
        let types = |spec: Value| {
            let mut object = json!({"spec": spec});
            crate::set_defaults("networking.k8s.io", "v1", "NetworkPolicy", &mut object);
            object["spec"]["policyTypes"].clone()
        };
        assert_eq!(types(json!({})), json!(["Ingress"]));
        assert_eq!(types(json!({"egress": [{}]})), json!(["Ingress", "Egress"]));
        assert_eq!(types(json!({"policyTypes": ["Egress"]})), json!(["Egress"]));
    }
}
