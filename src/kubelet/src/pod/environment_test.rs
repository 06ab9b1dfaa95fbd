use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::pod::objects::Lookup;

fn check(pod: Value, services: Vec<Value>) -> Result<Vec<(String, String)>, EnvironmentError> {
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    let mut objects = PodObjects::default();
    let map = serde_json::from_value(json!({"data": {"mode": "fast", "x": "1"}})).expect("a config map");
    objects.config_maps.insert("settings".to_owned(), Lookup::Found(Arc::new(map)));
    let secret = serde_json::from_value(json!({"data": {"password": "aHVudGVyMg=="}})).expect("a secret");
    objects.secrets.insert("login".to_owned(), Lookup::Found(Arc::new(secret)));
    let services: Vec<_> =
        services.into_iter().map(|service| Arc::new(serde_json::from_value(service).expect("a service"))).collect();
    let node = NodeFacts { name: "node-1".to_owned(), ip: "127.0.0.1".to_owned(), allocatable: Default::default() };
    let ips = ["127.64.0.9".to_owned()];
    let sources = Sources { objects: &objects, services: &services, node: &node, pod_ips: &ips };
    environment(&pod, &pod.containers()[0], &sources)
}

fn pod(container: Value) -> Value {
    let mut container = container;
    container["name"] = json!("c");
    json!({"metadata": {"name": "p", "namespace": "team", "uid": "u"},
           "spec": {"enableServiceLinks": false, "containers": [container]}})
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn every_source_gives_its_value_and_later_ones_win() {
    let container = json!({
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}, {"secretRef": {"name": "login"}}],
        "env": [
            {"name": "PLAIN", "value": "v"},
            {"name": "REF", "value": "$(PLAIN)-$(P_mode)-$(NONE)"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}},
            {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
            {"name": "GONE", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": true}}},
            {"name": "PLAIN", "value": "w"},
            {"name": "EMPTY"},
        ]
    });
    let expected = pairs(&[
        ("P_mode", "fast"),
        ("P_x", "1"),
        ("password", "hunter2"),
        ("PLAIN", "w"),
        ("REF", "v-fast-$(NONE)"),
        ("IP", "127.64.0.9"),
        ("MODE", "fast"),
        ("PASS", "hunter2"),
        ("EMPTY", ""),
    ]);
    assert_eq!(check(pod(container), vec![]), Ok(expected));
}

#[test]
fn what_is_missing_is_named_as_kubernetes_names_it() {
    for (source, message) in [
        (json!({"configMapKeyRef": {"name": "none", "key": "k"}}), "configmap \"none\" not found"),
        (
            json!({"configMapKeyRef": {"name": "settings", "key": "k"}}),
            "couldn't find key k in ConfigMap team/settings",
        ),
        (json!({"secretKeyRef": {"name": "login", "key": "k"}}), "couldn't find key k in Secret team/login"),
    ] {
        let error = check(pod(json!({"env": [{"name": "A", "valueFrom": source}]})), vec![]).expect_err("missing");
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn services_show_only_when_links_are_enabled_but_the_api_always() {
    let service = |namespace: &str, name: &str, port: u16| {
        json!({"metadata": {"name": name, "namespace": namespace},
               "spec": {"clusterIP": "127.96.0.7", "ports": [{"name": "web", "port": port}]}})
    };
    let services = vec![
        service("default", "kubernetes", 443),
        service("team", "my-db", 5432),
        service("other", "hidden", 1),
        json!({"metadata": {"name": "headless", "namespace": "team"},
               "spec": {"clusterIP": "None", "ports": [{"port": 1}]}}),
    ];
    let names = |variables: Vec<(String, String)>| -> Vec<String> {
        variables.into_iter().filter(|(name, _)| name.ends_with("_HOST")).map(|(name, _)| name).collect()
    };
    let closed = check(pod(json!({})), services.clone()).expect("an environment");
    assert_eq!(names(closed), ["KUBERNETES_SERVICE_HOST"]);
    let mut open = pod(json!({}));
    open["spec"]["enableServiceLinks"] = json!(true);
    let open = check(open, services).expect("an environment");
    assert!(open.contains(&("MY_DB_PORT_5432_TCP".to_owned(), "tcp://127.96.0.7:5432".to_owned())));
    assert!(open.contains(&("MY_DB_SERVICE_PORT_WEB".to_owned(), "5432".to_owned())));
    assert_eq!(names(open), ["KUBERNETES_SERVICE_HOST", "MY_DB_SERVICE_HOST"]);
}
