//! From a manifest to an answer.

use crate::{
    cluster::{Cluster, root},
    http,
};

/// The demo of `wasm-examples`, its Service without the fixed node port that only one cluster can have.
pub fn demo() -> String {
    let manifest = std::fs::read_to_string(root().join("wasm-examples/hello-http/hello-http.yaml")).expect("the demo");
    manifest.lines().filter(|line| !line.contains("nodePort:")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_deployment_of_a_wasm_component_answers_behind_its_service() {
    let cluster = Cluster::up();
    cluster.import("hello-http.wasm", "coracle.local/hello-http:v1");
    cluster.apply(&demo());
    cluster.wait_for("condition=Available", "deployment/hello-http");
    let port = cluster.field("service/hello-http", ".spec.ports[0].nodePort");
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    let answer = http::get(address, "/").expect("an answer");
    assert_eq!(answer.code, 200, "{answer:?}");
    assert!(answer.body.contains("hello"), "{answer:?}");
}

#[test]
fn a_service_is_reached_at_its_cluster_ip_and_balances_over_its_pods() {
    let cluster = Cluster::up();
    cluster.import("hello-http.wasm", "coracle.local/hello-http:v1");
    cluster.apply(&demo().replace("port: 80\n", "port: 8080\n"));
    cluster.wait_for("condition=Available", "deployment/hello-http");
    let address = format!("{}:8080", cluster.field("service/hello-http", ".spec.clusterIP"));
    let address = address.parse().expect("an address");
    let bodies: std::collections::BTreeSet<String> =
        (0..8).map(|_| http::get(address, "/").expect("an answer").body).collect();
    assert_eq!(bodies.len(), 2, "two pods name themselves: {bodies:?}");
}
