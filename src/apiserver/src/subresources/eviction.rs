//! `pods/eviction`: a deletion that respects disruption budgets.

use std::sync::Arc;

use apimachinery::selectors::LabelSelector;
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::{
    cacher::{Entry, Scope},
    core::Core,
    encoding,
    endpoints::{
        Answer, Candidate, Context, Failure, body, delete_object,
        options::{DeleteOptions, WriteOptions},
        update_object,
    },
    fail, keys,
    registry::{
        commit::{Mutation, Outcome},
        meta,
    },
    resources::Resource,
    respond,
};

/// How often a budget that others change is charged anew.
const ATTEMPTS: usize = 16;
/// Evictions that a budget's controller has not confirmed yet, at most.
const DISRUPTED_MAX: usize = 2000;

/// Evicts a pod.
pub async fn evict(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>, request: Request<Body>) -> Answer {
    let write = WriteOptions::of(&context.uri, "CreateOptions")?;
    let bytes = body::read(request).await?;
    let target = body::Target { group: "policy".into(), version: "v1".into(), kind: "Eviction".into(), custom: None };
    let eviction = body::decode(core, &target, &context.headers, &bytes, write.field_validation, &context.warnings)?;
    let info = &context.info;
    let given = meta::text(&eviction, "name");
    if !given.is_empty() && given != info.name {
        let why = format!("the name of the object ({given}) does not match the name on the URL ({})", info.name);
        return Err(fail::bad_request(why).into());
    }
    let mut options = DeleteOptions::of(&context.uri, eviction.get("deleteOptions"))?;
    options.dry_run |= write.dry_run;
    core.cacher.fresh().await?;
    let pod = resource.cache(&core.cacher).get(&keys::object(&info.namespace, &info.name));
    let pod = pod.ok_or_else(|| Box::new(fail::not_found("", "pods", &info.name)))?;
    if needs_budget(&pod.object()) {
        charge_budget(core, &pod, &info.namespace, options.dry_run).await?;
    }
    if !options.dry_run {
        mark(core, context, resource).await?;
    }
    delete_object(core, context, resource, &info.name, &options).await?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(respond::json(StatusCode::CREATED, &status))
}

/// A pod that has ended, has not begun or is going already disrupts nothing.
fn needs_budget(pod: &Value) -> bool {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    !matches!(phase, "Succeeded" | "Failed" | "Pending") && meta::text(pod, "deletionTimestamp").is_empty()
}

/// Says in the pod's status why it goes.
async fn mark(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>) -> Result<(), Failure> {
    let now = meta::time(core.clock.now());
    let make = |mut pod: Value| -> Result<Value, Failure> {
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": now,
            "observedGeneration": meta::number(&pod, "generation").unwrap_or(1),
        });
        if !pod["status"].is_object() {
            pod["status"] = json!({});
        }
        match pod["status"].get_mut("conditions").and_then(Value::as_array_mut) {
            Some(conditions) => {
                conditions.retain(|condition| condition["type"] != "DisruptionTarget");
                conditions.push(condition);
            }
            None => pod["status"]["conditions"] = json!([condition]),
        }
        Ok(pod)
    };
    let options = WriteOptions::default();
    update_object(core, context, resource, Some("status"), Candidate::Made(&make), &options).await.map(drop)
}

/// Takes one disruption from the budget that covers the pod, if one does; nobody else can take the same one.
async fn charge_budget(core: &Core, pod: &Entry, namespace: &str, dry_run: bool) -> Result<(), Failure> {
    let Some(cache) = core.cacher.resource("policy", "poddisruptionbudgets") else { return Ok(()) };
    for _ in 0..ATTEMPTS {
        core.cacher.fresh().await?;
        let (budgets, _) = cache.list(&Scope::Namespace(namespace.to_owned()), None, |_| true);
        let covering: Vec<&Arc<Entry>> = budgets
            .iter()
            .filter(|budget| {
                let selector = budget.object().pointer("/spec/selector").map(LabelSelector::from_value);
                selector.is_some_and(|selector| selector.is_ok_and(|selector| selector.matches(&pod.labels)))
            })
            .collect();
        let budget = match covering.as_slice() {
            [] => return Ok(()),
            [budget] => *budget,
            _ => {
                let why =
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                return Err(fail::unknown(why).into());
            }
        };
        let Some(charged) = charged(&budget.object(), &pod.object(), core.clock.now())? else { return Ok(()) };
        if dry_run {
            return Ok(());
        }
        let key = keys::full("policy", "poddisruptionbudgets", namespace, budget.name());
        let mut mutation = Mutation::default();
        mutation.unchanged(key.clone(), budget.written).put(key, encoding::encode(&charged).stored().clone());
        let outcome = mutation.commit(&core.store).await.map_err(|error| Box::new(fail::store(&error)))?;
        if outcome != Outcome::Refused {
            return Ok(());
        }
    }
    Err(blocked("the disruption budget changed too often; try again", 10))
}

/// The budget with one disruption less; `None` when the pod's going costs it nothing.
fn charged(budget: &Value, pod: &Value, now: jiff::Timestamp) -> Result<Option<Value>, Failure> {
    let name = meta::text(budget, "name");
    let number = |field: &str| budget.pointer(&format!("/status/{field}")).and_then(Value::as_i64).unwrap_or(0);
    let conditions = |object: &Value| object.pointer("/status/conditions").and_then(Value::as_array).cloned();
    let is_ready = conditions(pod)
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    if !is_ready {
        let always = budget.pointer("/spec/unhealthyPodEvictionPolicy") == Some(&json!("AlwaysAllow"));
        let healthy = number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0;
        if always || healthy {
            return Ok(None);
        }
    }
    let allowed = number("disruptionsAllowed");
    let forbidden = |why: &str| -> Result<Option<Value>, Failure> {
        Err(fail::forbidden("policy", "poddisruptionbudgets", name, why).into())
    };
    if number("observedGeneration") < meta::number(budget, "generation").unwrap_or(0) {
        return Err(blocked(&format!("The disruption budget {name} is still being processed by the server."), 10));
    }
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if budget.pointer("/status/disruptedPods").and_then(Value::as_object).is_some_and(|pods| pods.len() > DISRUPTED_MAX)
    {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        let text = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("desiredHealthy"),
            number("currentHealthy")
        );
        return Err(blocked(&text, 0));
    }
    let mut changed = budget.clone();
    let status = &mut changed["status"];
    status["disruptionsAllowed"] = (allowed - 1).into();
    if !status["disruptedPods"].is_object() {
        status["disruptedPods"] = json!({});
    }
    status["disruptedPods"][meta::text(pod, "name")] = meta::time(now).into();
    let used_up = |condition: &&mut Value| condition["type"] == "DisruptionAllowed" && condition["status"] == "True";
    let list = status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten();
    for condition in list.filter(|_| allowed == 1).filter(used_up) {
        condition["status"] = "False".into();
        condition["reason"] = "InsufficientPods".into();
        condition["lastTransitionTime"] = meta::time(now).into();
    }
    Ok(Some(changed))
}

fn blocked(why: &str, retry_after_seconds: u32) -> Failure {
    let mut details = json!({"causes": [{"reason": "DisruptionBudget", "message": why}]});
    if retry_after_seconds > 0 {
        details["retryAfterSeconds"] = retry_after_seconds.into();
    }
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    Box::new(fail::status(429, "TooManyRequests", message, Some(details)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_charged_until_it_is_used_up() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let budget = |allowed: i64, observed: i64| {
            json!({"metadata": {"name": "b", "generation": 2}, "status": {"disruptionsAllowed": allowed,
                "observedGeneration": observed, "desiredHealthy": 2, "currentHealthy": 1}})
        };
        let ready = json!({"metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let left = charged(&budget(1, 2), &ready, now).unwrap().unwrap();
        assert_eq!(left["status"]["disruptionsAllowed"], 0);
        assert_eq!(left["status"]["disruptedPods"], json!({"p": "2026-01-01T00:00:00Z"}));
        for (budget, cause) in [
            (budget(0, 2), "The disruption budget b needs 2 healthy pods and has 1 currently"),
            (budget(1, 1), "The disruption budget b is still being processed by the server."),
        ] {
            let failure = charged(&budget, &ready, now).unwrap_err();
            assert_eq!(fail::code_of(&failure), 429);
            assert_eq!(failure.details.unwrap().causes[0].message, cause);
        }
        let mut lenient = budget(0, 2);
        lenient["spec"] = json!({"unhealthyPodEvictionPolicy": "AlwaysAllow"});
        assert_eq!(charged(&lenient, &json!({}), now).unwrap(), None);
    }
}
