//! `kill -9` of everything, at any moment.

use std::{
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{cluster::Cluster, first_light::demo, http};

/// A cluster whose demo answers at the address that is returned.
fn serving() -> (Cluster, SocketAddr) {
    let cluster = Cluster::up();
    cluster.import("hello-http.wasm", "coracle.local/hello-http:v1");
    cluster.apply(&demo());
    cluster.wait_for("condition=Available", "deployment/hello-http");
    let port = cluster.field("service/hello-http", ".spec.ports[0].nodePort");
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    (cluster, address)
}

#[test]
fn acknowledged_writes_and_running_pods_outlive_kill_9() {
    let (mut cluster, address) = serving();
    for round in 0..3 {
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (kubeconfig, stop) = (cluster.data().join("admin.kubeconfig"), stop.clone());
            let kubectl = crate::cluster::root().join(".tools/bin/kubectl");
            std::thread::spawn(move || {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    let name = format!("w{round}-{number}");
                    let made = Command::new(&kubectl)
                        .arg("--kubeconfig")
                        .arg(&kubeconfig)
                        .args(["create", "configmap", &name])
                        .output()
                        .expect("kubectl runs");
                    if made.status.success() {
                        acknowledged.push(name);
                    }
                    if stop.load(Ordering::Relaxed) {
                        return acknowledged;
                    }
                }
                acknowledged
            })
        };
        while !cluster.kubectl(&["get", "configmaps", "-o", "name"]).contains(&format!("w{round}-2")) {}
        cluster.kill();
        stop.store(true, Ordering::Relaxed);
        let acknowledged = writer.join().expect("no panic");
        cluster.start();
        let there = cluster.kubectl(&["get", "configmaps", "-o", "name"]);
        for name in acknowledged {
            assert!(there.contains(&format!("configmap/{name}\n")), "{name} was acknowledged and is lost");
        }
        http::get_until_ok(address, "/");
    }
}

#[test]
fn pods_answer_throughout_when_a_separate_agent_was_killed() {
    let mut cluster = Cluster::split();
    cluster.import("hello-http.wasm", "coracle.local/hello-http:v1");
    cluster.apply(&demo());
    cluster.wait_for("condition=Available", "deployment/hello-http");
    let ips = cluster.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].status.podIP}"]);
    let addresses: Vec<SocketAddr> = ips.split(' ').map(|ip| format!("{ip}:8080").parse().expect("an IP")).collect();
    let runtime = cluster.runtime_pid();
    let stop = Arc::new(AtomicBool::new(false));
    let asking = {
        let (stop, addresses) = (stop.clone(), addresses.clone());
        std::thread::spawn(move || {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                for address in &addresses {
                    let answer = http::get(*address, "/");
                    assert!(answer.as_ref().is_ok_and(|answer| answer.code == 200), "{address}: {answer:?}");
                    asked += 1;
                }
            }
            asked
        })
    };
    cluster.kill_agent();
    cluster.start_agent();
    cluster.wait_for("condition=Ready", "node/node");
    stop.store(true, Ordering::Relaxed);
    assert!(asking.join().expect("every request was answered") > 0);
    assert_eq!(cluster.runtime_pid(), runtime, "the same runtime runs them");
    let restarts =
        cluster.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[0].restartCount}"]);
    assert_eq!(restarts, "0 0");
    // The new agent knows the pods: those that are deleted now are ended and replaced.
    cluster.kubectl(&["delete", "pod", "--all", "--wait=true", "--timeout=60s"]);
    cluster.wait_for("condition=Available", "deployment/hello-http");
}

#[test]
#[expect(clippy::print_stdout, reason = "a figure, for who reads the output")]
fn pods_serve_again_when_the_runtime_was_killed() {
    let (cluster, address) = serving();
    let before = cluster.runtime_pid();
    Command::new("kill").args(["-9", &before.to_string()]).status().expect("kill runs");
    let (_, took) = http::get_until_ok(address, "/");
    assert_ne!(cluster.runtime_pid(), before, "another process serves");
    println!("served again after {took:?}");
    cluster.kubectl(&["get", "nodes"]);
}

#[test]
#[expect(clippy::print_stdout, reason = "a figure, for who reads the output")]
fn a_crashed_guest_is_restarted_and_its_last_state_is_kept() {
    let cluster = Cluster::up();
    cluster.import("probe-http.wasm", "coracle.local/probe-http:v1");
    cluster.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    \
         image: coracle.local/probe-http:v1\n    ports: [{containerPort: 8080}]\n",
    );
    cluster.wait_for("condition=Ready", "pod/p");
    let address: SocketAddr = format!("{}:8080", cluster.field("pod/p", ".status.podIP")).parse().expect("an address");
    // The trap's own request may be answered or cut off: what counts is the next.
    let _ = http::get(address, "/trap");
    let (_, took) = http::get_until_ok(address, "/");
    println!("served again after {took:?}");
    cluster.wait_for("jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/p");
    let reason = cluster.field("pod/p", ".status.containerStatuses[0].lastState.terminated.reason");
    assert_eq!(reason, "Error");
}
