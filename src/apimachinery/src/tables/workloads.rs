//! Workloads, and what scales and protects them.

use serde_json::Value;

use super::cell::Cells;
use crate::duration;

pub(super) fn core(resource: &str, at: &Cells<'_>) -> Option<Vec<Value>> {
    let [names, images] = at.containers(if resource == "podtemplates" { "/template" } else { "/spec/template" });
    Some(match resource {
        "replicationcontrollers" => vec![
            at.name(),
            at.number("/spec/replicas").into(),
            at.number("/status/replicas").into(),
            at.number("/status/readyReplicas").into(),
            at.age(),
            names,
            images,
            at.labels("/spec/selector"),
        ],
        "podtemplates" => vec![at.name(), names, images, at.labels("/template/metadata/labels")],
        _ => return None,
    })
}

pub(super) fn cells(resource: &str, at: &Cells<'_>) -> Option<Vec<Value>> {
    let [names, images] = at.containers("/spec/template");
    let ready = || format!("{}/{}", at.number("/status/readyReplicas"), at.number("/spec/replicas")).into();
    let selector = at.selector("/spec/selector");
    Some(match resource {
        "deployments" => vec![
            at.name(),
            ready(),
            at.number("/status/updatedReplicas").into(),
            at.number("/status/availableReplicas").into(),
            at.age(),
            names,
            images,
            if selector == "<none>" { "".into() } else { selector },
        ],
        "replicasets" => vec![
            at.name(),
            at.number("/spec/replicas").into(),
            at.number("/status/replicas").into(),
            at.number("/status/readyReplicas").into(),
            at.age(),
            names,
            images,
            selector,
        ],
        "statefulsets" => vec![at.name(), ready(), at.age(), names, images],
        "daemonsets" => {
            let mut cells = vec![at.name()];
            for count in [
                "desiredNumberScheduled",
                "currentNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
            ] {
                cells.push(at.number(&format!("/status/{count}")).into());
            }
            cells.extend([at.labels("/spec/template/spec/nodeSelector"), at.age(), names, images, selector]);
            cells
        }
        "controllerrevisions" => {
            vec![at.name(), controller(at), at.number("/revision").into(), at.age()]
        }
        "jobs" => vec![
            at.name(),
            job_status(at).into(),
            completions(at).into(),
            job_duration(at).into(),
            at.age(),
            names,
            images,
            selector,
        ],
        "cronjobs" => {
            let [names, images] = at.containers("/spec/jobTemplate/spec/template");
            let last = if at.get("/status/lastScheduleTime").is_some() {
                at.since("/status/lastScheduleTime")
            } else {
                "<none>".into()
            };
            let suspends =
                at.get("/spec/suspend").map_or("<unset>", |_| if at.flag("/spec/suspend") { "True" } else { "False" });
            vec![
                at.name(),
                at.text("/spec/schedule").into(),
                at.text_or("/spec/timeZone", "<none>"),
                suspends.into(),
                at.items("/status/active").len().into(),
                last.into(),
                at.age(),
                names,
                images,
                at.selector("/spec/jobTemplate/spec/selector"),
            ]
        }
        "horizontalpodautoscalers" => {
            let target = format!("{}/{}", at.text("/spec/scaleTargetRef/kind"), at.text("/spec/scaleTargetRef/name"));
            let min = at.get("/spec/minReplicas").map_or_else(|| "<unset>".to_owned(), ToString::to_string);
            let (max, current) = (at.number("/spec/maxReplicas"), at.number("/status/currentReplicas"));
            vec![at.name(), target.into(), metrics(at).into(), min.into(), max.into(), current.into(), at.age()]
        }
        "poddisruptionbudgets" => {
            let bound = |pointer: &str| match at.get(pointer) {
                None => "N/A".into(),
                Some(Value::String(text)) => Value::from(text.as_str()),
                Some(other) => other.to_string().into(),
            };
            let (min, max) = (bound("/spec/minAvailable"), bound("/spec/maxUnavailable"));
            vec![at.name(), min, max, at.number("/status/disruptionsAllowed").into(), at.age()]
        }
        _ => return None,
    })
}

/// The object that controls a revision: `statefulset.apps/x`.
fn controller(at: &Cells<'_>) -> Value {
    let Some(owner) = crate::meta::controller_of(at.object) else { return "<none>".into() };
    let (group, _) = crate::kinds::split_api_version(owner.api_version);
    let kind = owner.kind.to_lowercase();
    if group.is_empty() {
        format!("{kind}/{}", owner.name).into()
    } else {
        format!("{kind}.{group}/{}", owner.name).into()
    }
}

fn job_status(at: &Cells<'_>) -> &'static str {
    let has = |kind: &str| at.condition(kind) == "True";
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if at.is_deleting() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(at: &Cells<'_>) -> String {
    let succeeded = at.number("/status/succeeded");
    match at.get("/spec/completions") {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None if at.number("/spec/parallelism") > 1 => format!("{succeeded}/1 of {}", at.number("/spec/parallelism")),
        None => format!("{succeeded}/1"),
    }
}

fn job_duration(at: &Cells<'_>) -> String {
    let time = |pointer: &str| at.text(pointer).parse::<jiff::Timestamp>().ok();
    let Some(start) = time("/status/startTime") else { return String::new() };
    let end = time("/status/completionTime").unwrap_or(at.now);
    duration::human(duration::whole_seconds(start, end))
}

/// What an autoscaler measures against what it wants.
fn metrics(at: &Cells<'_>) -> String {
    let current = at.items("/status/currentMetrics");
    let mut shown = Vec::new();
    for (index, metric) in at.items("/spec/metrics").iter().enumerate() {
        let (source, prefix) = match metric["type"].as_str().unwrap_or_default() {
            "Resource" => ("resource", true),
            "ContainerResource" => ("containerResource", true),
            "Pods" => ("pods", false),
            "Object" => ("object", false),
            "External" => ("external", false),
            _ => {
                shown.push("<unknown type>".to_owned());
                continue;
            }
        };
        let target = &metric[source]["target"];
        let present = current.get(index).map(|metric| &metric[source]["current"]);
        let text = |value: Option<&Value>| match value {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        };
        let field = if source == "pods" || target.get("averageValue").is_some_and(|value| !value.is_null()) {
            "averageValue"
        } else if prefix {
            "averageUtilization"
        } else {
            "value"
        };
        let unit = if field == "averageUtilization" { "%" } else { "" };
        let of = |value: Option<&Value>, none: &str| text(value).map_or_else(|| none.to_owned(), |text| text + unit);
        let now = of(present.and_then(|present| present.get(field)), "<unknown>");
        let wanted = of(target.get(field), if prefix { "<auto>" } else { "" });
        let average = if field == "averageValue" && matches!(source, "object" | "external") { " (avg)" } else { "" };
        let name =
            if prefix { format!("{}: ", metric[source]["name"].as_str().unwrap_or_default()) } else { String::new() };
        shown.push(format!("{name}{now}/{wanted}{average}"));
    }
    if shown.is_empty() {
        return "<none>".into();
    }
    let more = shown.len().saturating_sub(2);
    shown.truncate(2);
    let shown = shown.join(", ");
    if more > 0 { format!("{shown} + {more} more...") } else { shown }
}
