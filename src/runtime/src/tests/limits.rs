//! Memory and CPU.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_too_much_memory_is_ended_alone() {
    let node = Node::start().await;
    let (http, probe, p1) = (node.image("probe-http").await, node.image("probe").await, node.image("probe-p1").await);
    let (sandbox, ip) = node.sandbox("hungry").await;
    let resources = v1::LinuxContainerResources { memory_limit_in_bytes: 32 << 20, ..Default::default() };
    let limited =
        |name: &str, image: &str, args: &[&str]| with_resources(container(name, image, args), resources.clone());
    let web = node.run(&sandbox, limited("web", &http, &[])).await;
    for (name, image) in [("hog", &probe), ("hog-p1", &p1)] {
        let status = node.complete(&sandbox, limited(name, image, &["hog", "64"])).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"), "{name}");
        assert!(status.message.contains("limit 33554432"), "{}", status.message);
        assert_eq!(node.log(&status)[0], "stdout holding 16 MiB");
    }
    let address = SocketAddr::new(ip, 8080);
    assert_eq!(get(address, "/hog/8").await.map(|(code, _)| code), Some(200));
    assert_eq!(node.status(&web).await.expect("a status").state(), ContainerState::ContainerRunning);
    assert_eq!(get(address, "/hog/48").await.map(|(code, _)| code), Some(500));
    let status = node.ended(&web).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_loops_use_what_they_may_and_delay_nobody() {
    let node = Node::start().await;
    let (http, probe) = (node.image("probe-http").await, node.image("probe").await);
    let (sandbox, ip) = node.sandbox("busy").await;
    let resources = v1::LinuxContainerResources { cpu_quota: 10_000, cpu_period: 100_000, ..Default::default() };
    let busy = |name: &str| with_resources(container(name, &probe, &["spin"]), resources.clone());
    node.run(&sandbox, container("web", &http, &[])).await;
    let loops = [node.run(&sandbox, busy("one")).await, node.run(&sandbox, busy("two")).await];
    let mut slowest = Duration::ZERO;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        assert_eq!(get(SocketAddr::new(ip, 8080), "/").await.map(|(code, _)| code), Some(200));
        slowest = slowest.max(asked.elapsed());
    }
    for id in &loops {
        let request = v1::ContainerStatsRequest { container_id: id.clone() };
        let stats = node.cri.runtime.clone().container_stats(request).await.expect("it runs").into_inner().stats;
        let used = stats.and_then(|stats| Some(stats.cpu?.usage_core_nano_seconds?.value)).expect("measured");
        let cores = used as f64 / begun.elapsed().as_nanos() as f64;
        assert!((0.02..0.14).contains(&cores), "{cores} cores where 0.1 are allowed");
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    // More is allowed from now on.
    let request = v1::UpdateContainerResourcesRequest {
        container_id: loops[0].clone(),
        linux: Some(v1::LinuxContainerResources { cpu_quota: 20_000, ..Default::default() }),
        ..Default::default()
    };
    node.cri.runtime.clone().update_container_resources(request).await.expect("updated");
    let resources = node.status(&loops[0]).await.expect("a status").resources.and_then(|resources| resources.linux);
    let resources = resources.expect("resources");
    assert_eq!((resources.cpu_quota, resources.cpu_period), (20_000, 100_000));
    let request = v1::PodSandboxStatsRequest { pod_sandbox_id: sandbox };
    let stats = node.cri.runtime.clone().pod_sandbox_stats(request).await.expect("stats").into_inner().stats;
    assert_eq!(stats.and_then(|stats| stats.linux).map(|linux| linux.containers.len()), Some(3));
}
