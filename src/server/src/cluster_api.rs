//! What Kubernetes has not: the paths below `/coracle/v1/`, by which servers join, and people see and change who belongs to
//! the cluster. Who asks has been authenticated and authorized, for the path as a non-resource URL.
//!
//! | method and path | what |
//! |---|---|
//! | `POST /coracle/v1/join` | takes a server into the cluster, and gives it the cluster's keys |
//! | `GET /coracle/v1/members` | all servers |
//! | `DELETE /coracle/v1/members/ID` | removes one for good |
//! | `POST /coracle/v1/members/ID/promote` | lets one vote now; `?force=true` also to an even number |
//! | `POST /coracle/v1/members/ID/lead` | lets one lead |

use std::path::PathBuf;

use apiserver::{endpoints::Failure, fail, respond};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State, rejection::JsonRejection},
    routing::{delete, get, post},
};
use http::{Response, StatusCode};
use raft::{Member, RaftStore, Server};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::StoreError;

use crate::join::{self, Admission, Application};

/// How often a number is tried that another joining server has just been given.
const TRIES: usize = 8;

/// All servers of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// By number.
    pub members: Vec<Member>,
}

/// What the paths need.
#[derive(Clone)]
pub struct Cluster {
    pub store: RaftStore,
    pub cluster: String,
    pub keys: PathBuf,
}

/// The paths.
pub fn paths(cluster: Cluster) -> Router {
    Router::new()
        .route(join::PATH, post(admit))
        .route("/coracle/v1/members", get(list))
        .route("/coracle/v1/members/{id}", delete(remove))
        .route("/coracle/v1/members/{id}/promote", post(promote))
        .route("/coracle/v1/members/{id}/lead", post(lead))
        .with_state(cluster)
}

type Outcome = Result<Value, Failure>;

async fn admit(
    State(cluster): State<Cluster>,
    application: Result<Json<Application>, JsonRejection>,
) -> Response<Body> {
    answered(admitted(&cluster, application).await)
}

async fn admitted(cluster: &Cluster, application: Result<Json<Application>, JsonRejection>) -> Outcome {
    let Json(application) = application.map_err(|error| refused(400, "BadRequest", &error.body_text()))?;
    let Application { name, address } = application;
    if address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
        let why = format!("a server's address is HOST:PORT, not {address:?}");
        return Err(refused(400, "BadRequest", &why));
    }
    let keys = join::read(&cluster.keys).map_err(|error| refused(500, "InternalError", &error.to_string()))?;
    let server = Server { name, peer_address: address.clone(), api_address: address };
    let id = add(&cluster.store, &server).await.map_err(|error| failed(&error))?;
    tracing::info!(id, name = server.name, address = server.api_address, "a server joins");
    Ok(json!(Admission { cluster: cluster.cluster.clone(), id, keys }))
}

/// Adds a server under a free number. Two that join at once may be thought the same number of.
async fn add(store: &RaftStore, server: &Server) -> Result<u64, StoreError> {
    let mut tries = 0;
    loop {
        let id = store.free_id();
        tries += 1;
        match store.add_learner(id, server.clone()).await {
            Ok(()) => return Ok(id),
            Err(StoreError::Invalid(_)) if tries < TRIES && store.free_id() != id => {}
            Err(error) => return Err(error),
        }
    }
}

async fn list(State(cluster): State<Cluster>) -> Response<Body> {
    answered(Ok(json!(Members { members: cluster.store.members() })))
}

async fn remove(State(cluster): State<Cluster>, Path(id): Path<u64>) -> Response<Body> {
    done(cluster.store.remove(id).await)
}

#[derive(Debug, Deserialize)]
struct Force {
    #[serde(default)]
    force: bool,
}

async fn promote(State(cluster): State<Cluster>, Path(id): Path<u64>, Query(how): Query<Force>) -> Response<Body> {
    done(cluster.store.promote(id, how.force).await)
}

async fn lead(State(cluster): State<Cluster>, Path(id): Path<u64>) -> Response<Body> {
    done(cluster.store.transfer_leader(id).await)
}

fn done(outcome: Result<(), StoreError>) -> Response<Body> {
    let success = json!({"kind": "Status", "apiVersion": "v1", "status": "Success"});
    answered(outcome.map(|()| success).map_err(|error| failed(&error)))
}

fn answered(outcome: Outcome) -> Response<Body> {
    match outcome {
        Ok(body) => respond::json(StatusCode::OK, &body),
        Err(status) => respond::status(&status),
    }
}

fn failed(error: &StoreError) -> Failure {
    match error {
        StoreError::Invalid(why) => refused(409, "Conflict", why),
        other => fail::store(other).into(),
    }
}

fn refused(code: u16, reason: &str, why: &str) -> Failure {
    fail::status(code, reason, why, None).into()
}
