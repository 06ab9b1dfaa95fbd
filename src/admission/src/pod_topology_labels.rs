//! `PodTopologyLabels`: a pod that is made on a node carries the labels that say where the node is. (One that the scheduler binds gets
//! them then.)

use auth::ObjectReader;
use serde_json::{Value, json};

use crate::{Request, text};

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Adds them, over what the pod says itself.
pub fn admit(request: &mut Request<'_>, reader: &dyn ObjectReader) {
    if !request.creates("pods") {
        return;
    }
    let Some(pod) = request.object.as_deref_mut() else { return };
    let name = text(pod, "/spec/nodeName");
    if name.is_empty() {
        return;
    }
    let Some(node) = reader.get("", "nodes", "", name) else { return };
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object);
    let told = labels.into_iter().flatten().filter(|(key, _)| LABELS.contains(&key.as_str()));
    for (key, value) in told {
        let own = &mut pod["metadata"]["labels"];
        if !own.is_object() {
            *own = json!({});
        }
        own[key.as_str()] = value.clone();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use auth::UserInfo;

    use super::*;
    use crate::Operation;

    struct Nodes(Value);

    impl ObjectReader for Nodes {
        fn get(&self, _: &str, resource: &str, _: &str, name: &str) -> Option<Arc<Value>> {
            (resource == "nodes" && self.0["metadata"]["name"] == name).then(|| Arc::new(self.0.clone()))
        }

        fn list(&self, _: &str, _: &str, _: Option<&str>) -> Vec<Arc<Value>> {
            Vec::new()
        }
    }

    #[test]
    fn a_pod_made_on_a_node_is_where_the_node_is() {
        let labels = json!({"topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r", "other": "x"});
        let nodes = Nodes(json!({"metadata": {"name": "n", "labels": labels}}));
        let labelled = |operation: Operation, node: &str| {
            let own = json!({"app": "a", "topology.kubernetes.io/zone": "mine"});
            let mut pod = json!({"metadata": {"labels": own}, "spec": {"nodeName": node}});
            let user = UserInfo::default();
            let mut request = Request {
                user: &user,
                operation,
                group: "",
                version: "v1",
                resource: "pods",
                subresource: "",
                kind: "Pod",
                namespace: "default",
                name: "p",
                object: Some(&mut pod),
                old: None,
                dry_run: false,
                options: &Value::Null,
            };
            admit(&mut request, &nodes);
            pod["metadata"]["labels"].take()
        };
        let own = json!({"app": "a", "topology.kubernetes.io/zone": "mine"});
        assert_eq!(
            labelled(Operation::Create, "n"),
            json!({"app": "a", "topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r"})
        );
        assert_eq!(labelled(Operation::Create, ""), own, "the scheduler will say where");
        assert_eq!(labelled(Operation::Create, "gone"), own);
        assert_eq!(labelled(Operation::Update, "n"), own);
    }
}
