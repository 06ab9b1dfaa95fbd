//! The addresses of a Service and their families: what may be asked for, and what follows from it.

use std::collections::HashSet;

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::{Value, json};

use super::{is_headless, kind_of};
use crate::{
    checks, ip,
    json::{default, field, has, list, text},
};

const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
const SET_ONCE: &str = "may not change once set";

/// Fills in what follows from what is asked for.
pub(super) fn infer(spec: &mut Value) {
    if kind_of(spec) == "ExternalName" {
        return;
    }
    let one = text(spec, "clusterIP").to_owned();
    if !one.is_empty() && list(spec, "clusterIPs").is_empty() {
        spec["clusterIPs"] = json!([one]);
    }
    if is_headless(spec)
        && spec.get("selector").is_none_or(|selector| selector.as_object().is_none_or(serde_json::Map::is_empty))
    {
        // Whoever makes its endpoints may use any family, also one that the cluster has not.
        default(spec, "ipFamilyPolicy", "RequireDualStack");
        if list(spec, "ipFamilies").is_empty() {
            spec["ipFamilies"] = json!(["IPv4"]);
        }
        if let ([only], false) = (list(spec, "ipFamilies"), text(spec, "ipFamilyPolicy") == "SingleStack") {
            let other = if only == "IPv6" { "IPv4" } else { "IPv6" };
            spec["ipFamilies"] = json!([only, other]);
        }
    }
}

/// What is wrong with the addresses and families, by themselves and in this cluster, which has IPv4.
pub(super) fn check(spec: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    if kind_of(spec) == "ExternalName" {
        for name in ["clusterIPs", "ipFamilies"] {
            if !list(spec, name).is_empty() {
                errors.push(FieldError::forbidden(&path.child(name), "may not be set for ExternalName services"));
            }
        }
        if has(spec, "ipFamilyPolicy") {
            let detail = "may not be set for ExternalName services";
            errors.push(FieldError::forbidden(&path.child("ipFamilyPolicy"), detail));
        }
        return errors;
    }
    check_form(spec, old, &path, &mut errors);
    if errors.is_empty() && !is_open(spec) {
        check_cluster(spec, &path, &mut errors);
    }
    errors
}

/// Whether anybody may make its endpoints.
fn is_open(spec: &Value) -> bool {
    is_headless(spec) && spec.get("selector").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty)
}

fn check_form(spec: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let at = path.child("clusterIPs");
    let addresses = list(spec, "clusterIPs");
    let whole = |detail: &str| FieldError::invalid(&at, addresses.to_vec(), detail);
    let one = text(spec, "clusterIP");
    match addresses {
        [] if !one.is_empty() => errors.push(FieldError::required(&at, "")),
        [first, ..] if !one.is_empty() && first != one => errors.push(whole("first value must match `clusterIP`")),
        [_, ..] if one.is_empty() => errors.push(whole("must be empty when `clusterIP` is not specified")),
        _ => {}
    }
    let mut seen = HashSet::new();
    for (index, family) in list(spec, "ipFamilies").iter().enumerate() {
        let family = family.as_str().unwrap_or_default();
        let at = path.child("ipFamilies").index(index);
        checks::one_of(errors, &at, family, FAMILIES);
        if !seen.insert(family) {
            errors.push(FieldError::duplicate(&at, family));
        }
    }
    if has(spec, "ipFamilyPolicy") {
        checks::one_of(errors, &path.child("ipFamilyPolicy"), text(spec, "ipFamilyPolicy"), POLICIES);
    }
    let stored: Vec<&str> = list(old, "clusterIPs").iter().filter_map(Value::as_str).collect();
    let mut usable = true;
    for (index, address) in addresses.iter().enumerate() {
        let address = address.as_str().unwrap_or_default();
        let before = errors.len();
        if index == 0 && address == "None" {
            if addresses.len() > 1 {
                errors.push(whole("'None' must be the first and only value"));
            }
        } else {
            ip::check_legacy(errors, &at.index(index), address, &stored);
        }
        usable &= errors.len() == before;
    }
    if addresses.len() > 2 {
        errors.push(whole("may only hold up to 2 values"));
    }
    if !usable {
        return;
    }
    let is_v6 = |address: &Value| ip::is_v6(address.as_str().unwrap_or_default());
    if addresses.len() > 1 && addresses.iter().all(is_v6) | !addresses.iter().any(is_v6) {
        errors.push(whole("may specify no more than one IP for each IP family"));
    }
    if is_headless(spec) {
        return;
    }
    for (index, (address, family)) in addresses.iter().zip(list(spec, "ipFamilies")).enumerate() {
        if (family == "IPv4" || family == "IPv6") && is_v6(address) != (family == "IPv6") {
            let family = family.as_str().unwrap_or_default();
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(FieldError::invalid(&at.index(index), address.clone(), detail));
        }
    }
}

fn check_cluster(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, family) in list(spec, "ipFamilies").iter().enumerate().filter(|(_, family)| *family != "IPv4") {
        let at = path.child("ipFamilies").index(index);
        errors.push(FieldError::invalid(&at, family.clone(), "not configured on this cluster"));
    }
    if text(spec, "ipFamilyPolicy") == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), "RequireDualStack", detail));
    }
}

/// The first address and family stay; a second may come and go.
pub(super) fn check_change(new: &Value, old: &Value, errors: &mut ErrorList) {
    if [new, old].iter().any(|spec| kind_of(spec) == "ExternalName") || (is_headless(new) && is_headless(old)) {
        return;
    }
    let before = errors.len();
    check_list_change(new, old, "clusterIPs", "clusterIP", errors);
    if errors.len() == before {
        check_list_change(new, old, "ipFamilies", "ipFamily", errors);
    }
}

fn check_list_change(new: &Value, old: &Value, name: &str, one: &str, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let at = path.child(name);
    let (now, before) = (list(new, name), list(old, name));
    let mut refuse = |index: usize, detail: &str| {
        errors.push(FieldError::invalid(&at.index(index), now.to_vec(), detail));
    };
    if now.is_empty() && !before.is_empty() {
        refuse(0, &format!("primary {one} can not be unset"));
    }
    let compared = if now.len() == before.len() { now.len() } else { 1 };
    for (index, (now, before)) in now.iter().zip(before).enumerate().take(compared) {
        if now != before {
            refuse(index, SET_ONCE);
        }
    }
    if before.len() == 2 && now.len() == 1 && text(new, "ipFamilyPolicy") != "SingleStack" {
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {one}");
        errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), field(new, "ipFamilyPolicy").clone(), detail));
    }
}
