//! Machines join a cluster as nodes, by a token and not without.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    cluster::{Cluster, coracle},
    first_light::demo,
};

/// A file with a new token of the cluster.
fn token(cluster: &Cluster, name: &str, arguments: &[&str]) -> PathBuf {
    let mut command = coracle();
    command.args(["token", "create"]).args(arguments).arg("--data-dir").arg(cluster.data());
    let made = command.output().expect("it runs");
    let text = String::from_utf8(made.stdout).expect("text");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(text.starts_with("coracle1.") && text.lines().count() == 1, "one line, the token: {text:?}");
    let path = cluster.data().join(name);
    fs::write(&path, text).expect("written");
    path
}

/// What an agent says that must not join.
fn refused(cluster: &Cluster, arguments: &[&str]) -> String {
    let command = cluster.agent_command();
    // An agent that joins, or waits, would not end.
    let mut bounded = Command::new("timeout");
    bounded.arg("30").arg(command.get_program()).args(command.get_args()).args(arguments);
    let output = bounded.output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
    assert_eq!(cluster.kubectl(&["get", "nodes", "-o", "name"]), "", "nobody joined");
    error
}

#[test]
fn a_node_joins_by_a_token_runs_pods_and_needs_the_token_no_more() {
    let mut cluster = Cluster::server();
    let file = token(&cluster, "token", &["--role", "agent", "--description", "rack 7"]);
    let mut command = cluster.agent_command();
    command.args(["--node-name", "node", "--join", &cluster.url(), "--token-file"]).arg(&file);
    cluster.run_agent(command);
    cluster.wait_for("condition=Ready", "node/node");
    cluster.import("hello-http.wasm", "coracle.local/hello-http:v1");
    cluster.apply(&demo());
    cluster.wait_for("condition=Available", "deployment/hello-http");
    // Its pods' addresses are those that the cluster gave the node.
    let (range, pod) = (
        cluster.field("node/node", ".spec.podCIDR"),
        cluster.kubectl(&["get", "pods", "-o", "jsonpath={.items[0].status.podIP}"]),
    );
    let network = |address: &str| address.split('.').take(2).collect::<Vec<_>>().join(".");
    assert_eq!(network(&range), network(&pod), "{pod} is in {range}");
    // The API server takes the certificate that the kubelet got.
    cluster.kubectl(&["logs", "deployment/hello-http"]);
    let requests = cluster.kubectl(&["get", "csr", "-o", "jsonpath={.items[*].spec.username}"]);
    assert!(requests.contains("system:bootstrap:") && requests.contains("system:node:node"), "{requests}");

    let listed = coracle().args(["token", "list", "-o", "json", "--data-dir"]).arg(cluster.data()).output();
    let listed: serde_json::Value = serde_json::from_slice(&listed.expect("it runs").stdout).expect("JSON");
    assert_eq!((&listed[0]["role"], &listed[0]["description"]), (&"agent".into(), &"rack 7".into()));
    let id = listed[0]["id"].as_str().expect("an ID");
    let secret = cluster.kubectl(&["get", "secret", "-n", "kube-system", &format!("coracle-token-{id}"), "-o", "json"]);
    let text = fs::read_to_string(&file).expect("the token");
    assert!(!secret.contains(text.split('.').nth(2).expect("its secret")), "the cluster does not keep it");
    let deleted = coracle().args(["token", "delete", id, "--data-dir"]).arg(cluster.data()).output();
    assert!(deleted.expect("it runs").status.success());
    fs::remove_file(file).expect("there");

    cluster.kill_agent();
    cluster.kill();
    cluster.start();
    cluster.run_agent(cluster.agent_command());
    // The new agent knows the pods: those that are deleted now are ended and replaced.
    cluster.kubectl(&["delete", "pod", "--all", "--wait=true", "--timeout=60s"]);
    cluster.wait_for("condition=Available", "deployment/hello-http");
}

#[test]
fn who_may_not_join_is_told_why() {
    let (cluster, other) = (Cluster::server(), Cluster::server());
    let url = cluster.url();
    let with = |file: &PathBuf| refused(&cluster, &["--join", &url, "--token-file", file.to_str().expect("a path")]);
    let good = token(&cluster, "good", &["--role", "agent"]);
    let parts: Vec<String> =
        fs::read_to_string(&good).expect("the token").trim().split('.').map(str::to_owned).collect();

    let wrong = cluster.data().join("wrong");
    fs::write(&wrong, format!("{}.{}.{}.{}", parts[0], parts[1], "a".repeat(32), parts[3])).expect("written");
    let error = refused(&cluster, &["--token-file", wrong.to_str().expect("a path")]);
    assert!(error.contains("--join"), "{error}");
    let strange = token(&other, "strange", &["--role", "agent"]);
    let server = token(&cluster, "for-servers", &["--role", "server"]);
    let garbage = cluster.data().join("garbage");
    fs::write(&garbage, "Bearer x").expect("written");
    let short = token(&cluster, "short", &["--role", "agent", "--ttl", "1s"]);
    let id = &fs::read_to_string(&short).expect("the token")[9..15];
    cluster.kubectl(&[
        "wait",
        "--for=delete",
        &format!("secret/coracle-token-{id}"),
        "-n",
        "kube-system",
        "--timeout=60s",
    ]);
    for (file, why) in [
        (&wrong, "does not take the token"),
        (&strange, "is no server of the token's cluster"),
        (&server, "is none for agents"),
        (&garbage, "this is no token"),
        (&short, "does not take the token"),
    ] {
        let error = with(file);
        assert!(error.contains(why), "{why:?} is not in {error:?}");
    }
    // As long as it is there, it is good; then it is not.
    let deleted = coracle().args(["token", "delete", &parts[1], "--data-dir"]).arg(cluster.data()).output();
    assert!(deleted.expect("it runs").status.success());
    assert!(with(&good).contains("does not take the token"));
    let again = coracle().args(["token", "delete", &parts[1], "--data-dir"]).arg(cluster.data()).output();
    assert!(String::from_utf8_lossy(&again.expect("it runs").stderr).contains("there is no token"));
    // The log tells what the answer does not.
    let log = fs::read_to_string(cluster.data().join("coracle.log")).expect("a log");
    for why in ["its secret is wrong", "it was deleted"] {
        assert!(log.contains(why), "{why:?} is not in the log");
    }
    assert!(refused(&cluster, &["--join", &url]).contains("--token-file"));
}

#[test]
fn whoever_creates_a_certificate_request_is_who_asks() {
    let cluster = Cluster::server();
    // A valid one, for system:node:node of system:nodes.
    let request = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIdU1JR1VBZ0VBTURJeEZUQVRCZ05WQkFvTURITjVjM1JsYlRwdWIyUmxjekVaTUJjR0ExVUVBd3dRYzNsegpkR1Z0T201dlpHVTZibTlrWlRCWk1CTUdCeXFHU000OUFnRUdDQ3FHU000OUF3RUhBMElBQkdqV205aW9hblo4CkloM3ZqYzYxVzNwYTJ3Z3pMK01QQnBxUitEaW9VcWR0ZGt6UnpsUzZWcXZWeDdTT0l2MFkxVFVoMGxnSkdob2QKSm51eVFkaWQyZENnQURBS0JnZ3Foa2pPUFFRREFnTkpBREJHQWlFQXQ3elNmK3JaSjVpMDJablBDTFBEM29PMwpyRHJ6dk1xWWppSmpsdlJlL3pnQ0lRRG04a2lzTG9acVU1R3R4dkV2Ri9Jc1pPa0k3K2lqYW83dXlmL0NXdERVCmJ3PT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";
    let manifest = format!(
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: r}}\nspec:\n  \
         username: system:node:node\n  groups: [\"system:nodes\"]\n  request: {request}\n  \
         signerName: example.com/x\n  usages: [client auth]\n"
    );
    let created = cluster.try_kubectl_with(&["create", "-f", "-", "-o", "jsonpath={.spec.username}"], &manifest);
    assert_eq!(String::from_utf8_lossy(&created.stdout), "kubernetes-admin", "{created:?}");
}
