//! Bad input gets a clear error, and nothing is lost.

use std::{fs, net::TcpListener};

use crate::cluster::{Cluster, coracle};

fn stderr(output: &std::process::Output) -> String {
    assert!(!output.status.success(), "it should have failed: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_api_names_what_is_wrong_with_an_object() {
    let cluster = Cluster::up();
    let cases = [
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\nspce: {}\n", "unknown field \"spce\""),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: C_}\n", "Invalid value: \"C_\""),
        ("apiVersion: v1\nkind: Nothing\nmetadata: {name: c}\n", "no matches for kind \"Nothing\""),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {}\n", "spec.containers: Required value"),
    ];
    for (manifest, expected) in cases {
        let error = stderr(&cluster.try_kubectl_with(&["create", "-f", "-"], manifest));
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
}

#[test]
fn a_second_start_on_live_data_names_the_holder() {
    let cluster = Cluster::up();
    let output = coracle().args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(cluster.data()).output();
    let error = stderr(&output.expect("it runs"));
    assert!(error.contains(&cluster.pid().to_string()), "{error}");
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = holder.local_addr().expect("bound").to_string();
    let output = coracle().args(["server", "--listen", &address, "--data-dir"]).arg(folder.path()).output();
    let error = stderr(&output.expect("it runs"));
    assert!(error.contains(&address), "{error}");
}

#[test]
fn data_of_a_newer_format_is_left_alone() {
    let mut cluster = Cluster::up();
    cluster.kill();
    let format = cluster.data().join("server/store/FORMAT");
    fs::write(&format, "coracle-store 999\n").expect("written");
    let output = coracle().args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(cluster.data()).output();
    let error = stderr(&output.expect("it runs"));
    assert!(error.contains("999"), "{error}");
    assert_eq!(fs::read_to_string(format).expect("still there"), "coracle-store 999\n");
}
