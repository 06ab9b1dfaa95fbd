//! LimitRanges.

use std::collections::{BTreeSet, HashSet};

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
    quantity::Quantity,
};
use serde_json::Value;

use super::pod::resources;
use crate::{
    checks,
    json::{each, entries, field, list, map, object_at, text, with},
    kind::Kind,
    metadata,
};

const TYPES: &[&str] = &["Pod", "Container", "PersistentVolumeClaim"];

pub(crate) struct LimitRange;

impl Kind for LimitRange {
    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| each(spec, "limits", item_defaults));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        metadata::validate(&|name| self.check_name(name), new, errors);
        validate(new, errors);
    }
}

/// What containers may have at most they get, what they get they ask for; at least what they must ask for.
fn item_defaults(item: &mut Value) {
    if text(item, "type") != "Container" {
        return;
    }
    for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
        let amounts: Vec<(String, Value)> =
            entries(item, from).map(|(key, value)| (key.clone(), value.clone())).collect();
        if let Some(to) = object_at(item, to).and_then(Value::as_object_mut) {
            for (key, value) in amounts {
                to.entry(key).or_insert(value);
            }
        }
    }
    for name in ["default", "defaultRequest"] {
        if map(item, name).is_some_and(serde_json::Map::is_empty) {
            crate::json::take(item, name);
        }
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("limits");
    let mut seen = HashSet::new();
    for (index, item) in list(field(object, "spec"), "limits").iter().enumerate() {
        let path = path.index(index);
        let kind = text(item, "type");
        check_type(errors, &path.child("type"), kind);
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
        check_names(errors, &path, item, kind);
        let names = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
        let resources: BTreeSet<&str> =
            names.iter().flat_map(|name| entries(item, name)).map(|(resource, _)| resource.as_str()).collect();
        for resource in resources {
            check_order(errors, &path, item, resource);
        }
    }
}

fn check_type(errors: &mut ErrorList, path: &Path, kind: &str) {
    let problems = names::is_qualified_name(kind);
    if problems.is_empty() && !kind.contains('/') && !TYPES.contains(&kind) {
        errors.push(FieldError::invalid(path, kind, "must be a standard limit type or fully qualified"));
    }
    checks::invalid(errors, path, kind, problems);
}

fn check_names(errors: &mut ErrorList, path: &Path, item: &Value, kind: &str) {
    let check = |errors: &mut ErrorList, name: &str| {
        for (resource, _) in entries(item, name) {
            let path = path.child(name).key(resource);
            if matches!(kind, "Pod" | "Container") {
                resources::check_container_name(errors, &path, resource);
            } else {
                resources::check_standard_name(errors, &path, resource);
            }
        }
    };
    check(errors, "max");
    check(errors, "min");
    for name in ["default", "defaultRequest"] {
        if kind != "Pod" {
            check(errors, name);
        } else if entries(item, name).next().is_some() {
            errors.push(FieldError::forbidden(&path.child(name), "may not be specified when `type` is 'Pod'"));
        }
    }
    if kind == "PersistentVolumeClaim" && ["min", "max"].iter().all(|name| field(item, name).get("storage").is_none()) {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(&path.child("limits"), detail));
    }
    check(errors, "maxLimitRequestRatio");
}

/// min ≤ default request ≤ default ≤ max, and the ratio is within reach.
fn check_order(errors: &mut ErrorList, path: &Path, item: &Value, resource: &str) {
    let amount = |name: &str| field(item, name).get(resource).and_then(|value| Quantity::from_json(value).ok());
    let (min, max, default) = (amount("min"), amount("max"), amount("default"));
    let (request, ratio) = (amount("defaultRequest"), amount("maxLimitRequestRatio"));
    let mut order = |at: &str, low: &Option<Quantity>, low_name: &str, high: &Option<Quantity>, high_name: &str| {
        if let (Some(low), Some(high)) = (low, high)
            && low > high
        {
            let detail = format!("{low_name} value {low} is greater than {high_name} value {high}");
            // Of the two the value that is shown is the one that kube-apiserver shows.
            let shown = match (at, low_name) {
                ("default", "default") => high,
                _ if low_name == "min" && at == "defaultRequest" => high,
                _ => low,
            };
            errors.push(FieldError::invalid(&path.child(at).key(resource), shown.to_string(), detail));
        }
    };
    order("min", &min, "min", &max, "max");
    order("defaultRequest", &min, "min", &request, "default request");
    order("defaultRequest", &request, "default request", &max, "max");
    order("defaultRequest", &request, "default request", &default, "default limit");
    order("default", &min, "min", &default, "default");
    order("default", &default, "default", &max, "max");
    let Some(ratio) = ratio else { return };
    let at = path.child("maxLimitRequestRatio").key(resource);
    if ratio < Quantity::from_i64(1, ratio.format()) {
        errors.push(FieldError::invalid(&at, ratio.to_string(), format!("ratio {ratio} is less than 1")));
    }
    if let (Some(min), Some(max)) = (min, max) {
        let reach = max.as_f64() / min.as_f64();
        if ratio.as_f64() > reach {
            let detail = format!("ratio {ratio} is greater than max/min = {reach:.6}");
            errors.push(FieldError::invalid(&at, ratio.to_string(), detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn range(item: Value) -> Value {
        let mut object = json!({"metadata": {"name": "l"}, "spec": {"limits": [item]}});
        crate::set_defaults("", "v1", "LimitRange", &mut object);
        object
    }

    #[test]
    fn containers_get_what_they_may_have_at_most() {
        let item = range(json!({"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}))["spec"]["limits"]
            [0]
        .clone();
        assert_eq!(item["default"], json!({"cpu": "2"}));
        assert_eq!(item["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
    }

    #[test]
    fn amounts_are_in_order() {
        let said = |item: Value| {
            let errors = crate::validate_create("", "LimitRange", &range(item));
            errors.iter().map(|error| error.to_string()).collect::<Vec<_>>()
        };
        assert!(
            said(
                json!({"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "2"}})
            )
            .is_empty()
        );
        assert_eq!(
            said(json!({"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}})),
            ["spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"]
        );
        assert_eq!(
            said(
                json!({"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}})
            )
            .len(),
            1
        );
        assert_eq!(said(json!({"type": "PersistentVolumeClaim"})).len(), 1);
    }
}
