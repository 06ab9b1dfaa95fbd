//! `DefaultTolerationSeconds` and `TaintNodesByCondition`: what every pod tolerates for a while, and what every new
//! node repels until it is ready.

use serde_json::{Value, json};

use crate::{Request, text};

/// How long a pod stays on a node that is lost, in seconds.
const SECONDS: i64 = 300;

/// Adds the tolerations and taints.
pub fn admit(request: &mut Request<'_>) {
    if request.creates("nodes")
        && let Some(node) = request.object.as_deref_mut()
    {
        add(node, "taints", &json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}));
    }
    let changes_pod = request.group.is_empty() && request.resource == "pods" && request.subresource.is_empty();
    if !changes_pod {
        return;
    }
    let Some(pod) = request.object.as_deref_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = pod["spec"]["tolerations"].as_array().into_iter().flatten().any(|toleration| {
            let (own, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
            (own == key || own.is_empty()) && matches!(effect, "" | "NoExecute")
        });
        if !tolerated {
            let toleration =
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
            add(pod, "tolerations", &toleration);
        }
    }
}

fn add(object: &mut Value, list: &str, item: &Value) {
    if object["spec"].is_null() {
        object["spec"] = json!({});
    }
    if !object["spec"].is_object() {
        return;
    }
    if object["spec"][list].is_null() {
        object["spec"][list] = json!([]);
    }
    if let Some(items) = object["spec"][list].as_array_mut().filter(|items| !items.contains(item)) {
        items.push(item.clone());
    }
}
