//! The whole API server over a real store, entered in process.

use std::sync::Arc;

use auth::UserInfo;
use axum::body::Body;
use component_base::{OsEntropy, SharedClock, SharedEntropy, SystemClock, Tasks, metrics::Metrics};
use futures::StreamExt;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{ApiServer, Config, Parts, ServiceRange};

struct Cluster {
    server: ApiServer,
    tasks: Tasks,
    _folder: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: SharedClock = Arc::new(SystemClock);
        let entropy: SharedEntropy = Arc::new(OsEntropy);
        let issuer = "https://kubernetes.default.svc.cluster.local";
        let tokens = auth::TokenSigner::open_or_create(&folder.path().join("sa.key"), issuer, entropy.clone()).unwrap();
        let options = raft::Options {
            id: 1,
            cluster: "test".into(),
            server: raft::Server::default(),
            connect: Arc::new(raft::NoPeers),
            begin: true,
        };
        let store = raft::RaftStore::open(&folder.path().join("db"), options).await.unwrap();
        let tasks = Tasks::new();
        let config = Config {
            advertised: "127.0.0.1:6443".parse().unwrap(),
            service_range: ServiceRange::parse("127.96.0.0/16").unwrap(),
            node_ports: (30000, 30003),
            issuer: issuer.into(),
            kubelet_tls: None,
            cluster_ca: String::new(),
        };
        let server = ApiServer::start(Parts {
            config,
            store: Arc::new(store),
            clock,
            entropy,
            tasks: tasks.clone(),
            metrics: Metrics::new(),
            tokens: Arc::new(tokens),
            client_authority: Vec::new(),
            own_paths: axum::Router::new(),
        })
        .await
        .unwrap();
        Self { server, tasks, _folder: folder }
    }

    async fn send(&self, user: &UserInfo, request: Request<Body>) -> http::Response<Body> {
        self.server.client_for(user.clone()).oneshot(request).await.unwrap()
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let media = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        self.call_as(&admin(), method, path, media, body.map(|body| body.to_string().into_bytes())).await
    }

    async fn call_as(
        &self,
        user: &UserInfo,
        method: &str,
        path: &str,
        media: &str,
        body: Option<Vec<u8>>,
    ) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, media);
        let response = self.send(user, request.body(body.map_or_else(Body::empty, Body::from)).unwrap()).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into()))
    }

    async fn stop(self) {
        self.tasks.drain().await;
    }
}

fn admin() -> UserInfo {
    UserInfo {
        name: "admin".into(),
        groups: vec!["system:masters".into(), "system:authenticated".into()],
        ..UserInfo::default()
    }
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": "x"}}, "data": {"k": "v"}})
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread")]
async fn an_object_lives_from_its_creation_to_its_deletion() {
    let cluster = Cluster::start().await;
    let (status, created) = cluster.call("POST", CONFIG_MAPS, Some(config_map("a"))).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    let (status, again) = cluster.call("POST", CONFIG_MAPS, Some(config_map("a"))).await;
    assert_eq!((status, again["reason"].as_str()), (StatusCode::CONFLICT, Some("AlreadyExists")));
    let (_, read) = cluster.call("GET", &format!("{CONFIG_MAPS}/a"), None).await;
    assert_eq!(read, created);
    let (_, list) = cluster.call("GET", &format!("{CONFIG_MAPS}?labelSelector=app%3Dx"), None).await;
    assert_eq!(list["items"][0]["data"], json!({"k": "v"}));
    let (_, patched) = cluster.call("PATCH", &format!("{CONFIG_MAPS}/a"), Some(json!({"data": {"k": "w"}}))).await;
    assert_eq!(patched["data"]["k"], "w");
    let (status, stale) = cluster.call("PUT", &format!("{CONFIG_MAPS}/a"), Some(created)).await;
    assert_eq!((status, stale["reason"].as_str()), (StatusCode::CONFLICT, Some("Conflict")), "{stale}");
    let (_, gone) = cluster.call("DELETE", &format!("{CONFIG_MAPS}/a"), None).await;
    assert_eq!(gone["status"], "Success");
    assert_eq!(cluster.call("GET", &format!("{CONFIG_MAPS}/a"), None).await.0, StatusCode::NOT_FOUND);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_stores_nothing() {
    let cluster = Cluster::start().await;
    let (status, _) = cluster.call("POST", &format!("{CONFIG_MAPS}?dryRun=All"), Some(config_map("a"))).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(cluster.call("GET", &format!("{CONFIG_MAPS}/a"), None).await.0, StatusCode::NOT_FOUND);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_are_refused_and_leave_nothing_behind() {
    let cluster = Cluster::start().await;
    let deep = format!("{{\"data\":{}1{}}}", "[".repeat(5000), "]".repeat(5000)).into_bytes();
    let cases: [(&str, Vec<u8>, u16); 9] = [
        ("application/json", b"{\"kind\":\"ConfigMap\",".to_vec(), 400),
        ("application/json", b"[]".to_vec(), 400),
        ("application/json", deep, 400),
        ("application/json", vec![b' '; crate::endpoints::body::LIMIT + 1], 413),
        ("application/yaml", b"a: [b".to_vec(), 400),
        ("text/csv", b"a,b".to_vec(), 415),
        ("application/vnd.kubernetes.protobuf", b"k8s\0".to_vec(), 415),
        ("application/vnd.kubernetes.protobuf", b"k8s\0\x0a\xff".to_vec(), 400),
        ("application/json", b"{\"kind\":\"Wrong\",\"apiVersion\":\"v1\"}".to_vec(), 400),
    ];
    for (media, body, want) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let (status, answer) = cluster.call_as(&admin(), "POST", CONFIG_MAPS, media, Some(body)).await;
        assert_eq!(status.as_u16(), want, "{media} {shown}: {answer}");
        assert_eq!(answer["kind"], "Status");
    }
    let patch = format!("{CONFIG_MAPS}/a");
    cluster.call("POST", CONFIG_MAPS, Some(config_map("a"))).await;
    for (media, body, want) in [
        ("application/apply-patch+yaml", "a: b", 422),
        ("application/unknown", "{}", 415),
        ("application/json-patch+json", "{}", 400),
        ("application/json-patch+json", "[{\"op\":\"remove\",\"path\":\"/nope\"}]", 422),
        ("application/merge-patch+json", "{\"a", 400),
    ] {
        let (status, answer) = cluster.call_as(&admin(), "PATCH", &patch, media, Some(body.into())).await;
        assert_eq!(status.as_u16(), want, "{media} {body}: {answer}");
    }
    let (_, list) = cluster.call("GET", CONFIG_MAPS, None).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_list_are_of_one_revision() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c", "d"] {
        cluster.call("POST", CONFIG_MAPS, Some(config_map(name))).await;
    }
    let (_, first) = cluster.call("GET", &format!("{CONFIG_MAPS}?limit=2"), None).await;
    assert_eq!(first["metadata"]["remainingItemCount"], 2);
    cluster.call("POST", CONFIG_MAPS, Some(config_map("bb"))).await;
    cluster.call("DELETE", &format!("{CONFIG_MAPS}/d"), None).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (_, second) = cluster.call("GET", &format!("{CONFIG_MAPS}?limit=2&continue={token}"), None).await;
    let names: Vec<&str> =
        second["items"].as_array().unwrap().iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["c", "d"], "as it was when the first page was read");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_from_a_revision() {
    let cluster = Cluster::start().await;
    let (_, created) = cluster.call("POST", CONFIG_MAPS, Some(config_map("a"))).await;
    let revision = created["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={revision}");
    let response = cluster.send(&admin(), Request::get(&path).body(Body::empty()).unwrap()).await;
    let mut events = response.into_body().into_data_stream();
    cluster.call("PATCH", &format!("{CONFIG_MAPS}/a"), Some(json!({"data": {"k": "w"}}))).await;
    cluster.call("DELETE", &format!("{CONFIG_MAPS}/a"), None).await;
    let mut text = Vec::new();
    while text.iter().filter(|byte| **byte == b'\n').count() < 2 {
        text.extend_from_slice(&events.next().await.unwrap().unwrap());
    }
    let seen: Vec<Value> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(seen.iter().map(|event| event["type"].as_str().unwrap()).collect::<Vec<_>>(), ["MODIFIED", "DELETED"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn initial_events_end_with_a_bookmark() {
    let cluster = Cluster::start().await;
    cluster.call("POST", CONFIG_MAPS, Some(config_map("a"))).await;
    let path = format!(
        "{CONFIG_MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    );
    let (_, text) = cluster.call("GET", &path, None).await;
    let events: Vec<Value> = text.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["type"], "ADDED");
    assert_eq!(events[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_holds_an_object_until_it_is_taken_away() {
    let cluster = Cluster::start().await;
    let mut held = config_map("a");
    held["metadata"]["finalizers"] = json!(["example.test/f"]);
    cluster.call("POST", CONFIG_MAPS, Some(held)).await;
    let (_, going) = cluster.call("DELETE", &format!("{CONFIG_MAPS}/a"), None).await;
    assert!(going["metadata"]["deletionTimestamp"].is_string(), "{going}");
    let patch = json!({"metadata": {"finalizers": null}});
    let (status, _) = cluster.call("PATCH", &format!("{CONFIG_MAPS}/a"), Some(patch)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(cluster.call("GET", &format!("{CONFIG_MAPS}/a"), None).await.0, StatusCode::NOT_FOUND);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_made_at_once_never_share_an_address_or_a_port() {
    let cluster = Arc::new(Cluster::start().await);
    let services = "/api/v1/namespaces/default/services";
    let make = |name: String| {
        let cluster = cluster.clone();
        async move {
            let service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]},
            });
            cluster.call("POST", services, Some(service)).await
        }
    };
    let made = futures::future::join_all((0..4).map(|number| make(format!("s{number}")))).await;
    let mut addresses = Vec::new();
    let mut ports = Vec::new();
    for (status, service) in made {
        assert_eq!(status, StatusCode::CREATED, "{service}");
        addresses.push(service["spec"]["clusterIP"].as_str().unwrap().to_owned());
        ports.push(service["spec"]["ports"][0]["nodePort"].as_u64().unwrap());
    }
    ports.sort_unstable();
    assert_eq!(ports, [30000, 30001, 30002, 30003]);
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 4);
    let (status, full) = make("s9".into()).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{full}");
    cluster.call("DELETE", &format!("{services}/s0"), None).await;
    assert_eq!(make("s9".into()).await.0, StatusCode::CREATED, "what is given back can be had again");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_does_what_no_role_allows() {
    let cluster = Cluster::start().await;
    let bob = UserInfo { name: "bob".into(), groups: vec!["system:authenticated".into()], ..UserInfo::default() };
    let (status, refused) = cluster.call_as(&bob, "GET", CONFIG_MAPS, "", None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(
        refused["message"],
        "configmaps is forbidden: User \"bob\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let request = Request::get(CONFIG_MAPS).header("Impersonate-User", "bob").body(Body::empty()).unwrap();
    assert_eq!(cluster.send(&admin(), request).await.status(), StatusCode::FORBIDDEN);
    let router = cluster.server.router();
    let anonymous = router.clone().oneshot(Request::get("/healthz").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(anonymous.status(), StatusCode::OK);
    let anonymous = router.oneshot(Request::get(CONFIG_MAPS).body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(anonymous.status(), StatusCode::FORBIDDEN);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_names_differ_and_every_resource_can_be_listed() {
    let cluster = Cluster::start().await;
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "g-"}});
    let (_, one) = cluster.call("POST", CONFIG_MAPS, Some(object.clone())).await;
    let (_, other) = cluster.call("POST", CONFIG_MAPS, Some(object)).await;
    assert_ne!(one["metadata"]["name"], other["metadata"]["name"]);
    for group in crate::resources::Table::builtin().groups().map(str::to_owned).collect::<Vec<_>>() {
        let table = crate::resources::Table::builtin();
        for version in table.versions(&group) {
            for resource in table.resources(&group, version).iter().filter(|resource| resource.is_stored()) {
                let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
                let (status, list) = cluster.call("GET", &format!("{root}/{version}/{}", resource.name), None).await;
                assert_eq!(status, StatusCode::OK, "{group} {}: {list}", resource.name);
                assert_eq!(list["kind"], resource.list_kind());
            }
        }
    }
    cluster.stop().await;
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Reads events of a watch until one satisfies.
async fn until(cluster: &Cluster, path: &str, satisfied: impl Fn(&Value) -> bool) -> Value {
    let response = cluster.send(&admin(), Request::get(path).body(Body::empty()).unwrap()).await;
    let mut events = response.into_body().into_data_stream();
    let mut text = Vec::new();
    let wait = async {
        loop {
            text.extend_from_slice(&events.next().await.expect("the watch goes on").unwrap());
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap();
                if satisfied(&event) {
                    return event;
                }
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("it comes about in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_resource_lives_as_long_as_its_definition() {
    let cluster = Cluster::start().await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.test"},
        "spec": {"group": "example.test", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]}]},
    });
    let widgets = "/apis/example.test/v1/namespaces/default/widgets";
    assert_eq!(cluster.call("GET", widgets, None).await.0, StatusCode::NOT_FOUND);
    let (status, created) = cluster.call("POST", DEFINITIONS, Some(definition)).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    let established = |event: &Value| {
        let conditions = event.pointer("/object/status/conditions").and_then(Value::as_array);
        conditions.into_iter().flatten().any(|one| one["type"] == "Established" && one["status"] == "True")
    };
    until(&cluster, &format!("{DEFINITIONS}?watch=1"), established).await;
    // The table follows the condition: the first request that finds the resource ends the wait.
    let widget =
        json!({"apiVersion": "example.test/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 2}});
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    let created = loop {
        let (status, created) = cluster.call("POST", widgets, Some(widget.clone())).await;
        if status == StatusCode::CREATED {
            break created;
        }
        assert!(tokio::time::Instant::now() < deadline, "{created}");
        tokio::task::yield_now().await;
    };
    assert_eq!((created["kind"].as_str(), created["metadata"]["generation"].as_i64()), (Some("Widget"), Some(1)));
    let (_, changed) = cluster.call("PATCH", &format!("{widgets}/w/status"), Some(json!({"status": {"a": 1}}))).await;
    assert_eq!((&changed["status"], &changed["metadata"]["generation"]), (&json!({"a": 1}), &json!(1)));
    let (_, changed) =
        cluster.call("PATCH", &format!("{widgets}/w"), Some(json!({"spec": {"size": 3}, "status": null}))).await;
    assert_eq!((&changed["status"], &changed["metadata"]["generation"]), (&json!({"a": 1}), &json!(2)));
    let (_, list) = cluster.call("GET", widgets, None).await;
    assert_eq!((list["kind"].as_str(), list["items"][0]["spec"]["size"].as_i64()), (Some("WidgetList"), Some(3)));
    let (_, discovered) = cluster.call("GET", "/apis/example.test/v1", None).await;
    assert_eq!(discovered["resources"][0]["name"], "widgets");
    let (_, going) = cluster.call("DELETE", &format!("{DEFINITIONS}/widgets.example.test"), None).await;
    assert!(going["metadata"]["deletionTimestamp"].is_string(), "{going}");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while cluster.call("GET", &format!("{DEFINITIONS}/widgets.example.test"), None).await.0 != StatusCode::NOT_FOUND {
        assert!(tokio::time::Instant::now() < deadline, "the definition goes");
        tokio::task::yield_now().await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_never_share_the_last_of_a_quota() {
    let cluster = Arc::new(Cluster::start().await);
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let hard = json!({"count/configmaps": "3"});
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}});
    cluster.call("POST", quotas, Some(quota)).await;
    let status = json!({"status": {"hard": hard, "used": {"count/configmaps": "0"}}});
    let (_, quota) = cluster.call("PATCH", &format!("{quotas}/q/status"), Some(status)).await;
    assert_eq!(quota["status"]["used"]["count/configmaps"], "0", "{quota}");
    let make = |number: usize| {
        let cluster = cluster.clone();
        async move { cluster.call("POST", CONFIG_MAPS, Some(config_map(&format!("c{number}")))).await }
    };
    let made = futures::future::join_all((0..8).map(make)).await;
    let created = made.iter().filter(|(status, _)| *status == StatusCode::CREATED).count();
    assert_eq!(created, 3, "{made:?}");
    let (_, quota) = cluster.call("GET", &format!("{quotas}/q"), None).await;
    assert_eq!(quota["status"]["used"]["count/configmaps"], "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_protobuf_is_an_object_like_any_other() {
    let cluster = Cluster::start().await;
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()][..], bytes].concat();
    let meta = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
    // A Go client writes what is empty as well.
    let metadata = [field(1, b"p"), field(3, b""), field(8, b"")].concat();
    let object = [field(1, &metadata), field(2, &[field(1, b"k"), field(2, b"v")].concat())].concat();
    let body = [b"k8s\0".to_vec(), field(1, &meta), field(2, &object)].concat();
    let media = "application/vnd.kubernetes.protobuf";
    let (status, created) = cluster.call_as(&admin(), "POST", CONFIG_MAPS, media, Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    assert_eq!(created["data"], json!({"k": "v"}));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_rights_that_they_do_not_have() {
    let cluster = Cluster::start().await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    let role = |name: &str, resource: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name},
            "rules": [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": [resource], "verbs": ["create"]}]})
    };
    cluster.call("POST", roles, Some(role("maker", "roles"))).await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "maker"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let (status, bound) = cluster.call("POST", bindings, Some(binding)).await;
    assert_eq!(status, StatusCode::CREATED, "{bound}");
    let bob = UserInfo { name: "bob".into(), groups: vec!["system:authenticated".into()], ..UserInfo::default() };
    for (resource, want) in [("roles", StatusCode::CREATED), ("rolebindings", StatusCode::FORBIDDEN)] {
        let body = Some(role(resource, resource).to_string().into_bytes());
        let (status, answer) = cluster.call_as(&bob, "POST", roles, "application/json", body).await;
        assert_eq!(status, want, "{answer}");
    }
    cluster.stop().await;
}

/// A webhook that refuses what is called `bad` and labels the rest; its URL and its authority.
async fn webhook(folder: &std::path::Path) -> (String, String) {
    let authority = auth::ClusterCa::open_or_create(folder, &SystemClock).unwrap();
    let names = ["127.0.0.1".to_owned()];
    let served = authority.server("webhook", &names, component_base::Clock::now(&SystemClock)).unwrap();
    let tls = crate::serve::server_config(&served.certificate, &served.key, authority.certificate_pem()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/admit", listener.local_addr().unwrap());
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = acceptor.accept(stream).await.unwrap();
            let service = hyper::service::service_fn(async |request: Request<hyper::body::Incoming>| {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let review: Value = serde_json::from_slice(&body).unwrap();
                let asked = &review["request"];
                let patch =
                    json!([{"op": "add", "path": "/metadata/labels/seen", "value": asked["operation"]}]).to_string();
                let patch = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, patch);
                let mut response =
                    json!({"uid": asked["uid"], "allowed": true, "patchType": "JSONPatch", "patch": patch});
                if asked["name"] == "bad" {
                    response = json!({"uid": asked["uid"], "allowed": false, "status": {"code": 403, "message": "not this one"}});
                }
                let answer =
                    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
                Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(answer.to_string())))
            });
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
        }
    });
    let bundle = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, authority.certificate_pem());
    (url, bundle)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_changes_and_refuses_objects_and_its_failure_counts_as_its_policy_says() {
    let cluster = Cluster::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (url, bundle) = webhook(folder.path()).await;
    let configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    let configuration = |url: &str, policy: &str| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "w"},
            "webhooks": [{"name": "w.example.test", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": policy,
                "clientConfig": {"url": url, "caBundle": bundle},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]}]})
    };
    let (status, made) = cluster.call("POST", configurations, Some(configuration(&url, "Fail"))).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let (status, labelled) = cluster.call("POST", CONFIG_MAPS, Some(config_map("good"))).await;
    assert_eq!(
        (status, labelled["metadata"]["labels"]["seen"].as_str()),
        (StatusCode::CREATED, Some("CREATE")),
        "{labelled}"
    );
    let (status, refused) = cluster.call("POST", CONFIG_MAPS, Some(config_map("bad"))).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(refused["message"], "admission webhook \"w.example.test\" denied the request: not this one");
    // Nobody listens at port 1.
    for (policy, want) in [("Fail", StatusCode::INTERNAL_SERVER_ERROR), ("Ignore", StatusCode::CREATED)] {
        cluster.call("DELETE", &format!("{configurations}/w"), None).await;
        cluster.call("POST", configurations, Some(configuration("https://127.0.0.1:1/", policy))).await;
        let (status, answer) = cluster.call("POST", CONFIG_MAPS, Some(config_map(&policy.to_lowercase()))).await;
        assert_eq!(status, want, "{answer}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pod_serves_is_reached_through_the_api_server() {
    let cluster = Cluster::start().await;
    let listener = tokio::net::TcpListener::bind("127.64.0.9:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(async |request: Request<hyper::body::Incoming>| {
                let (method, uri) = (request.method().clone(), request.uri().clone());
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let answer =
                    json!({"method": method.as_str(), "uri": uri.to_string(), "body": String::from_utf8_lossy(&body)});
                Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(answer.to_string())))
            });
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
        }
    });
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"name": "web", "port": 80}]}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "endpoints": [{"addresses": ["127.64.0.9"], "conditions": {"ready": true}}], "ports": [{"name": "web", "port": port}]});
    let (status, made) = cluster.call("POST", "/api/v1/namespaces/default/services", Some(service)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let through = "/api/v1/namespaces/default/services/s:web/proxy/a/b?c=d";
    let (status, none) = cluster.call("GET", through, None).await;
    assert_eq!(
        (status, none["message"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("no endpoints available for service \"s\""))
    );
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let (status, made) = cluster.call("POST", slices, Some(slice)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let (status, answer) = cluster.call_as(&admin(), "PUT", through, "text/plain", Some(b"hello".to_vec())).await;
    assert_eq!((status, &answer), (StatusCode::OK, &json!({"method": "PUT", "uri": "/a/b?c=d", "body": "hello"})));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_is_said_to_be_expired() {
    let cluster = Cluster::start().await;
    let mut last = String::new();
    for name in ["a", "b", "c"] {
        let (_, created) = cluster.call("POST", CONFIG_MAPS, Some(config_map(name))).await;
        created["metadata"]["resourceVersion"].as_str().unwrap().clone_into(&mut last);
    }
    let (_, first) = cluster.call("GET", &format!("{CONFIG_MAPS}?limit=1"), None).await;
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    cluster.call("POST", CONFIG_MAPS, Some(config_map("d"))).await;
    let store = cluster.server.cacher().store().clone();
    store.compact(store.revision()).await.unwrap();
    let exact = format!("{CONFIG_MAPS}?resourceVersion={last}&resourceVersionMatch=Exact");
    let (status, expired) = cluster.call("GET", &exact, None).await;
    assert_eq!((status, expired["reason"].as_str()), (StatusCode::GONE, Some("Expired")), "{expired}");
    assert_eq!(expired["message"], "The resourceVersion for the provided list is too old.");
    let (status, expired) = cluster.call("GET", &format!("{CONFIG_MAPS}?limit=1&continue={token}"), None).await;
    assert_eq!(status, StatusCode::GONE, "{expired}");
    // What is offered instead goes on from the same place, as of now.
    let token = expired["metadata"]["continue"].as_str().expect("a token to go on with");
    let (status, rest) = cluster.call("GET", &format!("{CONFIG_MAPS}?continue={token}"), None).await;
    let names: Vec<&str> =
        rest["items"].as_array().unwrap().iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
    assert_eq!((status, names), (StatusCode::OK, vec!["b", "c", "d"]));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_change_and_deny_what_their_bindings_cover() {
    let cluster = Cluster::start().await;
    let group = "/apis/admissionregistration.k8s.io/v1";
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]});
    let constraints = json!({"resourceRules": [rule], "excludeResourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "operations": ["*"], "resources": ["configmaps"], "resourceNames": ["limits"]}]});
    let object = |kind: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "p"}, "spec": spec});
    let policy = object(
        "ValidatingAdmissionPolicy",
        json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "matchConstraints": constraints,
            "matchConditions": [{"name": "not-free", "expression": "object.metadata.name != 'free'"}],
            "variables": [{"name": "most", "expression": "int(params.data.most)"}, {"name": "size", "expression": "has(object.data) ? size(object.data) : 0"}],
            "validations": [
                {"expression": "variables.size <= variables.most", "messageExpression": "'at most ' + string(variables.most)"},
                {"expression": "request.userInfo.username != ''", "reason": "Forbidden"},
                {"expression": "!has(object.data) || object.data.a != 'secret'", "message": "no secrets", "reason": "Forbidden"},
                {"expression": "!has(object.data) || authorizer.requestResource.check(object.data.a).allowed()"}]}),
    );
    let binding = object(
        "ValidatingAdmissionPolicyBinding",
        json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"},
            "matchResources": {"objectSelector": {"matchExpressions": [{"key": "loose", "operator": "DoesNotExist"}]}}}),
    );
    let mutating = object(
        "MutatingAdmissionPolicy",
        json!({"matchConstraints": constraints, "reinvocationPolicy": "Never", "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{metadata: Object.metadata{labels: {'by': 'policy'}}}"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: object.metadata.labels.by}]"}}]}),
    );
    let bound = object("MutatingAdmissionPolicyBinding", json!({"policyName": "p"}));
    for (resource, body) in [
        ("validatingadmissionpolicies", policy),
        ("validatingadmissionpolicybindings", binding),
        ("mutatingadmissionpolicies", mutating),
        ("mutatingadmissionpolicybindings", bound),
    ] {
        let (status, made) = cluster.call("POST", &format!("{group}/{resource}"), Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
    }
    let map = |name: &str, data: Value, labels: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": data});
    let denied = |why: &str| {
        format!("configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: {why}")
    };
    let (status, refused) = cluster.call("POST", CONFIG_MAPS, Some(map("x", json!({}), json!({})))).await;
    let why = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert_eq!((status.as_u16(), refused["message"].as_str()), (422, Some(denied(why).as_str())));
    let (status, made) = cluster.call("POST", CONFIG_MAPS, Some(map("limits", json!({"most": "1"}), json!({})))).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let authorizer = "!has(object.data) || authorizer.requestResource.check(object.data.a).allowed()";
    for (data, code, reason, why) in [
        (json!({"a": "get", "b": "2"}), 422, "Invalid", "at most 1".to_owned()),
        (json!({"a": "secret"}), 403, "Forbidden", "no secrets".to_owned()),
        (
            json!({"b": "1"}),
            422,
            "Invalid",
            "expression '!has(object.data) || object.data.a != 'secret'' resulted in error: no such key: a".to_owned(),
        ),
    ] {
        let (status, refused) = cluster.call("POST", CONFIG_MAPS, Some(map("x", data, json!({})))).await;
        assert_eq!((status.as_u16(), refused["reason"].as_str()), (code, Some(reason)), "{refused}");
        assert_eq!(refused["message"], denied(&why));
        assert_eq!(refused["details"]["causes"][0]["message"], denied(&why)["configmaps \"x\" is forbidden: ".len()..]);
    }
    let bob = UserInfo { name: "bob".into(), groups: vec!["system:authenticated".into()], ..UserInfo::default() };
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}]});
    for (resource, body) in [("roles", role), ("rolebindings", binding)] {
        let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/default/{resource}");
        cluster.call("POST", &path, Some(body)).await;
    }
    for (verb, want) in [("delete", 422), ("get", 201)] {
        let body = Some(map("x", json!({"a": verb}), json!({})).to_string().into_bytes());
        let (status, answer) = cluster.call_as(&bob, "POST", CONFIG_MAPS, "application/json", body).await;
        assert_eq!(status.as_u16(), want, "{answer}");
        if want == 422 {
            assert_eq!(answer["message"], denied(&format!("failed expression: {authorizer}")));
        } else {
            assert_eq!(answer["metadata"]["labels"], json!({"by": "policy", "a/b": "policy"}));
        }
    }
    for (name, labels) in [("free", json!({})), ("y", json!({"loose": "yes"}))] {
        let (status, made) = cluster.call("POST", CONFIG_MAPS, Some(map(name, json!({"b": "1"}), labels))).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
    }
    cluster.stop().await;
}
