//! Objects as tables: the columns and cells that `kubectl get` shows, resource by resource. Columns are data (`data/printer-columns.tsv`).

mod cell;
mod cluster;
mod network;
mod pods;
mod storage;
mod workloads;

use std::{collections::HashMap, sync::LazyLock};

use jiff::Timestamp;
use serde_json::{Value, json};

use self::cell::Cells;
use crate::kinds::base_path;

const COLUMNS: &str = include_str!("../../data/printer-columns.tsv");

/// The definitions of a resource's columns.
pub fn columns(group: &str, version: &str, resource: &str) -> Value {
    static TABLE: LazyLock<HashMap<&str, Value>> = LazyLock::new(|| {
        let rows = COLUMNS.lines().filter_map(|line| line.split_once('\t').filter(|_| !line.starts_with('#')));
        rows.map(|(path, columns)| (path, columns.split(" | ").map(column).collect())).collect()
    });
    let path = format!("{}/{resource}", base_path(group, version));
    TABLE
        .get(path.as_str())
        .cloned()
        .unwrap_or_else(|| json!([column("Name:string:name:0"), column("Created At:date::0")]))
}

fn column(text: &str) -> Value {
    let mut parts = text.rsplitn(4, ':');
    let priority: i32 = parts.next().and_then(|priority| priority.parse().ok()).unwrap_or_default();
    let format = parts.next().unwrap_or_default();
    let kind = parts.next().unwrap_or_default();
    json!({"name": parts.next(), "type": kind, "format": format, "description": "", "priority": priority})
}

/// The row of an object, without the object.
pub fn row(group: &str, resource: &str, object: &Value, now: Timestamp) -> Value {
    let at = Cells { object, now };
    let cells = match (group, resource) {
        ("", _) => pods::cells(resource, &at)
            .or_else(|| workloads::core(resource, &at))
            .or_else(|| network::core(resource, &at))
            .or_else(|| storage::core(resource, &at))
            .or_else(|| cluster::core(resource, &at)),
        ("apps" | "batch" | "autoscaling" | "policy", _) => workloads::cells(resource, &at),
        ("networking.k8s.io" | "discovery.k8s.io", _) => network::cells(resource, &at),
        ("storage.k8s.io" | "resource.k8s.io", _) => storage::cells(resource, &at),
        ("events.k8s.io", "events") => cluster::core(resource, &at),
        _ => cluster::cells(group, resource, &at),
    };
    let created = || vec![at.name(), at.text("/metadata/creationTimestamp").into()];
    let mut row = json!({"cells": cells.unwrap_or_else(created)});
    if (group, resource) == ("", "pods")
        && let Some(condition) = pods::condition(&at)
    {
        row["conditions"] = json!([condition]);
    }
    row
}

/// The table of objects, whose rows say `null` of the objects themselves.
pub fn table(group: &str, version: &str, resource: &str, objects: &[Value], now: Timestamp) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut row = row(group, resource, object, now);
            row["object"] = Value::Null;
            row
        })
        .collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": columns(group, version, resource), "rows": rows})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Registry;

    fn now() -> Timestamp {
        "2026-01-01T00:10:00Z".parse().unwrap()
    }

    #[test]
    fn every_row_has_a_cell_for_every_column_whatever_the_object_lacks() {
        for info in Registry::builtin().resources().iter().filter(|info| info.is_stored()) {
            for object in [json!({}), json!({"metadata": {"name": "x"}, "spec": null, "status": {}})] {
                let table = table(&info.group, &info.version, &info.resource, std::slice::from_ref(&object), now());
                let columns = table["columnDefinitions"].as_array().map(Vec::len);
                assert_eq!(
                    table["rows"][0]["cells"].as_array().map(Vec::len),
                    columns,
                    "{} {}",
                    info.group,
                    info.resource
                );
            }
        }
    }

    #[test]
    fn a_pod_shows_why_it_does_not_run() {
        let pod = |spec: Value, status: Value| {
            let object = json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec, "status": status});
            row("", "pods", &object, now())["cells"].as_array().unwrap()[1..5].to_vec()
        };
        let two = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let crash = json!({"phase": "Running", "containerStatuses": [
            {"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}},
            {"name": "b", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"finishedAt": "2026-01-01T00:08:00Z"}}},
        ]});
        assert_eq!(
            pod(two.clone(), crash),
            [json!("1/2"), json!("CrashLoopBackOff"), json!("3 (2m ago)"), json!("10m")]
        );
        let init = json!({"initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "a"}]});
        let waiting = json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "restartCount": 0, "state": {"running": {}}}]});
        assert_eq!(pod(init, waiting), [json!("0/2"), json!("Init:0/2"), json!("0"), json!("10m")]);
        let done = json!({"phase": "Succeeded", "containerStatuses": [{"restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]});
        assert_eq!(pod(two, done)[1], "Completed");
    }

    #[test]
    fn cells_are_those_of_kube_apiserver() {
        for (group, resource, object, want) in [
            (
                "",
                "services",
                json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}], "selector": {"b": "2", "a": "1"}}}),
                json!(["s", "NodePort", "10.0.0.1", "<none>", "80:30080/TCP", "<unknown>", "a=1,b=2"]),
            ),
            (
                "",
                "nodes",
                json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}}, "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1"}}}),
                json!([
                    "n",
                    "Ready,SchedulingDisabled",
                    "control-plane",
                    "<unknown>",
                    "v1",
                    "<none>",
                    "<none>",
                    "<unknown>",
                    "<unknown>",
                    "<unknown>"
                ]),
            ),
            (
                "batch",
                "jobs",
                json!({"metadata": {"name": "j"}, "spec": {"completions": 2}, "status": {"succeeded": 1, "startTime": "2026-01-01T00:09:00Z"}}),
                json!(["j", "Running", "1/2", "60s", "<unknown>", "", "", "<none>"]),
            ),
            (
                "autoscaling",
                "horizontalpodautoscalers",
                json!({"metadata": {"name": "h"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}]}}),
                json!(["h", "Deployment/d", "cpu: <unknown>/80%", "<unset>", 3, 0, "<unknown>"]),
            ),
            (
                "rbac.authorization.k8s.io",
                "roles",
                json!({"metadata": {"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"}}),
                json!(["r", "2026-01-01T00:00:00Z"]),
            ),
        ] {
            assert_eq!(row(group, resource, &object, now())["cells"], want, "{resource}");
        }
    }
}
