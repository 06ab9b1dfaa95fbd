//! kubectl, unmodified: the verbs that people use every day.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use crate::cluster::Cluster;

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
