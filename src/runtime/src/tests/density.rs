//! Many pods on one node.

use super::*;

const PODS: usize = 150;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_starts_in_milliseconds_and_many_live_side_by_side() {
    let node = Node::start_with(|config| Config { guests_max: Some(100), ..config }).await;
    let image = node.image("hello-http").await;
    let mut pods = Vec::new();
    let mut times = Vec::new();
    for number in 0..PODS {
        let (sandbox, ip) = node.sandbox(&format!("pod-{number}")).await;
        let begun = Instant::now();
        node.run(&sandbox, container("hello", &image, &[])).await;
        times.push(begun.elapsed());
        pods.push((sandbox, ip));
    }
    times.sort_unstable();
    let median = times[times.len() / 2];
    assert!(median < Duration::from_millis(10), "half of the starts took longer than {median:?}");
    // More pods than guests that can be alive: those that nobody asks hold none.
    for (_, ip) in &pods {
        let (code, text) = get(SocketAddr::new(*ip, 8080), "/").await.expect("an answer");
        assert_eq!((code, text.as_str()), (200, "Hello from a WebAssembly component\n"));
    }
    let filter = v1::ListContainerStatsRequest { filter: None };
    let stats = node.cri.runtime.clone().list_container_stats(filter).await.expect("stats").into_inner().stats;
    assert_eq!(stats.len(), pods.len());
    let alive: u64 = stats.iter().filter_map(|stats| stats.memory?.usage_bytes).map(|bytes| bytes.value).sum();
    assert_eq!(alive, 0, "an idle pod holds no memory of a guest");
    for (sandbox, _) in &pods {
        node.remove_sandbox(sandbox).await;
    }
}
