//! Watches, beside those of a real etcd.

use std::time::Duration;

use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{
    Ours,
    same::{Clients, Etcd},
};
use crate::pb::{
    CompactionRequest, DeleteRangeRequest, PutRequest, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest,
    WatchRequest, WatchResponse, watch_request::RequestUnion,
};

/// One stream of watches.
struct Watching {
    requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

impl Watching {
    /// etcd says nothing before it is asked something.
    async fn start(clients: &mut Clients, first: WatchCreateRequest) -> Self {
        let (requests, stream) = mpsc::channel(16);
        let first = WatchRequest { request_union: Some(RequestUnion::CreateRequest(first)) };
        requests.send(first).await.unwrap();
        let answers = clients.watch.watch(ReceiverStream::new(stream)).await.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn ask(&self, request: RequestUnion) {
        self.requests.send(WatchRequest { request_union: Some(request) }).await.unwrap();
    }

    async fn next(&mut self) -> WatchResponse {
        let mut answer = timeout(Duration::from_secs(20), self.answers.message()).await.unwrap().unwrap().unwrap();
        if let Some(header) = &mut answer.header {
            (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
        }
        answer
    }

    /// Answers until one has events up to `revision`, without heads and with all events in one.
    async fn events(&mut self, revision: i64) -> WatchResponse {
        let mut all = WatchResponse::default();
        loop {
            let answer = self.next().await;
            let last = answer.events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
            all.watch_id = answer.watch_id;
            all.events.extend(answer.events);
            if last >= revision {
                return all;
            }
        }
    }
}

fn create(key: &'static str, end: &'static str, start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest { key: key.into(), range_end: end.into(), start_revision, ..WatchCreateRequest::default() }
}

async fn write(clients: &mut Clients) {
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")] {
        let put = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
        clients.kv.put(put).await.unwrap();
    }
    let delete = DeleteRangeRequest { key: "a".into(), range_end: "c".into(), prev_kv: false };
    clients.kv.delete_range(delete).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_are_made_answered_and_ended_as_by_etcd() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Ours::start_reserving(None).await;
    let (mut here, mut etcd) = (Clients::new(&ours.channel().await), Etcd::start(&folder.path().join("etcd")).await);
    let mut found = Vec::new();
    for clients in [&mut here, &mut *etcd] {
        write(clients).await;
        let mut said = Vec::new();
        // Two that go on, one with a number of its own; then those that cannot be.
        let mut watching = Watching::start(clients, create("x", "", 0)).await;
        said.push(watching.next().await);
        for request in [
            WatchCreateRequest { watch_id: 7, ..create("x", "z", 0) },
            WatchCreateRequest { watch_id: 7, ..create("y", "", 0) },
            create("z", "x", 0),
            create("x", "x", 0),
        ] {
            watching.ask(RequestUnion::CreateRequest(request)).await;
            said.push(watching.next().await);
        }
        let put = PutRequest { key: "x".into(), value: "live".into(), ..PutRequest::default() };
        clients.kv.put(put).await.unwrap();
        let mut both = [watching.next().await, watching.next().await];
        both.sort_by_key(|answer| answer.watch_id);
        said.extend(both);
        watching.ask(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
        said.push(watching.next().await);
        watching.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 99 })).await;
        watching.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 7 })).await;
        said.push(watching.next().await);
        clients.kv.compact(CompactionRequest { revision: 5, physical: true }).await.unwrap();
        watching.ask(RequestUnion::CreateRequest(create("a", "z", 3))).await;
        said.push(watching.next().await);
        said.push(watching.next().await);
        found.push(said);
    }
    for (number, (ours, theirs)) in found[0].iter().zip(&found[1]).enumerate() {
        assert_eq!(ours, theirs, "answer {number}");
    }
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_those_of_etcd() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Ours::start_reserving(None).await;
    let (mut here, mut etcd) = (Clients::new(&ours.channel().await), Etcd::start(&folder.path().join("etcd")).await);
    let requests = [
        create("a", "", 2),
        create("a", "\0", 1),
        create("", "\0", 3),
        WatchCreateRequest { prev_kv: true, ..create("a", "c", 2) },
        WatchCreateRequest { prev_kv: true, filters: vec![0], ..create("\0", "\0", 2) },
        WatchCreateRequest { filters: vec![1], fragment: true, ..create("\0", "\0", 2) },
    ];
    let mut found = Vec::new();
    for clients in [&mut here, &mut *etcd] {
        write(clients).await;
        let mut said = Vec::new();
        for request in &requests {
            let mut watching = Watching::start(clients, request.clone()).await;
            assert!(watching.next().await.created);
            let last = if request.filters == [1] { 5 } else { 6 };
            said.push(watching.events(last).await);
        }
        found.push(said);
    }
    for (request, (ours, theirs)) in requests.iter().zip(found[0].iter().zip(&found[1])) {
        assert_eq!(ours, theirs, "{request:?}");
    }
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_progress_notice_comes_after_all_events_that_it_speaks_of() {
    let ours = Ours::start_reserving(None).await;
    let mut clients = Clients::new(&ours.channel().await);
    let mut watching = Watching::start(&mut clients, create("k", "", 0)).await;
    watching.ask(RequestUnion::CreateRequest(create("l", "", 0))).await;
    assert!(watching.next().await.created && watching.next().await.created);
    let mut writer = Clients::new(&ours.channel().await);
    let writing = tokio::spawn(async move {
        for number in 0..500 {
            let key = if number % 2 == 0 { "k" } else { "l" };
            writer.kv.put(PutRequest { key: key.into(), ..PutRequest::default() }).await.unwrap();
        }
    });
    let (mut last, mut notices) = (1, 0);
    watching.ask(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    while last < 501 {
        let answer = watching.next().await;
        let revision = answer.header.unwrap().revision;
        if answer.watch_id == -1 {
            assert!(answer.events.is_empty());
            last = revision;
            notices += 1;
            watching.ask(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
        } else {
            let told = answer.events.iter().filter_map(|event| event.kv.as_ref()).map(|kv| kv.mod_revision);
            assert!(told.min().unwrap() > last, "an event of {revision} came after the notice of {last}");
        }
    }
    assert!(notices > 1);
    writing.await.unwrap();
    ours.stop().await;
}
