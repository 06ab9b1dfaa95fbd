//! The API: creates, gets and lists a second, over TLS as every client has it.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PostParams};

use crate::{Arguments, cluster::Cluster, error::BenchError, report::Report};

const OBJECTS: usize = 5000;
const CONCURRENCY: usize = 64;
const LISTS: usize = 20;

pub async fn measure(_arguments: &Arguments, cluster: &Cluster, report: &mut Report) -> Result<(), BenchError> {
    let api = cluster.api::<ConfigMap>();
    let name = |number: usize| format!("object-{number}");
    let create = |number: usize| {
        let api = api.clone();
        async move {
            let data = [("key".to_owned(), "value".repeat(20))].into();
            let metadata = kube::api::ObjectMeta { name: Some(name(number)), ..Default::default() };
            let object = ConfigMap { data: Some(data), metadata, ..Default::default() };
            let before = Instant::now();
            api.create(&PostParams::default(), &object).await?;
            Ok::<Duration, kube::Error>(before.elapsed())
        }
    };
    let started = Instant::now();
    let times: Vec<Duration> = stream::iter(0..OBJECTS).map(create).buffer_unordered(CONCURRENCY).try_collect().await?;
    report.one("API creates", "1/s", OBJECTS as f64 / started.elapsed().as_secs_f64());
    report.times("an API create, 64 at once", &times);
    let get = |number: usize| {
        let api = api.clone();
        async move { api.get(&name(number)).await.map(|_| ()) }
    };
    let started = Instant::now();
    stream::iter(0..OBJECTS).map(get).buffer_unordered(CONCURRENCY).try_collect::<Vec<()>>().await?;
    report.one("API gets", "1/s", OBJECTS as f64 / started.elapsed().as_secs_f64());
    let started = Instant::now();
    for _ in 0..LISTS {
        api.list(&ListParams::default()).await?;
    }
    report.one(format!("API lists of {OBJECTS} objects"), "1/s", LISTS as f64 / started.elapsed().as_secs_f64());
    let single: Vec<Duration> = stream::iter(OBJECTS..OBJECTS + 200).then(create).try_collect().await?;
    report.times("an API create, one at a time", &single);
    Ok(())
}
