//! Services. What they are given (addresses, node ports) is chosen elsewhere; here is what a client may ask for.

mod addresses;
mod carry_over;
pub(crate) mod validate;

use apimachinery::{
    field::{ErrorList, Path},
    meta, names,
};
use serde_json::{Value, json};

use crate::{
    ip,
    json::{self, default, default_text, each, field, has, list, text, with},
    kind::Kind,
    metadata,
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
        if type_of(object) == "LoadBalancer" {
            with(object, "status", |status| {
                with(status, "loadBalancer", |balancer| {
                    each(balancer, "ingress", |ingress| {
                        if !text(ingress, "ip").is_empty() {
                            default(ingress, "ipMode", "VIP");
                        }
                    });
                });
            });
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        with(object, "spec", addresses::infer);
    }

    fn prepare_for_update(&self, subresource: Option<&str>, new: &mut Value, old: &Value) {
        if subresource.is_none()
            && let Some(spec) = new.get_mut("spec")
        {
            carry_over::keep_given(spec, field(old, "spec"));
            carry_over::drop_unneeded(spec, field(old, "spec"));
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        let spec = field(object, "spec");
        let wrong = addresses::check(spec, &Value::Null);
        if !wrong.is_empty() {
            // Nothing can be given out by such a request, so that nothing else of it is looked at.
            *errors = wrong;
            return;
        }
        validate::validate(object, &Value::Null, errors);
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (spec, old_spec) = (field(new, "spec"), field(old, "spec"));
        if subresource == Some("status") {
            let status = field(field(new, "status"), "loadBalancer");
            let before = field(field(old, "status"), "loadBalancer");
            let path = Path::new("status").child("loadBalancer");
            validate::load_balancer_status(status, before, Some(text(spec, "type")), &path, errors);
            return;
        }
        let wrong = addresses::check(spec, old_spec);
        if !wrong.is_empty() {
            *errors = wrong;
            return;
        }
        addresses::check_change(spec, old_spec, errors);
        validate::balancer_class_change(spec, old_spec, errors);
        metadata::validate(&|name| self.check_name(name), new, errors);
        validate::validate(new, old_spec, errors);
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>, warnings: &mut Vec<String>) {
        const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
        if meta::annotation(object, HINTS).is_some() {
            warnings.push(format!(
                "annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
            ));
        }
        let (path, spec) = (Path::new("spec"), field(object, "spec"));
        let texts = |name: &'static str| list(spec, name).iter().filter_map(Value::as_str).enumerate();
        if kind_of(spec) != "ExternalName" && !matches!(text(spec, "clusterIP"), "" | "None") {
            for (index, address) in texts("clusterIPs") {
                ip::warn(&path.child("clusterIPs").index(index), address, warnings);
            }
        }
        for (index, address) in texts("externalIPs") {
            ip::warn(&path.child("externalIPs").index(index), address, warnings);
        }
        ip::warn(&path.child("loadBalancerIP"), text(spec, "loadBalancerIP"), warnings);
        for (index, range) in texts("loadBalancerSourceRanges") {
            ip::warn_range(&path.child("loadBalancerSourceRanges").index(index), range, warnings);
        }
        if kind_of(spec) == "ExternalName" && has(spec, "externalIPs") {
            warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
        }
        if is_headless(spec) {
            if !text(spec, "loadBalancerIP").is_empty() {
                warnings.push("spec.loadBalancerIP is ignored for headless services".into());
            }
            if has(spec, "externalIPs") {
                warnings.push("spec.externalIPs is ignored for headless services".into());
            }
            if text(spec, "sessionAffinity") != "None" {
                warnings.push("spec.SessionAffinity is ignored for headless services".into());
            }
        }
    }
}

fn spec_defaults(spec: &mut Value) {
    default_text(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => json::take(spec, "sessionAffinityConfig"),
        "ClientIP" => {
            let seconds = spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds");
            if seconds.is_none_or(Value::is_null) {
                spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10800}});
            }
        }
        _ => {}
    }
    default_text(spec, "type", "ClusterIP");
    let exposed = is_exposed(spec);
    let kind = text(spec, "type").to_owned();
    if exposed {
        default_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        default(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    }
    each(spec, "ports", |port| {
        default_text(port, "protocol", "TCP");
        if matches!(field(port, "targetPort"), Value::Null) || port["targetPort"] == 0 || port["targetPort"] == "" {
            port["targetPort"] = field(port, "port").as_i64().unwrap_or_default().into();
        }
    });
}

fn type_of(object: &Value) -> &str {
    kind_of(field(object, "spec"))
}

/// The type of a Service's spec.
fn kind_of(spec: &Value) -> &str {
    text(spec, "type")
}

/// Whether it has endpoints by name only.
fn is_headless(spec: &Value) -> bool {
    kind_of(spec) != "ExternalName"
        && (matches!(list(spec, "clusterIPs"), [one] if one == "None") || text(spec, "clusterIP") == "None")
}

/// Whether it can be reached from outside.
fn is_exposed(spec: &Value) -> bool {
    match kind_of(spec) {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !list(spec, "externalIPs").is_empty(),
        _ => false,
    }
}

/// Whether load balancers ask its nodes if they have endpoints.
fn needs_health_check(spec: &Value) -> bool {
    kind_of(spec) == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

fn needs_addresses(spec: &Value) -> bool {
    matches!(kind_of(spec), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_node_ports(spec: &Value) -> bool {
    kind_of(spec) == "NodePort"
        || (kind_of(spec) == "LoadBalancer" && field(spec, "allocateLoadBalancerNodePorts") != &Value::Bool(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: Value) -> Value {
        let mut object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec});
        crate::set_defaults("", "v1", "Service", &mut object);
        object
    }

    fn said(spec: Value) -> Vec<String> {
        let errors = crate::validate_create("", "Service", &service(spec));
        errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect()
    }

    #[test]
    fn what_a_client_leaves_out_depends_on_the_type() {
        let spec = |spec| service(spec)["spec"].clone();
        let plain = spec(json!({"ports": [{"port": 80}]}));
        assert_eq!(plain["ports"][0], json!({"port": 80, "protocol": "TCP", "targetPort": 80}));
        assert_eq!((&plain["type"], &plain["internalTrafficPolicy"]), (&json!("ClusterIP"), &json!("Cluster")));
        assert!(plain.get("externalTrafficPolicy").is_none());
        let balanced = spec(json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP"}));
        assert_eq!(balanced["externalTrafficPolicy"], "Cluster");
        assert_eq!(balanced["allocateLoadBalancerNodePorts"], true);
        assert_eq!(balanced["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10800);
        assert!(spec(json!({"type": "ExternalName"})).get("internalTrafficPolicy").is_none());
    }

    #[test]
    fn a_service_is_told_what_is_wrong_with_it() {
        let cases: &[(Value, &[&str])] = &[
            (json!({"ports": [{"port": 80}]}), &[]),
            (json!({}), &["spec.ports: Required value"]),
            (json!({"clusterIP": "None", "clusterIPs": ["None"]}), &[]),
            (json!({"type": "ExternalName", "externalName": "a.example."}), &[]),
            (json!({"type": "ExternalName"}), &["spec.externalName: Required value"]),
            (
                json!({"type": "NodePort", "clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 80}]}),
                &["spec.clusterIPs[0]: Invalid value"],
            ),
            (
                json!({"ports": [{"port": 80}, {"port": 80, "name": "a"}, {"port": 81, "name": "a", "nodePort": 30000}]}),
                &[
                    "spec.ports[0].name: Required value",
                    "spec.ports[2].name: Duplicate value",
                    "spec.ports[2].nodePort: Forbidden",
                    "spec.ports[1]: Duplicate value",
                ],
            ),
            (json!({"ports": [{"port": 80}], "ipFamilies": ["IPv6"]}), &["spec.ipFamilies[0]: Invalid value"]),
            (
                json!({"ports": [{"port": 80}], "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}),
                &["spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value"],
            ),
            (json!({"ports": [{"port": 80}], "externalIPs": ["127.0.0.1"]}), &["spec.externalIPs[0]: Invalid value"]),
        ];
        for (spec, expected) in cases {
            assert_eq!(said(spec.clone()), *expected, "of {spec}");
        }
    }

    #[test]
    fn a_changed_service_keeps_what_it_was_given() {
        let mut old = service(
            json!({"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80, "nodePort": 30001}]}),
        );
        old["metadata"]["resourceVersion"] = "1".into();
        let mut new = service(json!({"type": "NodePort", "ports": [{"port": 80}]}));
        crate::prepare_for_update("", "Service", None, &mut new, &old);
        assert_eq!(new["spec"], old["spec"]);
        new["spec"]["type"] = "ClusterIP".into();
        crate::prepare_for_update("", "Service", None, &mut new, &old);
        assert!(new["spec"]["ports"][0].get("nodePort").is_none(), "{new}");
        new["metadata"]["resourceVersion"] = "1".into();
        new["spec"]["clusterIP"] = "10.0.0.2".into();
        new["spec"]["clusterIPs"] = json!(["10.0.0.2"]);
        new["spec"].as_object_mut().expect("a map").remove("externalTrafficPolicy");
        let errors = crate::validate_update("", "Service", None, &new, &old);
        assert_eq!(errors.to_string(), "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set");
    }
}
