//! HTTP components.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_lives_and_every_step_is_told() {
    let node = Node::start().await;
    let image = node.image("probe-http").await;
    let mut events = node.events().await;
    let (sandbox, ip) = node.sandbox("web").await;
    assert!(ip.to_string().starts_with(node.cidr.trim_end_matches(".0/24")), "{ip} is of {}", node.cidr);
    let config = v1::ContainerConfig {
        envs: vec![v1::KeyValue { key: "COLOUR".to_owned(), value: "green".to_owned() }],
        ..container("web", &image, &[])
    };
    let id = node.create(&sandbox, config.clone()).await.expect("created");
    assert_eq!(node.status(&id).await.expect("a status").state(), ContainerState::ContainerCreated);
    let again = node.create(&sandbox, config).await.expect_err("it is there");
    assert_eq!(again.code(), Code::AlreadyExists);
    node.start_container(&id).await.expect("started");

    let address = SocketAddr::new(ip, 8080);
    assert_eq!(get(address, "/").await, Some((200, "probe\n".to_owned())));
    assert_eq!(get(address, "/env/COLOUR").await, Some((200, "green".to_owned())));
    assert_eq!(get(address, "/log/hello").await, Some((200, "logged\n".to_owned())));
    // No request sees what another left behind.
    for _ in 0..2 {
        assert_eq!(get(address, "/count").await, Some((200, "1\n".to_owned())));
    }
    let status = node.status(&id).await.expect("a status");
    assert_eq!(status.state(), ContainerState::ContainerRunning);
    assert!(status.started_at >= status.created_at && status.finished_at == 0);
    assert!(status.image_ref.starts_with("test.local/probe-http@sha256:"), "{}", status.image_ref);
    assert_eq!(status.image.as_ref().map(|named| named.image.as_str()), Some(image.as_str()));
    assert_eq!(node.log(&status), ["stdout hello"]);

    let filter = |state: ContainerState| v1::ListContainersRequest {
        filter: Some(v1::ContainerFilter {
            state: Some(v1::ContainerStateValue { state: state as i32 }),
            label_selector: HashMap::from([(labels::CONTAINER_NAME.to_owned(), "web".to_owned())]),
            ..Default::default()
        }),
    };
    let mut runtime = node.cri.runtime.clone();
    let running = runtime.list_containers(filter(ContainerState::ContainerRunning)).await.expect("a list");
    assert_eq!(running.into_inner().containers.len(), 1);
    let exited = runtime.list_containers(filter(ContainerState::ContainerExited)).await.expect("a list");
    assert!(exited.into_inner().containers.is_empty());

    node.stop(&id, 10).await;
    let status = node.status(&id).await.expect("a status");
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 0));
    assert_eq!(status.reason, "Completed");
    assert!(status.finished_at >= status.started_at);
    assert_eq!(get(address, "/").await, None);
    node.remove(&id).await;
    assert_eq!(node.status(&id).await.expect_err("gone").code(), Code::NotFound);
    node.stop_sandbox(&sandbox).await;
    let status = node.sandbox_status(&sandbox).await.expect("a status");
    assert_eq!(status.state(), v1::PodSandboxState::SandboxNotready);
    node.remove_sandbox(&sandbox).await;
    assert_eq!(node.sandbox_status(&sandbox).await.expect_err("gone").code(), Code::NotFound);
    let left = std::fs::read_dir(node.path("runtime/sandboxes")).expect("a folder").count();
    assert_eq!(left, 0, "nothing is left on disk");

    use ContainerEventType::{
        ContainerCreatedEvent as Created, ContainerDeletedEvent as Deleted, ContainerStartedEvent as Started,
        ContainerStoppedEvent as Stopped,
    };
    let of_both = [
        (&sandbox, Created),
        (&sandbox, Started),
        (&id, Created),
        (&id, Started),
        (&id, Stopped),
        (&id, Deleted),
        (&sandbox, Stopped),
        (&sandbox, Deleted),
    ];
    for (who, what) in of_both {
        let event = tokio::time::timeout(DEADLINE, events.message()).await.expect("in time");
        let event = event.expect("a stream").expect("an event");
        assert_eq!((&event.container_id, event.container_event_type()), (who, what));
        assert_eq!(event.pod_sandbox_status.map(|status| status.id).as_ref(), Some(&sandbox));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_run_beside_each_other_and_those_under_way_are_finished() {
    let node = Node::start().await;
    let image = node.image("probe-http").await;
    let (sandbox, ip) = node.sandbox("web").await;
    let id = node.run(&sandbox, container("web", &image, &[])).await;
    let address = SocketAddr::new(ip, 8080);
    let begun = Instant::now();
    let asked: Vec<_> = (0..20).map(|_| tokio::spawn(get(address, "/sleep/300"))).collect();
    for answer in asked {
        assert_eq!(answer.await.expect("no panic"), Some((200, "slept\n".to_owned())));
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "twenty sleep at once: {:?}", begun.elapsed());

    let last = tokio::spawn(get(address, "/sleep/500"));
    let mut runtime = node.cri.runtime.clone();
    until("the request runs", || async { (node.memory_of(&id).await > 0).then_some(()) }).await;
    let request = v1::StopContainerRequest { container_id: id.clone(), timeout: 20 };
    runtime.stop_container(request).await.expect("stopped");
    assert_eq!(last.await.expect("no panic"), Some((200, "slept\n".to_owned())));
    assert_eq!(node.status(&id).await.expect("a status").exit_code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_outlasts_the_grace_is_ended() {
    let node = Node::start().await;
    let image = node.image("probe-http").await;
    let (sandbox, ip) = node.sandbox("web").await;
    let id = node.run(&sandbox, container("web", &image, &[])).await;
    let last = tokio::spawn(get(SocketAddr::new(ip, 8080), "/spin/60000"));
    until("the request runs", || async { (node.memory_of(&id).await > 0).then_some(()) }).await;
    let begun = Instant::now();
    node.stop(&id, 1).await;
    assert!((1..5).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let status = node.status(&id).await.expect("a status");
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    assert_eq!(last.await.expect("no panic").map(|(code, _)| code), Some(500));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_ends_the_container_and_the_next_takes_over_its_address() {
    let node = Node::start().await;
    let image = node.image("probe-http").await;
    let (sandbox, ip) = node.sandbox("web").await;
    let address = SocketAddr::new(ip, 8080);
    for attempt in 0..5 {
        let metadata = Some(v1::ContainerMetadata { name: "web".to_owned(), attempt });
        let id = node.run(&sandbox, v1::ContainerConfig { metadata, ..container("web", &image, &[]) }).await;
        assert_eq!(get(address, "/").await.map(|(code, _)| code), Some(200));
        assert_eq!(get(address, "/trap").await.map(|(code, _)| code), Some(500));
        let status = node.ended(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (134, "Error"));
        assert!(status.message.contains("unreachable"), "{}", status.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_connections_are_taken_over() {
    let node = Node::start().await;
    let image = node.image("probe-http").await;
    let (sandbox, ip) = node.sandbox("web").await;
    let mut config = container("web", &image, &[]);
    let ports = r#"[{"containerPort":9000},{"containerPort":80,"name":"http"}]"#;
    config.annotations.insert(labels::CONTAINER_PORTS.to_owned(), ports.to_owned());
    let id = node.run(&sandbox, config).await;
    let client = cri::handoff::HandoffClient::new(node.path("runtime/handoff.sock"));
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let connect = || {
        let ours = TcpStream::connect(proxy.local_addr().expect("an address")).expect("connected");
        (ours, proxy.accept().expect("accepted").0)
    };
    let (ours, theirs) = connect();
    let hand = |port, connection: &TcpStream| {
        let connection = connection.try_clone().expect("a second descriptor");
        let client = client.clone();
        async move {
            use std::os::fd::AsFd;
            client.hand_over(SocketAddr::new(ip, port), connection.as_fd()).await
        }
    };
    hand(80, &theirs).await.expect("taken over");
    drop(theirs);
    assert_eq!(ask(ours, "/").await, Some((200, "probe\n".to_owned())));
    let (_ours, theirs) = connect();
    let refused = hand(81, &theirs).await.expect_err("nobody serves there").to_string();
    assert!(refused.contains("no HTTP component serves"), "{refused}");
    node.stop(&id, 5).await;
    hand(80, &theirs).await.expect_err("it has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_serves_as_many_requests_as_the_pod_allows_and_then_goes() {
    let node = Node::start().await;
    let image = node.image("probe-http").await;
    let with = |name: &str, count: &str| {
        let annotations = HashMap::from([(labels::REQUESTS_PER_INSTANCE.to_owned(), count.to_owned())]);
        v1::PodSandboxConfig { annotations, ..node.sandbox_config(name) }
    };
    let sandbox = node.run_sandbox(with("web", "3")).await.expect("a sandbox");
    let ip = node.sandbox_status(&sandbox).await.expect("a status").network.expect("a network").ip;
    let address = SocketAddr::new(ip.parse().expect("an address"), 8080);
    let id = node.run(&sandbox, container("web", &image, &[])).await;
    for count in ["1\n", "2\n", "3\n", "1\n"] {
        assert_eq!(get(address, "/count").await, Some((200, count.to_owned())));
    }
    assert!(node.memory_of(&id).await > 0, "the last one waits for another request");
    until("it goes when none comes", || async { (node.memory_of(&id).await == 0).then_some(()) }).await;
    assert_eq!(get(address, "/count").await, Some((200, "1\n".to_owned())));
    node.stop(&id, 5).await;
    let sandbox = node.run_sandbox(with("wrong", "many")).await.expect("a sandbox");
    let refused = node.create(&sandbox, container("web", &image, &[])).await.expect_err("no number");
    assert!(refused.message().contains("\"many\""), "{refused}");
}

impl Node {
    async fn memory_of(&self, id: &str) -> u64 {
        let request = v1::ContainerStatsRequest { container_id: id.to_owned() };
        let stats = self.cri.runtime.clone().container_stats(request).await.expect("it runs").into_inner().stats;
        stats.and_then(|stats| Some(stats.memory?.usage_bytes?.value)).unwrap_or_default()
    }
}
