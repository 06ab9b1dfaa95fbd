//! ResourceSlices: which devices a driver has on a node.

use std::collections::{HashMap, HashSet};

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use super::{claim, request};
use crate::{
    checks,
    core::{persistent_volume::NODE_SELECTOR, pod::affinity::check_node_selector},
    json::{each, entries, field, flag, has, int, list, take, text, with},
    kind::Kind,
    metadata,
};

const DEVICES_MAX: usize = 128;
const COUNTERS_MAX: usize = 32;
const ATTRIBUTES_MAX: usize = 32;
const TEXT_MAX: usize = 64;
const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];
const NODE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";

pub(super) struct ResourceSlice;

impl Kind for ResourceSlice {
    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            each(spec, "devices", |device| {
                if list(device, "taints").is_empty() {
                    take(device, "taints");
                }
            });
        });
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(field(object, "spec"), None, &Path::new("spec"), errors);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        validate(field(new, "spec"), Some(field(old, "spec")), &Path::new("spec"), errors);
    }
}

/// A name of a pool: parts that are subdomains.
pub(super) fn check_pool_name(name: &str, path: &Path, errors: &mut ErrorList) {
    if !checks::required(errors, path, name) {
        return;
    }
    if name.len() > names::SUBDOMAIN_MAX {
        errors.push(FieldError::too_long(path, names::SUBDOMAIN_MAX));
    }
    for part in name.split('/') {
        checks::dns_subdomain(errors, path, part);
    }
}

fn validate(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut ErrorList) {
    request::check_driver(text(spec, "driver"), &path.child("driver"), errors);
    let (at, pool) = (path.child("pool"), field(spec, "pool"));
    check_pool_name(text(pool, "name"), &at.child("name"), errors);
    let count = int(pool, "resourceSliceCount").unwrap_or_default();
    if count <= 0 {
        errors.push(FieldError::invalid(&at.child("resourceSliceCount"), count, "must be greater than zero"));
    }
    if let Some(generation) = int(pool, "generation").filter(|generation| *generation < 0) {
        let detail = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(&at.child("generation"), generation, detail));
    }
    if let Some(old) = old {
        let (pool, old_pool) = (field(spec, "pool"), field(old, "pool"));
        checks::immutable_text(errors, &path.child("pool").child("name"), pool, old_pool, "name");
        checks::immutable_text(errors, &path.child("driver"), spec, old, "driver");
        checks::immutable(errors, &path.child("nodeName"), spec, old, "nodeName");
    }
    check_nodes(spec, path, errors);
    let (devices, counters) = (list(spec, "devices"), list(spec, "sharedCounters"));
    if !devices.is_empty() && !counters.is_empty() {
        errors.push(FieldError::invalid(path, "", "only one of `sharedCounters` or `devices` is allowed"));
    }
    request::check_size(devices, DEVICES_MAX, &path.child("devices"), errors);
    let per_device = flag(spec, "perDeviceNodeSelection");
    let mut seen = HashSet::new();
    for (index, device) in devices.iter().enumerate() {
        let path = path.child("devices").index(index);
        check_device(device, per_device, &path, errors);
        if !seen.insert(text(device, "name")) {
            errors.push(FieldError::duplicate(&path, text(device, "name")));
        }
    }
    check_counters(counters, &path.child("sharedCounters"), errors);
}

/// Which nodes can use the devices; gives what is set.
fn check_nodes(object: &Value, path: &Path, errors: &mut ErrorList) {
    let mut set = Vec::new();
    if has(object, "nodeName") {
        let (path, name) = (path.child("nodeName"), text(object, "nodeName"));
        if name.is_empty() {
            errors.push(FieldError::invalid(&path, name, "must be either unset or set to a non-empty string"));
        } else {
            set.push("`nodeName`");
            checks::dns_subdomain(errors, &path, name);
        }
    }
    if has(object, "nodeSelector") {
        set.push("`nodeSelector`");
        let (path, selector) = (path.child("nodeSelector"), field(object, "nodeSelector"));
        check_node_selector(errors, &path, selector);
        if list(selector, "nodeSelectorTerms").len() != 1 {
            let shown = NODE_SELECTOR.show(selector);
            let terms = shown.strip_prefix("{\"NodeSelectorTerms\":").and_then(|rest| rest.strip_suffix('}'));
            let detail = "must have exactly one node selector term";
            let path = path.child("nodeSelectorTerms");
            errors.push(checks::shown(ErrorKind::Invalid, &path, terms.unwrap_or_default(), detail));
        }
    }
    for name in ["allNodes", "perDeviceNodeSelection"] {
        if !has(object, name) {
            continue;
        }
        if flag(object, name) {
            set.push(if name == "allNodes" { "`allNodes`" } else { "`perDeviceNodeSelection`" });
        } else {
            errors.push(FieldError::invalid(&path.child(name), false, "must be either unset or set to true"));
        }
    }
    match set.as_slice() {
        [] => errors.push(FieldError::required(path, NODE)),
        [_] => {}
        many => {
            let shown = format!("{{{}}}", many.join(", "));
            errors.push(FieldError::invalid(path, shown, format!("{NODE}, but multiple fields are set")));
        }
    }
}

fn check_device(device: &Value, per_device: bool, path: &Path, errors: &mut ErrorList) {
    checks::dns_label(errors, &path.child("name"), text(device, "name"));
    let count = entries(device, "attributes").count() + entries(device, "capacity").count();
    if count > ATTRIBUTES_MAX {
        let detail = format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}");
        errors.push(FieldError::invalid(path, count, detail));
    }
    for (name, attribute) in entries(device, "attributes") {
        let path = path.child("attributes").key(name);
        request::check_qualified(name, &path, errors);
        check_attribute(attribute, &path, errors);
    }
    let many = flag(device, "allowMultipleAllocations");
    for (name, capacity) in entries(device, "capacity") {
        let path = path.child("capacity").key(name);
        request::check_qualified(name, &path, errors);
        if has(capacity, "requestPolicy") && !many {
            let detail = "allowMultipleAllocations must be true";
            errors.push(FieldError::forbidden(&path.child("requestPolicy"), detail));
        }
    }
    for (index, taint) in list(device, "taints").iter().enumerate() {
        check_taint(taint, &path.child("taints").index(index), errors);
    }
    check_consumed(list(device, "consumesCounters"), &path.child("consumesCounters"), errors);
    claim::check_binding(device, path, errors);
    let own = ["nodeName", "nodeSelector", "allNodes"].into_iter().filter(|name| has(device, name));
    let own: Vec<String> = own.map(|name| format!("`{name}`")).collect();
    if per_device {
        check_nodes(device, path, errors);
    } else if !own.is_empty() {
        let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        errors.push(FieldError::invalid(path, Value::Null, detail));
    }
}

fn check_attribute(attribute: &Value, path: &Path, errors: &mut ErrorList) {
    let set: Vec<&str> = ["bool", "int", "string", "version"].into_iter().filter(|name| has(attribute, name)).collect();
    for name in ["string", "version"] {
        let value = text(attribute, name);
        if value.len() > TEXT_MAX {
            errors.push(FieldError::too_long(&path.child(name), TEXT_MAX));
        }
    }
    match set.as_slice() {
        [_] => {}
        _ => errors.push(FieldError::invalid(path, "", "exactly one value must be specified")),
    }
}

fn check_taint(taint: &Value, path: &Path, errors: &mut ErrorList) {
    checks::label_name(errors, &path.child("key"), text(taint, "key"));
    let value = text(taint, "value");
    if !value.is_empty() {
        checks::invalid(errors, &path.child("value"), value, names::is_label_value(value));
    }
    checks::required_one_of(errors, &path.child("effect"), text(taint, "effect"), EFFECTS);
}

fn check_consumed(consumed: &[Value], path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (index, one) in consumed.iter().enumerate() {
        let path = path.index(index);
        let set = text(one, "counterSet");
        if checks::required(errors, &path.child("counterSet"), set) {
            checks::dns_label(errors, &path.child("counterSet"), set);
        }
        if entries(one, "counters").next().is_none() {
            errors.push(FieldError::required(&path.child("counters"), ""));
        }
        if !seen.insert(set) {
            errors.push(FieldError::duplicate(&path, set));
        }
    }
}

fn check_counters(counters: &[Value], path: &Path, errors: &mut ErrorList) {
    request::check_size(counters, COUNTERS_MAX, path, errors);
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, set) in counters.iter().enumerate() {
        let path = path.index(index);
        let name = text(set, "name");
        if checks::required(errors, &path.child("name"), name) {
            checks::dns_label(errors, &path.child("name"), name);
        }
        if entries(set, "counters").next().is_none() {
            errors.push(FieldError::required(&path.child("counters"), ""));
        }
        for (counter, _) in entries(set, "counters") {
            checks::dns_label(errors, &path.child("counters"), counter);
        }
        if seen.insert(name, index).is_some() {
            errors.push(FieldError::duplicate(&path, name));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_slice_is_of_one_kind_of_node_and_its_devices_are_told_apart() {
        let said = |change: &dyn Fn(&mut Value)| {
            let pool = json!({"name": "p", "generation": 1, "resourceSliceCount": 1});
            let mut spec = json!({"driver": "d.example", "pool": pool, "nodeName": "n", "devices": [{"name": "a"}]});
            change(&mut spec);
            let object = json!({"metadata": {"name": "s"}, "spec": spec});
            let errors = crate::validate_create("resource.k8s.io", "ResourceSlice", &object);
            errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect::<Vec<_>>()
        };
        assert!(said(&|_| {}).is_empty());
        assert_eq!(said(&|spec| spec["allNodes"] = true.into()), ["spec: Invalid value"]);
        assert_eq!(said(&|spec| spec["nodeName"] = Value::Null), ["spec: Required value"]);
        let twice = |spec: &mut Value| spec["devices"] = json!([{"name": "a"}, {"name": "a"}]);
        assert_eq!(said(&twice), ["spec.devices[1]: Duplicate value"]);
        let attributes = |spec: &mut Value| spec["devices"][0]["attributes"] = json!({"k": {"int": 1, "bool": true}});
        assert_eq!(said(&attributes), ["spec.devices[0].attributes[k]: Invalid value"]);
    }
}
