//! `pods/eviction`: a deletion that respects disruption budgets.

use std::sync::Arc;

use apimachinery::selectors::LabelSelector;
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::{
    cacher::{Entry, Scope},
    core::Core,
    endpoints::{
        Answer, Context, Failure, body, delete_object,
        options::{DeleteOptions, WriteOptions},
    },
    fail, keys,
    registry::meta,
    resources::Resource,
    respond,
};

/// Evicts a pod.
pub async fn evict(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>, request: Request<Body>) -> Answer {
    let write = WriteOptions::of(&context.uri, "CreateOptions")?;
    let bytes = body::read(request).await?;
    let target = body::Target { group: "policy".into(), version: "v1".into(), kind: "Eviction".into() };
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
        check_budgets(core, &pod, &info.namespace)?;
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

fn check_budgets(core: &Core, pod: &Entry, namespace: &str) -> Result<(), Failure> {
    let Some(budgets) = core.cacher.resource("policy", "poddisruptionbudgets") else { return Ok(()) };
    let (budgets, _) = budgets.list(&Scope::Namespace(namespace.to_owned()), None, |_| true);
    let covering: Vec<Arc<Value>> = budgets
        .iter()
        .map(|budget| budget.object())
        .filter(|budget| {
            let selector = budget.pointer("/spec/selector").map(LabelSelector::from_value);
            selector.is_some_and(|selector| selector.is_ok_and(|selector| selector.matches(&pod.labels)))
        })
        .collect();
    match covering.as_slice() {
        [] => Ok(()),
        [budget] => {
            let name = meta::text(budget, "name");
            let allowed = budget.pointer("/status/disruptionsAllowed").and_then(Value::as_i64).unwrap_or(0);
            let observed = budget.pointer("/status/observedGeneration").and_then(Value::as_i64).unwrap_or(0);
            if observed < meta::number(budget, "generation").unwrap_or(0) {
                return Err(blocked(
                    &format!("The disruption budget {name} is still being processed by the server."),
                    10,
                ));
            }
            if allowed > 0 {
                return Ok(());
            }
            let number = |field: &str| budget.pointer(&format!("/status/{field}")).and_then(Value::as_i64).unwrap_or(0);
            let text = format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                number("desiredHealthy"),
                number("currentHealthy")
            );
            Err(blocked(&text, 0))
        }
        _ => Err(fail::unknown(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )
        .into()),
    }
}

fn blocked(why: &str, retry_after_seconds: u32) -> Failure {
    let mut details = json!({"causes": [{"reason": "DisruptionBudget", "message": why}]});
    if retry_after_seconds > 0 {
        details["retryAfterSeconds"] = retry_after_seconds.into();
    }
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    Box::new(fail::status(429, "TooManyRequests", message, Some(details)))
}
