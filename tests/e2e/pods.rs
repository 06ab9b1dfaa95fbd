//! What a Pod's fields do to a guest.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use crate::cluster::Cluster;

/// A Pod of one container that runs `probe` (see `wasm-examples/testing/probe`) with `arguments`.
fn probe(name: &str, restart: &str, arguments: &[&str], more: &str) -> String {
    let arguments = serde_json::to_string(arguments).expect("JSON");
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: {restart}\n  \
         containers:\n  - name: c\n    image: coracle.local/probe:v1\n    args: {arguments}\n{more}"
    )
}

fn cluster() -> Cluster {
    let cluster = Cluster::up();
    cluster.import("probe.wasm", "coracle.local/probe:v1");
    cluster.import("probe-p1.wasm", "coracle.local/probe-p1:v1");
    cluster.import("probe-http.wasm", "coracle.local/probe-http:v1");
    cluster
}

#[test]
fn a_command_runs_to_its_end_and_its_logs_are_kept() {
    let cluster = cluster();
    cluster.apply(&probe("p", "Never", &["env"], "    env: [{name: GREETING, value: hello}]\n"));
    cluster.wait_for("jsonpath={.status.phase}=Succeeded", "pod/p");
    assert!(cluster.kubectl(&["logs", "p"]).contains("hello"));
    let stamped = cluster.kubectl(&["logs", "p", "--timestamps"]);
    assert!(stamped.starts_with("20") && stamped.contains('T'), "{stamped}");
}

#[test]
fn exit_codes_are_told() {
    let cluster = cluster();
    let p1 = probe("p", "Never", &["exit", "3"], "").replace("probe:v1", "probe-p1:v1");
    cluster.apply(&p1);
    cluster.wait_for("jsonpath={.status.phase}=Failed", "pod/p");
    assert_eq!(cluster.field("pod/p", ".status.containerStatuses[0].state.terminated.exitCode"), "3");
}

#[test]
fn one_that_takes_too_much_memory_is_killed_alone() {
    let cluster = cluster();
    let limit = "    resources: {limits: {memory: 32Mi}}\n";
    let http = "apiVersion: v1\nkind: Pod\nmetadata: {name: quiet}\nspec:\n  containers:\n  - name: c\n    \
                image: coracle.local/probe-http:v1\n    ports: [{containerPort: 8080}]\n";
    cluster.apply(http);
    cluster.wait_for("condition=Ready", "pod/quiet");
    cluster.apply(&probe("hog", "Never", &["hog", "64"], limit));
    cluster.wait_for("jsonpath={.status.phase}=Failed", "pod/hog");
    let state = cluster.field("pod/hog", ".status.containerStatuses[0].state.terminated.reason");
    assert_eq!(state, "OOMKilled");
    assert_eq!(cluster.field("pod/hog", ".status.containerStatuses[0].state.terminated.exitCode"), "137");
    assert_eq!(cluster.field("pod/quiet", ".status.containerStatuses[0].restartCount"), "0");
}

#[test]
fn logs_are_followed_while_they_are_written() {
    let cluster = cluster();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    \
               image: coracle.local/probe-http:v1\n    ports: [{containerPort: 8080}]\n";
    cluster.apply(pod);
    cluster.wait_for("condition=Ready", "pod/p");
    let mut following =
        cluster.kubectl_command(&["logs", "-f", "p"]).stdout(Stdio::piped()).spawn().expect("kubectl runs");
    let mut lines = BufReader::new(following.stdout.take().expect("piped")).lines();
    let address = format!("{}:8080", cluster.field("pod/p", ".status.podIP")).parse().expect("an address");
    for word in ["one", "two"] {
        crate::http::get_until_ok(address, &format!("/log/{word}"));
        assert_eq!(lines.next().expect("a line").expect("text"), word);
    }
    following.kill().expect("killed");
    following.wait().expect("reaped");
}

#[test]
fn config_maps_and_secrets_are_files_and_variables() {
    let cluster = cluster();
    cluster.kubectl(&["create", "configmap", "settings", "--from-literal=color=green"]);
    cluster.kubectl(&["create", "secret", "generic", "keys", "--from-literal=key=hidden"]);
    let more = "    env:\n    - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}\n    \
                - {name: KEY, valueFrom: {secretKeyRef: {name: keys, key: key}}}\n    \
                volumeMounts: [{name: v, mountPath: /settings, readOnly: true}]\n  \
                volumes: [{name: v, configMap: {name: settings}}]\n";
    cluster.apply(&probe("file", "Never", &["cat", "/settings/color"], more));
    cluster.apply(&probe("variable", "Never", &["env"], more));
    for (pod, expected) in [("file", "green"), ("variable", "hidden")] {
        cluster.wait_for("jsonpath={.status.phase}=Succeeded", &format!("pod/{pod}"));
        let logs = cluster.kubectl(&["logs", pod]);
        assert!(logs.contains(expected), "{pod}: {logs}");
    }
}

#[test]
fn what_cannot_be_honoured_is_said() {
    let cluster = cluster();
    cluster.apply(&probe("p", "Never", &["env"], "    securityContext: {privileged: true}\n"));
    cluster.wait_for("jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerError", "pod/p");
    let message = cluster.field("pod/p", ".status.containerStatuses[0].state.waiting.message");
    assert!(message.contains("privileged"), "{message}");
}

#[test]
fn a_job_runs_to_completion() {
    let cluster = cluster();
    cluster.apply(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec:\n  completions: 3\n  parallelism: 2\n  \
         template:\n    spec:\n      restartPolicy: Never\n      containers:\n      - name: c\n        \
         image: coracle.local/probe:v1\n        args: [exit, \"0\"]\n",
    );
    cluster.wait_for("condition=Complete", "job/j");
    assert_eq!(cluster.field("job/j", ".status.succeeded"), "3");
}

/// Processor time of a process so far, in clock ticks (hundredths of a second on Linux).
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let after_name = stat.rsplit_once(')').expect("a command's name").1;
    after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum()
}

#[test]
fn busy_loops_keep_to_their_processor_limits() {
    let cluster = cluster();
    let limit = "    resources: {limits: {cpu: 100m}}\n";
    for name in ["one", "two"] {
        cluster.apply(&probe(name, "Never", &["spin"], limit));
    }
    for name in ["one", "two"] {
        cluster.wait_for("jsonpath={.status.phase}=Running", &format!("pod/{name}"));
    }
    let pid = cluster.runtime_pid();
    let (before, started) = (ticks(pid), std::time::Instant::now());
    // This is a measurement over a span of time, and not a wait for something.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let cores = (ticks(pid) - before) as f64 / 100.0 / started.elapsed().as_secs_f64();
    assert!((0.1..0.3).contains(&cores), "two loops of 0.1 cores each used {cores:.2} cores");
}

#[test]
fn probes_decide_what_is_ready_and_what_is_restarted() {
    let cluster = cluster();
    let pod = |name: &str, probes: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: c\n    \
             image: coracle.local/probe-http:v1\n    ports: [{{containerPort: 8080}}]\n{probes}"
        )
    };
    let unready = "    readinessProbe: {httpGet: {path: /status/503, port: 8080}, periodSeconds: 1}\n";
    let dead = "    livenessProbe: {httpGet: {path: /status/500, port: 8080}, periodSeconds: 1, failureThreshold: 1}\n";
    let ready = "    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}\n    \
                 startupProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}\n";
    for (name, probes) in [("unready", unready), ("dead", dead), ("ready", ready)] {
        cluster.apply(&pod(name, probes));
    }
    cluster.wait_for("condition=Ready", "pod/ready");
    cluster.wait_for("jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/dead");
    assert_eq!(cluster.field("pod/unready", ".status.containerStatuses[0].ready"), "false");
    // Events are written behind what they tell of: the watch is read until all have been seen.
    let mut missing = vec![
        "Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503",
        "Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 500",
        "Killing: Container c failed liveness probe, will be restarted",
    ];
    let template = "jsonpath={.reason}: {.message}{\"\\n\"}";
    let mut watching = cluster
        .kubectl_command(&["get", "events", "--watch", "--request-timeout=60s", "-o", template])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    let mut lines = BufReader::new(watching.stdout.take().expect("piped")).lines().map_while(Result::ok);
    while !missing.is_empty() {
        let Some(line) = lines.next() else { break };
        missing.retain(|event| !line.contains(event));
    }
    watching.kill().expect("killed");
    watching.wait().expect("reaped");
    assert!(missing.is_empty(), "never told: {missing:?}");
}

#[test]
fn init_containers_and_a_shared_volume_work() {
    let cluster = cluster();
    cluster.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Never\n  \
         initContainers:\n  - {name: i, image: 'coracle.local/probe:v1', args: [write, /data/x, from-init], \
         volumeMounts: [{name: d, mountPath: /data}]}\n  \
         containers:\n  - {name: c, image: 'coracle.local/probe:v1', args: [cat, /data/x], \
         volumeMounts: [{name: d, mountPath: /data}]}\n  volumes: [{name: d, emptyDir: {}}]\n",
    );
    cluster.wait_for("jsonpath={.status.phase}=Succeeded", "pod/p");
    assert!(cluster.kubectl(&["logs", "p"]).contains("from-init"));
}

#[test]
fn an_image_that_is_nowhere_is_backed_off_from() {
    let cluster = cluster();
    cluster.apply(&probe("p", "Never", &["env"], "").replace("coracle.local/probe:v1", "127.0.0.1:1/nothing:v1"));
    cluster.wait_for("jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff", "pod/p");
    let events = cluster.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"]);
    assert!(events.contains("Failed to pull image \"127.0.0.1:1/nothing:v1\""), "{events}");
}
