//! How fast it is. Run it by name: `cargo nextest run -p raft --run-ignored only puts_per_second --no-capture`.

use std::time::{Duration, Instant};

use super::{alone, put};
use crate::RaftStore;

const RUN: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a test"]
#[expect(clippy::print_stderr, reason = "its output is what it is for")]
async fn puts_per_second() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let store = RaftStore::open(folder.path(), alone()).await.unwrap();
    eprintln!("opened, {} MB resident", resident() >> 20);
    let value = "x".repeat(1024);
    for writers in [1_usize, 32, 256] {
        let begin = Instant::now();
        let runs = (0..writers).map(|writer| {
            let (store, value) = (store.clone(), value.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while begin.elapsed() < RUN {
                    let start = Instant::now();
                    put(&store, format!("{writers}/{writer}/{}", latencies.len()), value.clone()).await.unwrap();
                    latencies.push(start.elapsed());
                }
                latencies
            })
        });
        let mut latencies: Vec<Duration> =
            futures::future::join_all(runs).await.into_iter().flat_map(Result::unwrap).collect();
        latencies.sort_unstable();
        let rate = latencies.len() as f64 / begin.elapsed().as_secs_f64();
        let at = |quantile: usize| latencies[latencies.len() * quantile / 100];
        eprintln!(
            "{writers:4} writers: {rate:7.0} puts/s, median {:?}, 99 % {:?}, {} MB resident",
            at(50),
            at(99),
            resident() >> 20
        );
    }
    store.close().await;
    drop(store);
    let begin = Instant::now();
    let store = RaftStore::open(folder.path(), alone()).await.unwrap();
    eprintln!("opened again in {:?}, {} MB resident", begin.elapsed(), resident() >> 20);
    store.close().await;
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap() * 4096
}
