//! kubectl, unmodified: the verbs that people use every day.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use crate::{cluster::Cluster, first_light::demo};

/// A cluster with the demo running.
fn with_demo() -> Cluster {
    let cluster = Cluster::up();
    cluster.import("hello-http.wasm", "coracle.local/hello-http:v1");
    cluster.import("hello-http.wasm", "coracle.local/hello-http:v2");
    cluster.apply(&demo());
    cluster.wait_for("condition=Available", "deployment/hello-http");
    cluster
}

#[test]
fn what_runs_can_be_looked_at() {
    let cluster = with_demo();
    let wide = cluster.kubectl(&["get", "pods", "-o", "wide"]);
    assert!(wide.contains("NODE") && wide.contains("Running") && wide.contains("127."), "{wide}");
    let yaml = cluster.kubectl(&["get", "deployment", "hello-http", "-o", "yaml"]);
    assert!(yaml.contains("kind: Deployment") && yaml.contains("availableReplicas: 2"), "{yaml}");
    let pod = cluster.kubectl(&["get", "pods", "-o", "name"]).lines().next().expect("a pod").to_owned();
    // Of several objects kubectl shows no events.
    let described = cluster.kubectl(&["describe", &pod]);
    assert!(described.contains("Started") && described.contains("Successfully assigned"), "{described}");
    let described = cluster.kubectl(&["describe", "deployment", "hello-http"]);
    assert!(described.contains("ScalingReplicaSet"), "{described}");
    let explained = cluster.kubectl(&["explain", "pod.spec.containers.image"]);
    assert!(explained.contains("FIELD: image"), "{explained}");
    let resources = cluster.kubectl(&["api-resources"]);
    assert!(resources.contains("deployments") && resources.contains("cronjobs"), "{resources}");
    assert_eq!(cluster.kubectl(&["auth", "can-i", "create", "pods"]).trim(), "yes");
    let top = cluster.try_kubectl(&["top", "pods"]);
    assert!(!top.status.success() && String::from_utf8_lossy(&top.stderr).contains("Metrics API not available"));
}

#[test]
fn a_rollout_goes_forth_and_back() {
    let cluster = with_demo();
    cluster.kubectl(&["set", "image", "deployment/hello-http", "hello=coracle.local/hello-http:v2"]);
    cluster.kubectl(&["rollout", "status", "deployment/hello-http", "--timeout=60s"]);
    let history = cluster.kubectl(&["rollout", "history", "deployment/hello-http"]);
    assert!(history.lines().any(|line| line.starts_with('2')), "{history}");
    cluster.kubectl(&["rollout", "undo", "deployment/hello-http"]);
    cluster.kubectl(&["rollout", "status", "deployment/hello-http", "--timeout=60s"]);
    let image = cluster.field("deployment/hello-http", ".spec.template.spec.containers[0].image");
    assert_eq!(image, "coracle.local/hello-http:v1");
}

#[test]
fn scaling_is_up_and_down() {
    let cluster = with_demo();
    cluster.kubectl(&["scale", "deployment/hello-http", "--replicas=5"]);
    cluster.wait_for("jsonpath={.status.readyReplicas}=5", "deployment/hello-http");
    cluster.kubectl(&["scale", "deployment/hello-http", "--replicas=1"]);
    cluster.wait_for("jsonpath={.status.replicas}=1", "deployment/hello-http");
}

#[test]
fn objects_are_labelled_annotated_patched_edited_compared_and_deleted() {
    let cluster = Cluster::up();
    cluster.kubectl(&["create", "configmap", "c", "--from-literal=a=1"]);
    cluster.kubectl(&["label", "configmap", "c", "x=y"]);
    cluster.kubectl(&["annotate", "configmap", "c", "note=text"]);
    cluster.kubectl(&["patch", "configmap", "c", "-p", r#"{"data":{"strategic":"1"}}"#]);
    cluster.kubectl(&["patch", "configmap", "c", "--type=merge", "-p", r#"{"data":{"merge":"2"}}"#]);
    let json = r#"[{"op":"add","path":"/data/json","value":"3"}]"#;
    cluster.kubectl(&["patch", "configmap", "c", "--type=json", "-p", json]);
    let mut edit = cluster.kubectl_command(&["edit", "configmap", "c"]);
    let edited = edit.env("KUBE_EDITOR", "sed -i s/merge/edited/").output().expect("kubectl runs");
    assert!(edited.status.success(), "{}", String::from_utf8_lossy(&edited.stderr));
    let data = cluster.field("configmap/c", ".data");
    assert_eq!(data, r#"{"a":"1","edited":"2","json":"3","strategic":"1"}"#);
    assert_eq!(cluster.kubectl(&["get", "configmap", "-l", "x=y", "-o", "name"]).trim(), "configmap/c");
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: \"2\"}\n";
    let diff = cluster.try_kubectl_with(&["diff", "--server-side=false", "-f", "-"], other);
    assert_eq!(diff.status.code(), Some(1), "{}", String::from_utf8_lossy(&diff.stderr));
    assert!(String::from_utf8_lossy(&diff.stdout).contains("+  a: \"2\""));
    cluster.kubectl(&["delete", "configmap", "c"]);
    let gone = cluster.try_kubectl(&["get", "configmap", "c"]);
    assert_eq!(
        String::from_utf8_lossy(&gone.stderr).trim(),
        r#"Error from server (NotFound): configmaps "c" not found"#
    );
}

#[test]
fn a_watch_tells_of_changes_as_they_happen() {
    let cluster = Cluster::up();
    cluster.kubectl(&["create", "configmap", "c"]);
    let watch = ["get", "configmap", "c", "-w", "-o", "jsonpath={.data.a}{\"\\n\"}"];
    let mut watching = cluster.kubectl_command(&watch).stdout(Stdio::piped()).spawn().expect("kubectl runs");
    let mut lines = BufReader::new(watching.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("the first state").expect("text"), "");
    cluster.kubectl(&["patch", "configmap", "c", "-p", r#"{"data":{"a":"seen"}}"#]);
    assert_eq!(lines.next().expect("the change").expect("text"), "seen");
    watching.kill().expect("killed");
    watching.wait().expect("reaped");
}

#[test]
fn a_token_is_made_for_a_service_account_and_is_worth_what_its_roles_say() {
    let cluster = Cluster::up();
    cluster.kubectl(&["create", "serviceaccount", "reader"]);
    let token = cluster.kubectl(&["create", "token", "reader"]);
    let with_token = |arguments: &[&str]| {
        let (server, token) = (cluster.url(), token.trim());
        let server = ["--server", &server, "--token", token, "--insecure-skip-tls-verify", "--kubeconfig=/dev/null"];
        let mut command = cluster.kubectl_command(&[]);
        command.args(server).args(arguments).output().expect("kubectl runs")
    };
    let refused = with_token(&["get", "pods"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains(
        r#"User "system:serviceaccount:default:reader" cannot list resource "pods" in API group "" in the namespace "default""#
    ));
    cluster.kubectl(&["create", "rolebinding", "r", "--clusterrole=view", "--serviceaccount=default:reader"]);
    let allowed = with_token(&["get", "pods"]);
    assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
}
