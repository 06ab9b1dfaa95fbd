//! What a claim asks for: requests, constraints between them, configuration. Claims, templates of claims and classes share it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
};
use cel::{Environment, Extension, Type};
use serde_json::Value;

use crate::{
    checks,
    golang::{Shape, Struct},
    json::{default, default_int, default_text, each, field, has, int, list, some, text, with},
};

const REQUESTS_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const EXPRESSION_MAX: usize = 10 * 1024;
const PARAMETERS_MAX: usize = 10 * 1024;
const TOLERATIONS_MAX: usize = 16;
const NO_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// `ResourceClaimSpec`.
pub(super) static SPEC: Struct = Struct(&[("Devices", "devices", Shape::Struct(&CLAIM))]);
static CLAIM: Struct = Struct(&[
    ("Requests", "requests", Shape::List(&REQUEST)),
    ("Constraints", "constraints", Shape::List(&CONSTRAINT)),
    ("Config", "config", Shape::List(&CONFIG)),
]);
static REQUEST: Struct = Struct(&[
    ("Name", "name", Shape::Text),
    ("Exactly", "exactly", Shape::Pointer(&EXACT)),
    ("FirstAvailable", "firstAvailable", Shape::List(&ALTERNATIVE)),
]);
static EXACT: Struct = Struct(&[
    ("DeviceClassName", "deviceClassName", Shape::Text),
    ("Selectors", "selectors", Shape::List(&SELECTOR)),
    ("AllocationMode", "allocationMode", Shape::Text),
    ("Count", "count", Shape::Int),
    ("AdminAccess", "adminAccess", Shape::Any),
    ("Tolerations", "tolerations", Shape::List(&TOLERATION)),
    ("Capacity", "capacity", Shape::Pointer(&CAPACITY)),
]);
static ALTERNATIVE: Struct = Struct(&[
    ("Name", "name", Shape::Text),
    ("DeviceClassName", "deviceClassName", Shape::Text),
    ("Selectors", "selectors", Shape::List(&SELECTOR)),
    ("AllocationMode", "allocationMode", Shape::Text),
    ("Count", "count", Shape::Int),
    ("Tolerations", "tolerations", Shape::List(&TOLERATION)),
    ("Capacity", "capacity", Shape::Pointer(&CAPACITY)),
]);
static SELECTOR: Struct = Struct(&[("CEL", "cel", Shape::Pointer(&CEL))]);
static CEL: Struct = Struct(&[("Expression", "expression", Shape::Text)]);
static TOLERATION: Struct = Struct(&[
    ("Key", "key", Shape::Text),
    ("Operator", "operator", Shape::Text),
    ("Value", "value", Shape::Text),
    ("Effect", "effect", Shape::Text),
    ("TolerationSeconds", "tolerationSeconds", Shape::Any),
]);
static CAPACITY: Struct = Struct(&[("Requests", "requests", Shape::Quantities)]);
static CONSTRAINT: Struct = Struct(&[
    ("Requests", "requests", Shape::Any),
    ("MatchAttribute", "matchAttribute", Shape::Any),
    ("DistinctAttribute", "distinctAttribute", Shape::Any),
]);
static CONFIG: Struct = Struct(&[("Requests", "requests", Shape::Any), ("Opaque", "opaque", Shape::Pointer(&OPAQUE))]);
static OPAQUE: Struct = Struct(&[("Driver", "driver", Shape::Text), ("Parameters", "parameters", Shape::Any)]);

/// Fills in the spec of a claim.
pub(super) fn defaults(spec: &mut Value) {
    with(spec, "devices", |devices| {
        each(devices, "requests", |request| {
            with(request, "exactly", request_defaults);
            each(request, "firstAvailable", request_defaults);
        });
    });
}

fn request_defaults(request: &mut Value) {
    default_text(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" {
        default_int(request, "count", 1);
    }
    each(request, "tolerations", |toleration| default(toleration, "operator", "Equal"));
    each(request, "tolerations", |toleration| default_text(toleration, "operator", "Equal"));
}

/// The names of a claim's requests, each with those of its alternatives.
pub(super) type Names<'a> = BTreeMap<&'a str, HashSet<&'a str>>;

pub(super) fn names(devices: &Value) -> Names<'_> {
    list(devices, "requests")
        .iter()
        .map(|request| {
            let alternatives = list(request, "firstAvailable").iter().map(|one| text(one, "name")).collect();
            (text(request, "name"), alternatives)
        })
        .collect()
}

/// A list with at most so many elements.
pub(super) fn check_size(items: &[Value], max: usize, path: &Path, errors: &mut ErrorList) {
    if items.len() > max {
        errors.push(FieldError::too_many(path, items.len(), max));
    }
}

/// A list of names of requests.
pub(super) fn check_names(requests: &[Value], names: &Names<'_>, path: &Path, errors: &mut ErrorList) {
    check_size(requests, REQUESTS_MAX, path, errors);
    let mut seen = HashSet::new();
    for (index, name) in requests.iter().enumerate() {
        let (path, name) = (path.index(index), name.as_str().unwrap_or_default());
        check_name(name, names, &path, errors);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
    }
}

/// A name of a request, or of one of its alternatives.
pub(super) fn check_name(name: &str, names: &Names<'_>, path: &Path, errors: &mut ErrorList) {
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 2 {
        errors.push(FieldError::invalid(path, name, NO_REQUEST));
        return;
    }
    for part in &parts {
        checks::dns_label(errors, path, part);
    }
    let known = match parts.as_slice() {
        [request] => names.contains_key(request),
        [request, alternative] => names.get(request).is_some_and(|known| known.contains(alternative)),
        _ => false,
    };
    if !known {
        errors.push(FieldError::invalid(path, name, NO_REQUEST));
    }
}

/// What is wrong with the devices that a claim asks for.
pub(super) fn check(devices: &Value, path: &Path, errors: &mut ErrorList) {
    let known = names(devices);
    let (at, requests) = (path.child("requests"), list(devices, "requests"));
    check_size(requests, REQUESTS_MAX, &at, errors);
    let mut seen = HashSet::new();
    for (index, request) in requests.iter().enumerate() {
        let path = at.index(index);
        check_request(request, &path, errors);
        if !seen.insert(text(request, "name")) {
            errors.push(FieldError::duplicate(&path, text(request, "name")));
        }
    }
    let (at, constraints) = (path.child("constraints"), list(devices, "constraints"));
    check_size(constraints, REQUESTS_MAX, &at, errors);
    for (index, constraint) in constraints.iter().enumerate() {
        check_constraint(constraint, &known, &at.index(index), errors);
    }
    let (at, configs) = (path.child("config"), list(devices, "config"));
    check_size(configs, REQUESTS_MAX, &at, errors);
    for (index, config) in configs.iter().enumerate() {
        let path = at.index(index);
        check_names(list(config, "requests"), &known, &path.child("requests"), errors);
        check_config(config, &path, errors);
    }
}

fn check_request(request: &Value, path: &Path, errors: &mut ErrorList) {
    checks::dns_label(errors, &path.child("name"), text(request, "name"));
    let (at, alternatives) = (path.child("firstAvailable"), list(request, "firstAvailable"));
    let detail = "exactly one of `exactly` or `firstAvailable` is required";
    match (has(request, "exactly"), !alternatives.is_empty()) {
        (false, false) => errors.push(FieldError::required(path, detail)),
        (true, true) => {
            let detail = format!("{detail}, but multiple fields are set");
            errors.push(FieldError::invalid(path, Value::Null, detail));
        }
        (true, false) => check_devices(field(request, "exactly"), &path.child("exactly"), errors),
        (false, true) => check_alternatives(alternatives, &at, errors),
    }
}

fn check_alternatives(alternatives: &[Value], path: &Path, errors: &mut ErrorList) {
    check_size(alternatives, ALTERNATIVES_MAX, path, errors);
    let mut seen = HashSet::new();
    for (index, alternative) in alternatives.iter().enumerate() {
        let path = path.index(index);
        let name = text(alternative, "name");
        checks::dns_label(errors, &path.child("name"), name);
        check_devices(alternative, &path, errors);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
    }
}

/// Which devices, and how many.
fn check_devices(request: &Value, path: &Path, errors: &mut ErrorList) {
    let (at, class) = (path.child("deviceClassName"), text(request, "deviceClassName"));
    if checks::required(errors, &at, class) {
        checks::dns_subdomain(errors, &at, class);
    }
    check_selectors(list(request, "selectors"), &path.child("selectors"), errors);
    let count = int(request, "count").unwrap_or_default();
    match text(request, "allocationMode") {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(&path.child("count"), count, detail));
        }
        "ExactCount" if count <= 0 => {
            errors.push(FieldError::invalid(&path.child("count"), count, "must be greater than zero"));
        }
        "All" | "ExactCount" => {}
        other => checks::one_of(errors, &path.child("allocationMode"), other, &["All", "ExactCount"]),
    }
    let (at, tolerations) = (path.child("tolerations"), list(request, "tolerations"));
    check_size(tolerations, TOLERATIONS_MAX, &at, errors);
    for (index, toleration) in tolerations.iter().enumerate() {
        check_toleration(toleration, &at.index(index), errors);
    }
}

/// What expressions that choose devices can refer to.
fn device_environment() -> Environment {
    let by_domain = |of: Type| Type::map(Type::String, Type::map(Type::String, of));
    let device = Type::object(
        "kubernetes.DRADevice",
        [
            ("driver", Type::String),
            ("attributes", by_domain(Type::Dyn)),
            ("capacity", by_domain(Type::Opaque("kubernetes.Quantity".into(), Arc::new([])))),
            ("allowMultipleAllocations", Type::Bool),
        ],
    );
    Environment::new([("device", device)]).extended(Extension::Devices)
}

/// Expressions that choose devices.
pub(super) fn check_selectors(selectors: &[Value], path: &Path, errors: &mut ErrorList) {
    check_size(selectors, REQUESTS_MAX, path, errors);
    for (index, selector) in selectors.iter().enumerate() {
        let path = path.index(index).child("cel");
        if !has(selector, "cel") {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        let (path, expression) = (path.child("expression"), text(field(selector, "cel"), "expression"));
        if expression.len() > EXPRESSION_MAX {
            errors.push(FieldError::too_long(&path, EXPRESSION_MAX));
            continue;
        }
        let wrong = match cel::Program::compile(expression, &device_environment()) {
            Err(why) => Some(format!("compilation failed: {why}")),
            Ok(program) => Some(program.kind())
                .filter(|kind| !matches!(kind, Type::Bool | Type::Dyn))
                .map(|kind| format!("must evaluate to bool or the unknown type, not {}", kind.name())),
        };
        if let Some(why) = wrong {
            errors.push(FieldError::invalid(&path, expression, why));
        }
    }
}

fn check_toleration(toleration: &Value, path: &Path, errors: &mut ErrorList) {
    let [key, operator, value, effect] = ["key", "operator", "value", "effect"].map(|name| text(toleration, name));
    if !key.is_empty() {
        checks::label_name(errors, &path.child("key"), key);
    }
    let at = path.child("value");
    match operator {
        "Exists" if !value.is_empty() => {
            errors.push(FieldError::invalid(&at, value, "must be empty for operator `Exists`"));
        }
        "Exists" => {}
        "Equal" => checks::invalid(errors, &at, value, names::is_label_value(value)),
        other => checks::required_one_of(errors, &path.child("operator"), other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() {
        checks::one_of(errors, &path.child("effect"), effect, &["NoExecute", "NoSchedule", "None"]);
    }
}

fn check_constraint(constraint: &Value, known: &Names<'_>, path: &Path, errors: &mut ErrorList) {
    check_names(list(constraint, "requests"), known, &path.child("requests"), errors);
    let given: Vec<&str> =
        ["matchAttribute", "distinctAttribute"].into_iter().filter(|name| has(constraint, name)).collect();
    match given.as_slice() {
        [name] => check_attribute(text(constraint, name), &path.child(name), errors),
        _ => {
            let detail =
                "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
            errors.push(FieldError::required(path, detail));
        }
    }
}

/// A name of an attribute with its domain.
fn check_attribute(name: &str, path: &Path, errors: &mut ErrorList) {
    check_qualified(name, path, errors);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path, name, detail));
    }
}

/// A name of an attribute or amount, with or without its domain.
pub(super) fn check_qualified(name: &str, path: &Path, errors: &mut ErrorList) {
    let Some((domain, id)) = name.split_once('/') else {
        check_id(name, path, errors);
        return;
    };
    if domain.is_empty() {
        errors.push(FieldError::required(path, "the domain must not be empty"));
    } else {
        check_driver(domain, path, errors);
    }
    if id.is_empty() {
        errors.push(FieldError::required(path, "the name must not be empty"));
    } else {
        check_id(id, path, errors);
    }
}

fn check_id(id: &str, path: &Path, errors: &mut ErrorList) {
    const ID_MAX: usize = 32;
    if id.len() > ID_MAX {
        errors.push(FieldError::too_long(path, ID_MAX));
    }
    checks::invalid(errors, path, id, names::is_c_identifier(id));
}

/// Configuration for the driver.
pub(super) fn check_config(config: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(opaque) = some(config, "opaque") else {
        errors.push(FieldError::required(&path.child("opaque"), ""));
        return;
    };
    let path = path.child("opaque");
    check_driver(text(opaque, "driver"), &path.child("driver"), errors);
    check_parameters(field(opaque, "parameters"), &path.child("parameters"), errors);
}

/// A name of a driver.
pub(super) fn check_driver(name: &str, path: &Path, errors: &mut ErrorList) {
    if checks::required(errors, path, name) {
        if name.len() > names::LABEL_MAX {
            errors.push(FieldError::too_long(path, names::LABEL_MAX));
        }
        checks::dns_subdomain(errors, path, name);
    }
}

/// Anything that is an object.
pub(super) fn check_parameters(parameters: &Value, path: &Path, errors: &mut ErrorList) {
    if parameters.is_null() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if !parameters.is_object() {
        errors.push(checks::shown(ErrorKind::Invalid, path, "\"<value omitted>\"", "must be a valid JSON object"));
    }
    if parameters.to_string().len() > PARAMETERS_MAX {
        errors.push(FieldError::too_long(path, PARAMETERS_MAX));
    }
}
