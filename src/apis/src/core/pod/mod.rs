//! Pods.

mod defaults;

pub(crate) use defaults::spec_defaults;
use serde_json::{Value, json};

use crate::{
    json::{default, with},
    kind::Kind,
};

pub(crate) struct Pod;

impl Kind for Pod {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, object: &Value) -> Value {
        json!({"phase": "Pending", "qosClass": quality(object)})
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            spec_defaults(spec);
            default(spec, "enableServiceLinks", true);
        });
    }
}

/// A pod's quality of service: what it asks for against what it may use.
fn quality(pod: &Value) -> &'static str {
    let lists = ["containers", "initContainers"];
    let containers =
        lists.iter().filter_map(|list| pod.pointer(&format!("/spec/{list}"))).filter_map(Value::as_array).flatten();
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        for resource in ["cpu", "memory"] {
            let request = container.pointer(&format!("/resources/requests/{resource}"));
            let limit = container.pointer(&format!("/resources/limits/{resource}"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_what_a_client_leaves_out() {
        let container = json!({"name": "c", "image": "a", "ports": [{"containerPort": 80}]});
        let mut object = json!({"metadata": {}, "spec": {"containers": [container]}});
        crate::set_defaults("", "v1", "Pod", &mut object);
        assert_eq!(object["spec"]["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(object["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(object["spec"]["restartPolicy"], "Always");
        let again = object.clone();
        crate::set_defaults("", "v1", "Pod", &mut object);
        assert_eq!(object, again, "defaults do not change what is there");
    }
}
