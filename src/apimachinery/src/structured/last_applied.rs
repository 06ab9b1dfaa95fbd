//! The way from `kubectl apply` as it was to server-side apply: an annotation in which kubectl kept what it had applied last.
//!
//! When kubectl applies to an object that has the annotation, what stands in it counts as kubectl's own, and the annotation is kept true, so
//! that one may still go back.

use serde_json::Value;

use super::{
    compare::Difference,
    managers::{Applied, ApplyError, Conflict, Request, apply_once},
    merge::paths_of,
};
use crate::meta;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that says of itself that it is kubectl.
const KUBECTL: &str = "kubectl";
/// Bytes of an object's annotations at most; what does not fit is not kept.
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// The object that applying `config` makes of `live`, and who owns what then. `live` is `None` when there is no object yet.
///
/// # Errors
/// When it does not fit the schema, and, unless it is forced, when it changes what others own.
pub fn apply(request: &Request<'_>, live: Option<&Value>, config: &Value, force: bool) -> Result<Applied, ApplyError> {
    let applied = apply_once(request, live, config, force);
    let Some(last) = live.and_then(|live| meta::annotation(live, LAST_APPLIED)).filter(|_| request.manager == KUBECTL)
    else {
        return applied;
    };
    let mut applied = match (applied, live) {
        (Err(ApplyError::Conflicts(conflicts)), Some(live)) => {
            let conflicts = unexpected(request, live, last, conflicts);
            if !conflicts.is_empty() {
                return Err(ApplyError::Conflicts(conflicts));
            }
            apply_once(request, Some(live), config, true)?
        }
        (applied, _) => applied?,
    };
    keep(&mut applied, config);
    Ok(applied)
}

/// The conflicts about fields that kubectl did not apply, or that somebody changed since.
fn unexpected(request: &Request<'_>, live: &Value, last: &str, conflicts: Vec<Conflict>) -> Vec<Conflict> {
    let Ok(last) = serde_json::from_str::<Value>(last) else { return conflicts };
    let difference = Difference::between(request.schema, &last, live);
    let own = paths_of(request.schema, &last)
        .difference(&difference.modified)
        .difference(&difference.added)
        .difference(&difference.removed)
        .paths();
    conflicts.into_iter().filter(|conflict| !own.contains(&conflict.path)).collect()
}

/// Writes down what was applied.
fn keep(applied: &mut Applied, config: &Value) {
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    let text = format!("{}\n", crate::gotext::json(&config));
    let Some(annotations) = applied.object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else {
        return;
    };
    let size = |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
    let others: usize = annotations.iter().filter(|(key, _)| *key != LAST_APPLIED).map(size).sum();
    if others + LAST_APPLIED.len() + text.len() > ANNOTATIONS_MAX {
        applied.changed |= annotations.remove(LAST_APPLIED).is_some();
    } else if annotations.get(LAST_APPLIED).and_then(Value::as_str) != Some(text.as_str()) {
        annotations.insert(LAST_APPLIED.to_owned(), text.into());
        applied.changed = true;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{schema::builtin, structured::managers};

    #[test]
    fn kubectl_takes_over_what_it_applied_and_nobody_changed_since() {
        let schema = builtin::of("", "v1", "ConfigMap").unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let request = |manager| Request { schema: &schema, api_version: "v1", side: None, manager, now };
        let config = |a: &str, b: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": a, "b": b}});
        let mut live = config("1", "2");
        live["metadata"]["uid"] = "u".into();
        live["metadata"]["annotations"] = json!({LAST_APPLIED: config("1", "2").to_string()});
        managers::create(&request("kubectl-client-side-apply"), &mut live);
        let applied = apply(&request(KUBECTL), Some(&live), &config("9", "2"), false).unwrap().object;
        assert_eq!(applied["data"]["a"], "9");
        assert_eq!(meta::annotation(&applied, LAST_APPLIED).unwrap().trim_end(), config("9", "2").to_string());
        assert!(apply(&request("other"), Some(&live), &config("9", "2"), false).is_err());
        live["data"]["a"] = "changed".into();
        let error = apply(&request(KUBECTL), Some(&live), &config("9", "2"), false).unwrap_err();
        assert!(error.to_string().contains(".data.a"), "{error}");
    }
}
