//! What survives the process.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_runtime_costs_its_pods_a_restart_and_nothing_else() {
    let node = Node::start().await;
    let (http, probe) = (node.image("probe-http").await, node.image("probe").await);
    let (sandbox, ip) = node.sandbox("web").await;
    let (stopped, _) = node.sandbox("stopped").await;
    node.stop_sandbox(&stopped).await;
    let served = node.run(&sandbox, container("web", &http, &[])).await;
    let ended = node.complete(&sandbox, container("ended", &probe, &["exit", "1"])).await;
    let created = node.create(&sandbox, container("created", &probe, &["args"])).await.expect("created");
    let mut events = node.events().await;

    let node = node.crash().await;
    assert!(tokio::time::timeout(DEADLINE, events.message()).await.expect("in time").is_err(), "the stream broke");
    let status = node.sandbox_status(&sandbox).await.expect("it is there");
    assert_eq!(status.state(), v1::PodSandboxState::SandboxReady);
    assert_eq!(status.network.map(|network| network.ip), Some(ip.to_string()));
    let status = node.sandbox_status(&stopped).await.expect("it is there");
    assert_eq!(status.state(), v1::PodSandboxState::SandboxNotready);
    let status = node.status(&served).await.expect("it is there");
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 137));
    assert_eq!(status.reason, "ContainerStatusUnknown");
    assert!(status.started_at > 0 && status.finished_at >= status.started_at && !status.message.is_empty());
    assert_eq!(node.status(&ended.id).await.expect("it is there"), ended);
    assert_eq!(node.status(&created).await.expect_err("it never ran").code(), Code::NotFound);

    let metadata = Some(v1::ContainerMetadata { name: "web".to_owned(), attempt: 1 });
    let config = v1::ContainerConfig { metadata, ..container("web", &http, &[]) };
    // In this process the threads of the dead runtime's guests may take a moment to give the address back.
    let next = node.create(&sandbox, config).await.expect("created");
    until("the address is free", || async { node.start_container(&next).await.ok() }).await;
    assert_eq!(get(SocketAddr::new(ip, 8080), "/").await.map(|(code, _)| code), Some(200));

    // The address of what is stopped is free, that of what is not is not given to another.
    let (_, other) = node.sandbox("other").await;
    assert_ne!(other, ip);
    let node = node.restart().await;
    let status = node.status(&next).await.expect("it is there");
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"), "it was told to end");
    node.remove_sandbox(&sandbox).await;
    node.remove_sandbox(&stopped).await;
    let list = node.cri.runtime.clone().list_containers(v1::ListContainersRequest::default()).await.expect("a list");
    assert!(list.into_inner().containers.is_empty());
    let left = std::fs::read_dir(node.path("runtime/sandboxes")).expect("a folder").count();
    assert_eq!(left, 1, "only the other sandbox is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_range_that_the_kubelet_tells_is_remembered() {
    let node = Node::start_with(|config| Config { pod_cidr: None, ..config }).await;
    let ready = |node: &Node| {
        let mut runtime = node.cri.runtime.clone();
        async move {
            let status = runtime.status(v1::StatusRequest { verbose: true }).await.expect("a status").into_inner();
            let conditions = status.status.expect("conditions").conditions;
            conditions.iter().all(|condition| condition.status)
        }
    };
    assert!(!ready(&node).await);
    let refused = node.run_sandbox(node.sandbox_config("early")).await.expect_err("no range yet");
    assert_eq!(refused.code(), Code::Unavailable);
    let tell = |node: &Node, cidr: &str| {
        let network_config = Some(v1::NetworkConfig { pod_cidr: cidr.to_owned() });
        let mut runtime = node.cri.runtime.clone();
        let runtime_config = Some(v1::RuntimeConfig { network_config });
        async move { runtime.update_runtime_config(v1::UpdateRuntimeConfigRequest { runtime_config }).await }
    };
    assert_eq!(tell(&node, "nonsense").await.expect_err("no range").code(), Code::InvalidArgument);
    tell(&node, &node.cidr).await.expect("told");
    assert!(ready(&node).await);
    let (first, ip) = node.sandbox("first").await;
    let node = node.restart().await;
    assert!(ready(&node).await);
    let (_, next) = node.sandbox("second").await;
    assert_ne!(next, ip);
    // Another range for new pods; the old ones stay where they are, and are met again when it comes back.
    let other = node.cidr.replace(".0/24", ".128/25");
    tell(&node, &other).await.expect("told");
    let (_, third) = node.sandbox("third").await;
    assert!(third.to_string().ends_with(".130"), "{third}");
    tell(&node, &node.cidr).await.expect("told");
    let (_, fourth) = node.sandbox("fourth").await;
    assert!(![ip, next, third].contains(&fourth), "{fourth}");
    let status = node.sandbox_status(&first).await.expect("it is there");
    assert_eq!(status.network.map(|network| network.ip), Some(ip.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_runtime_on_the_same_folder_is_refused() {
    let node = Node::start().await;
    let root = node.path("runtime");
    let config = Config {
        socket: node.path("other.sock"),
        handoff_socket: None,
        root,
        pod_cidr: None,
        registries: Registries::default(),
        compiler: Compiler::InProcess,
        registry_silence_max: None,
        guests_max: Some(10),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
    };
    let refused = Runtime::open(config).err().expect("it is in use").to_string();
    assert!(refused.contains(&std::process::id().to_string()), "{refused}");
}
