//! Admission by policies: ValidatingAdmissionPolicies and MutatingAdmissionPolicies, whose rules are expressions in CEL, and the conditions
//! under which they and webhooks apply.
//!
//! A policy does nothing by itself: its bindings say where it holds, with which parameters. Expressions are compiled once for each version
//! of an object; while there is no policy, a request only looks at whether the list is empty.

mod compiled;
mod mutating;
mod scene;
mod validating;

use std::sync::Arc;

use apimachinery::kinds;
use serde_json::Value;

pub use self::{
    compiled::Cache,
    mutating::mutate,
    scene::{Applies, Scene, applies},
    validating::validate,
};
use crate::{
    cacher::{Entry, Scope},
    webhooks::{
        Asked,
        matching::{self, Subject},
    },
};

const GROUP: &str = "admissionregistration.k8s.io";

/// Policies of a kind with a binding each, in order of their names; none for requests that policies are not asked about.
fn bound(asked: &Asked<'_>, policies: &str, bindings: &str) -> Vec<(Arc<Entry>, Arc<Value>)> {
    let Some(cache) = asked.core.cacher.resource(GROUP, policies).filter(|cache| !cache.is_empty()) else {
        return Vec::new();
    };
    let resource = asked.resource;
    // What decides about admission is not decided about by it: nobody could mend a broken policy.
    if resource.group == GROUP || matches!(resource.group.as_str(), "authentication.k8s.io" | "authorization.k8s.io") {
        return Vec::new();
    }
    let Some(bindings) = asked.core.cacher.resource(GROUP, bindings).filter(|cache| !cache.is_empty()) else {
        return Vec::new();
    };
    let bindings: Vec<Arc<Value>> =
        bindings.list(&Scope::All, None, |_| true).0.iter().map(|entry| entry.object()).collect();
    let policies = cache.list(&Scope::All, None, |_| true).0;
    let of = |policy: Arc<Entry>| {
        let name = policy.name().to_owned();
        let own: Vec<_> =
            bindings.iter().filter(|binding| binding["spec"]["policyName"] == name.as_str()).cloned().collect();
        own.into_iter().map(move |binding| (policy.clone(), binding))
    };
    policies.into_iter().flat_map(of).collect()
}

/// Whether constraints of a policy, or of a binding, are about a request; missing ones are about all.
fn matches(asked: &Asked<'_>, constraints: Option<&Value>, object: Option<&Value>, old: Option<&Value>) -> bool {
    let Some(constraints) = constraints.filter(|constraints| constraints.is_object()) else { return true };
    let subject = subject(asked);
    let any = |field: &str| matching::any_rule(&constraints[field], &subject, asked.name);
    let listed = constraints["resourceRules"].as_array().is_some_and(|rules| !rules.is_empty());
    if listed && !any("resourceRules") || any("excludeResourceRules") {
        return false;
    }
    let objects: Vec<&Value> = object.into_iter().chain(old).collect();
    let of_namespace = namespace(asked, object, old);
    of_namespace.is_none_or(|namespace| matching::by_labels(constraints, "namespaceSelector", &[&namespace]))
        && matching::by_labels(constraints, "objectSelector", &objects)
}

fn subject<'a>(asked: &Asked<'a>) -> Subject<'a> {
    Subject {
        operation: crate::webhooks::operation(asked.operation),
        group: &asked.resource.group,
        version: &asked.resource.version,
        resource: &asked.resource.name,
        subresource: asked.subresource,
        namespace: asked.resource.namespace_of(&asked.context.info),
    }
}

/// The namespace that a request is in, or is about.
fn namespace(asked: &Asked<'_>, object: Option<&Value>, old: Option<&Value>) -> Option<Arc<Value>> {
    if asked.resource.group.is_empty() && asked.resource.name == "namespaces" {
        return object.or(old).map(|namespace| Arc::new(namespace.clone()));
    }
    let name = asked.resource.namespace_of(&asked.context.info);
    asked.core.cacher.resource("", "namespaces")?.get(name).map(|entry| entry.object())
}

/// The parameters that a binding names; one `None` for a policy that has none.
///
/// # Errors
/// When they are not there and must be.
fn params(asked: &Asked<'_>, policy: &Value, binding: &Value) -> Result<Vec<Option<Arc<Value>>>, String> {
    let kind = &policy["spec"]["paramKind"];
    let wanted = &binding["spec"]["paramRef"];
    if !kind.is_object() || !wanted.is_object() {
        return Ok(vec![None]);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&kind["apiVersion"]), text(&kind["kind"]));
    let (group, version) = kinds::split_api_version(&api_version);
    let table = asked.core.table();
    let resource = table.resources(group, version).iter().find(|resource| resource.kind == kind).cloned();
    let Some(resource) = resource else {
        return Err(format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'"));
    };
    let scope = if resource.namespaced {
        let own = asked.resource.namespace_of(&asked.context.info);
        match text(&wanted["namespace"]) {
            given if !given.is_empty() => Scope::Namespace(given),
            _ if own.is_empty() => {
                return Err(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into()
                );
            }
            _ => Scope::Namespace(own.to_owned()),
        }
    } else {
        Scope::All
    };
    let name = text(&wanted["name"]);
    let selector = Some(&wanted["selector"]).filter(|selector| selector.is_object());
    let selector = selector
        .map(apimachinery::selectors::LabelSelector::from_value)
        .transpose()
        .map_err(|error| error.to_string())?;
    let list = resource.cache(&asked.core.cacher).list(&scope, None, |_| true).0;
    let found: Vec<Option<Arc<Value>>> = list
        .iter()
        .filter(|entry| name.is_empty() || entry.name() == name)
        .map(|entry| entry.object())
        .filter(|object| selector.as_ref().is_none_or(|selector| selector.matches_object(object)))
        .map(Some)
        .collect();
    if found.is_empty() && wanted["parameterNotFoundAction"] == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found)
}
