//! Services.

use apimachinery::names;
use serde_json::{Value, json};

use crate::{
    json::{default, each, field, text, with},
    kind::Kind,
};

pub(crate) struct Service;

impl Kind for Service {
    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"loadBalancer": {}})
    }

    fn check_name(&self, name: &str) -> Vec<String> {
        names::is_dns1123_label(name)
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", spec_defaults);
    }
}

fn spec_defaults(spec: &mut Value) {
    default(spec, "type", "ClusterIP");
    default(spec, "sessionAffinity", "None");
    if text(spec, "sessionAffinity") == "ClientIP" {
        default(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
    }
    let kind = text(spec, "type").to_owned();
    if kind != "ExternalName" {
        default(spec, "internalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        default(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    }
    each(spec, "ports", |port| {
        default(port, "protocol", "TCP");
        let number = field(port, "port").clone();
        default(port, "targetPort", number);
    });
}
