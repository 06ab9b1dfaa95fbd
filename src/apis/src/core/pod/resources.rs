//! What containers and whole pods ask for and may use.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
    quantity::Quantity,
};
use serde_json::Value;

use super::spec::Scope;
use crate::{
    checks,
    core::resource_quota,
    json::{entries, field, has, list, some, text},
};

const HUGE_PAGES: &str = "hugepages-";
/// Resources that are counted.
const COUNTED: &[&str] = &[
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
/// An amount as it is; nothing where it is none.
pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    Quantity::from_json(value).ok()
}

/// Whether two fields hold the same amount, however it is written.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (quantity(one), quantity(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// Whether a resource's name is one of Kubernetes' own.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a resource is some device's or operator's.
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::is_qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether a resource is memory in large pages.
pub(crate) fn is_huge_page(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

/// Whether containers together may be allowed more of a resource than there is.
fn may_be_overcommitted(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// Whether a resource comes in whole numbers.
pub(crate) fn is_counted(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}

/// A name of a resource.
pub(crate) fn check_name(errors: &mut ErrorList, path: &Path, name: &str) -> bool {
    let problems = names::is_qualified_name(name);
    let fine = problems.is_empty();
    checks::invalid(errors, path, name, problems);
    fine
}

/// A name of a resource that has a meaning by itself, or a prefix.
pub(crate) fn check_standard_name(errors: &mut ErrorList, path: &Path, name: &str) {
    let known = || name == "storage" || resource_quota::is_counted(name);
    if check_name(errors, path, name) && !name.contains('/') && !known() {
        let why = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path, name, why));
    }
}

/// A name of a resource that a container may use.
pub(crate) fn check_container_name(errors: &mut ErrorList, path: &Path, name: &str) {
    check_standard_name(errors, path, name);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_huge_page(name) {
            errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(FieldError::invalid(path, name, "doesn't follow extended resource name standard"));
    }
}

/// A name of a resource that a whole pod may use.
fn check_pod_name(errors: &mut ErrorList, path: &Path, name: &str) {
    if check_name(errors, path, name) && !matches!(name, "cpu" | "memory") && !is_huge_page(name) {
        errors.push(FieldError::not_supported(path, name, &["cpu", HUGE_PAGES, "memory"]));
    }
}

/// An amount of a resource.
pub(crate) fn check_amount(errors: &mut ErrorList, path: &Path, name: &str, value: &Value) {
    let Some(amount) = quantity(value) else { return };
    if amount.sign() < 0 {
        errors.push(FieldError::invalid(path, amount.canonical(), "must be greater than or equal to 0"));
    }
    if is_counted(name) && amount.milli_value() % 1000 != 0 {
        errors.push(FieldError::invalid(path, amount.canonical(), "must be an integer"));
    }
}

/// What a container asks for and may use.
pub(crate) fn check_container(errors: &mut ErrorList, path: &Path, resources: &Value, scope: &Scope<'_>) {
    check(errors, path, resources, &scope.claims, check_container_name);
}

/// What a whole pod asks for and may use, and that it is not less than its containers'.
pub(crate) fn check_pod(errors: &mut ErrorList, path: &Path, spec: &Value, scope: &Scope<'_>) {
    let Some(resources) = some(spec, "resources") else { return };
    if has(resources, "claims") {
        let why = "claims may not be set for Resources at pod-level";
        errors.push(FieldError::forbidden(&path.child("claims"), why));
    }
    check(errors, path, resources, &scope.claims, check_pod_name);
    check_sums(errors, path, spec, resources);
}

/// What is asked of all containers at a time is part of what is asked of their pod.
fn check_sums(errors: &mut ErrorList, path: &Path, spec: &Value, resources: &Value) {
    for (name, sum) in requests_of_containers(spec) {
        let of_pod = some(field(resources, "requests"), &name).and_then(quantity).unwrap_or_else(Quantity::zero);
        if sum > of_pod {
            let why = format!("must be greater than or equal to aggregate container requests of {}", sum.canonical());
            errors.push(FieldError::invalid(&path.child("requests").key(&name), of_pod.canonical(), why));
        }
    }
    for (index, container) in list(spec, "containers").iter().enumerate() {
        for (name, value) in entries(field(container, "resources"), "limits") {
            let (Some(own), Some(of_pod)) =
                (quantity(value), some(field(resources, "limits"), name).and_then(quantity))
            else {
                continue;
            };
            if own > of_pod {
                let path = path.child("containers").index(index).key(name).child("limits");
                let why = format!("must be less than or equal to pod limits of {}", of_pod.canonical());
                errors.push(FieldError::invalid(&path, own.canonical(), why));
            }
        }
    }
}

/// What a pod's containers ask for at most at a time: those that serve together, or one that runs before and what serves by then.
pub(crate) fn requests_of_containers(spec: &Value) -> BTreeMap<String, Quantity> {
    let mut serving: BTreeMap<String, Quantity> = BTreeMap::new();
    let mut most: BTreeMap<String, Quantity> = BTreeMap::new();
    let requests = |container| entries(field(container, "resources"), "requests");
    let add = |sums: &mut BTreeMap<String, Quantity>, container| {
        for (name, value) in requests(container) {
            if let Some(amount) = quantity(value) {
                sums.entry(name.clone()).or_insert_with(Quantity::zero).add(&amount);
            }
        }
    };
    for container in list(spec, "initContainers") {
        if super::restart_rules::is_sidecar(container) {
            add(&mut serving, container);
            continue;
        }
        for (name, value) in requests(container) {
            let Some(mut amount) = quantity(value) else { continue };
            if let Some(others) = serving.get(name) {
                amount.add(others);
            }
            let entry = most.entry(name.clone()).or_insert_with(Quantity::zero);
            if amount > *entry {
                *entry = amount;
            }
        }
    }
    list(spec, "containers").iter().for_each(|container| add(&mut serving, container));
    for (name, amount) in serving {
        let entry = most.entry(name).or_insert_with(Quantity::zero);
        if amount > *entry {
            *entry = amount;
        }
    }
    most
}

/// Limits, requests and claims, with the rule for names given.
pub(crate) fn check(
    errors: &mut ErrorList,
    path: &Path,
    resources: &Value,
    claims: &BTreeSet<&str>,
    check_name: fn(&mut ErrorList, &Path, &str),
) {
    let (limits_path, requests_path) = (path.child("limits"), path.child("requests"));
    let (mut huge, mut usual) = (false, false);
    let limits = field(resources, "limits");
    for (name, value) in entries(resources, "limits") {
        let path = limits_path.key(name);
        check_name(errors, &path, name);
        check_amount(errors, &path, name, value);
        huge |= is_huge_page(name);
        usual |= matches!(name.as_str(), "cpu" | "memory");
        check_huge_page(errors, name, value);
    }
    for (name, value) in entries(resources, "requests") {
        let path = requests_path.key(name);
        check_name(errors, &path, name);
        check_amount(errors, &path, name, value);
        match (quantity(value), some(limits, name).and_then(quantity)) {
            (Some(request), Some(limit)) => {
                let order = request.cmp(&limit);
                let (request, limit) = (request.canonical(), limit.canonical());
                if order.is_ne() && !may_be_overcommitted(name) {
                    let why = format!("must be equal to {name} limit of {limit}");
                    errors.push(FieldError::invalid(&requests_path, request, why));
                } else if order.is_gt() {
                    let why = format!("must be less than or equal to {name} limit of {limit}");
                    errors.push(FieldError::invalid(&requests_path, request, why));
                }
            }
            (_, None) if !may_be_overcommitted(name) => {
                errors.push(FieldError::required(&limits_path, "Limit must be set for non overcommitable resources"));
            }
            _ => {}
        }
        huge |= is_huge_page(name);
        usual |= matches!(name.as_str(), "cpu" | "memory");
        check_huge_page(errors, name, value);
    }
    if huge && !usual {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
    check_claims(errors, &path.child("claims"), list(resources, "claims"), claims);
}

/// Large pages come whole.
fn check_huge_page(errors: &mut ErrorList, name: &str, value: &Value) {
    let (Some(size), Some(amount)) = (name.strip_prefix(HUGE_PAGES), quantity(value)) else { return };
    let size = quantity(&Value::from(size)).filter(|size| size.sign() > 0).map(|size| size.value());
    let whole = size.is_some_and(|size| amount.milli_value() % 1000 == 0 && amount.value() % size == 0);
    if !whole {
        let why = format!("{} is not positive integer multiple of {name}", amount.canonical());
        let mut error = FieldError::invalid(&Path::root(), name, why);
        error.field.clear();
        errors.push(error);
    }
}

fn check_claims(errors: &mut ErrorList, path: &Path, used: &[Value], claims: &BTreeSet<&str>) {
    let mut seen = HashSet::new();
    for (index, claim) in used.iter().enumerate() {
        let path = path.index(index);
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else {
            if !request.is_empty() {
                checks::dns_label(errors, &path.child("request"), request);
            }
            // All of a claim, and a request of it, are used in two ways.
            let whole = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
            if seen.contains(&whole) {
                errors.push(FieldError::duplicate(&path, whole.clone()));
            }
            seen.insert(whole);
            if !claims.contains(name) {
                let mut error = FieldError::not_found(&path, name);
                error.detail = if claims.is_empty() {
                    "must be one of the names in pod.spec.resourceClaims which is empty".into()
                } else {
                    let all = claims.iter().copied().collect::<Vec<_>>().join(", ");
                    format!("must be one of the names in pod.spec.resourceClaims: {all}")
                };
                errors.push(error);
            }
        }
    }
}

/// A pod's quality of service, by its spec: what it asks for against what it may use.
pub(crate) fn quality(spec: &Value) -> &'static str {
    if let Some(resources) =
        some(spec, "resources").filter(|resources| has(resources, "requests") || has(resources, "limits"))
    {
        return quality_of([resources]);
    }
    let lists = ["containers", "initContainers"];
    quality_of(lists.iter().flat_map(|name| list(spec, name)).map(|container| field(container, "resources")))
}

fn quality_of<'a>(all: impl IntoIterator<Item = &'a Value>) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    for resources in all {
        for name in ["cpu", "memory"] {
            let amount = |kind| {
                some(field(resources, kind), name).filter(|value| quantity(value).is_some_and(|it| !it.is_zero()))
            };
            let (request, limit) = (amount("requests"), amount("limits"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= match (request, limit) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(request), Some(limit)) => same(request, limit),
            };
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
