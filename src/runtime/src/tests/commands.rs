//! Commands: core modules and components that run to their end, or serve by themselves.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_both_kinds_run_as_told() {
    let node = Node::start().await;
    for guest in ["probe", "probe-p1"] {
        let image = node.image(guest).await;
        let (sandbox, _) = node.sandbox(guest).await;
        let run =
            |name: &'static str, args: &'static [&'static str]| node.complete(&sandbox, container(name, &image, args));

        let status = run("args", &["args", "one", "two words"]).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"), "{guest}: {}", status.message);
        assert_eq!(node.log(&status), ["stdout one", "stdout two words"]);
        let status = run("out", &["out", "no end"]).await;
        assert_eq!(node.log(&status), ["stdout no end"]);
        let status = run("err", &["err", "oops"]).await;
        assert_eq!(node.log(&status), ["stderr oops"]);

        // A component can say no more than that it failed.
        let code = if guest == "probe-p1" { 3 } else { 1 };
        let status = run("exit", &["exit", "3"]).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (code, "Error"), "{guest}");
        let status = run("trap", &["trap"]).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (134, "Error"), "{guest}");
        assert!(status.message.contains("unreachable"), "{}", status.message);
        assert!(status.started_at > 0 && status.finished_at >= status.started_at);

        let config = v1::ContainerConfig {
            envs: vec![v1::KeyValue { key: "WHO".to_owned(), value: "me".to_owned() }],
            ..container("env", &image, &["env"])
        };
        let status = node.complete(&sandbox, config).await;
        assert_eq!(node.log(&status), ["stdout WHO=me"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_seen_and_written_as_mounted() {
    let node = Node::start().await;
    let (counter, probe) = (node.image("counter-cli").await, node.image("probe").await);
    let (sandbox, _) = node.sandbox("files").await;
    let data = node.path("data");
    std::fs::create_dir(&data).expect("a folder");
    let message = node.path("message");
    std::fs::write(&message, "").expect("a file");
    let mount = |host: &Path, container: &str, readonly| v1::Mount {
        host_path: host.to_string_lossy().into_owned(),
        container_path: container.to_owned(),
        readonly,
        ..Default::default()
    };
    for run in ["run 1", "run 2"] {
        let mounts = vec![mount(&data, "/data", false)];
        let config = v1::ContainerConfig { mounts, ..container(&run.replace(' ', "-"), &counter, &[]) };
        let status = node.complete(&sandbox, config).await;
        assert_eq!(status.exit_code, 0, "{:?}", node.log(&status));
        assert_eq!(node.log(&status), [format!("stdout {run}")]);
    }
    let mounts = vec![mount(&data, "/data", true), mount(&message, "/dev/termination-log", false)];
    let with =
        |name: &str, args: &[&str]| v1::ContainerConfig { mounts: mounts.clone(), ..container(name, &probe, args) };
    let status = node.complete(&sandbox, with("read", &["cat", "/data/count"])).await;
    assert_eq!(node.log(&status), ["stdout 2"]);
    let status = node.complete(&sandbox, with("write", &["write", "/data/count", "9"])).await;
    assert_eq!(status.exit_code, 1);
    assert_eq!(std::fs::read_to_string(data.join("count")).expect("a file"), "2\n");
    let status = node.complete(&sandbox, with("say", &["write", "/dev/termination-log", "bye"])).await;
    assert_eq!(status.exit_code, 0, "{:?}", node.log(&status));
    assert_eq!(std::fs::read_to_string(&message).expect("a file"), "bye");
    let missing = vec![mount(&node.path("nowhere"), "/x", false)];
    let config = v1::ContainerConfig { mounts: missing, ..container("missing", &probe, &["ls", "/x"]) };
    let refused = node.create(&sandbox, config).await.expect_err("there is nothing to mount");
    assert!(refused.message().contains("nowhere"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_in_c_runs_and_a_command_is_ended_when_told() {
    let node = Node::start().await;
    let (fortune, probe) = (node.image("fortune-c").await, node.image("probe").await);
    let (sandbox, _) = node.sandbox("c").await;
    let status = node.complete(&sandbox, container("fortune", &fortune, &["3"])).await;
    assert_eq!((status.exit_code, node.log(&status).len()), (0, 3));

    for (name, args, grace, code) in [
        ("spins", ["spin", "60000"], 5, 143),
        ("sleeps", ["sleep", "60000"], 5, 143),
        ("killed", ["spin", "60000"], 0, 137),
    ] {
        let id = node.run(&sandbox, container(name, &probe, &args)).await;
        let begun = Instant::now();
        node.stop(&id, grace).await;
        assert!(begun.elapsed() < Duration::from_secs(4), "{name}: {:?}", begun.elapsed());
        let status = node.status(&id).await.expect("a status");
        assert_eq!((status.exit_code, status.reason.as_str()), (code, "Error"), "{name}");
        // Told twice is no error, nor is what is gone.
        node.stop(&id, 0).await;
    }
    let waiting = node.create(&sandbox, container("waits", &probe, &["args"])).await.expect("created");
    node.stop(&waiting, 5).await;
    let refused = node.start_container(&waiting).await.expect_err("it has ended");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    node.stop("unknown", 0).await;
    node.remove("unknown").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_log_goes_on_in_a_new_file() {
    let node = Node::start().await;
    let image = node.image("probe-http").await;
    let (sandbox, ip) = node.sandbox("logs").await;
    let id = node.run(&sandbox, container("logs", &image, &[])).await;
    let address = SocketAddr::new(ip, 8080);
    get(address, "/log/before").await.expect("an answer");
    let status = node.status(&id).await.expect("a status");
    std::fs::rename(&status.log_path, format!("{}.1", status.log_path)).expect("rotated");
    let request = v1::ReopenContainerLogRequest { container_id: id.clone() };
    node.cri.runtime.clone().reopen_container_log(request.clone()).await.expect("reopened");
    get(address, "/log/after").await.expect("an answer");
    assert_eq!(node.log(&status), ["stdout after"]);
    node.stop(&id, 5).await;
    let refused = node.cri.runtime.clone().reopen_container_log(request).await.expect_err("it has ended");
    assert_eq!(refused.code(), Code::FailedPrecondition);
}
