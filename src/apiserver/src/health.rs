//! `/livez`, `/readyz` and `/healthz`, each as a whole and check by check.

use axum::body::Body;
use http::{Response, StatusCode};

use crate::{core::Core, endpoints::Context, query::Query, respond};

/// Whether one check passes; the error is its reason.
type Check = (&'static str, fn(&Core) -> Result<(), &'static str>);

const ALWAYS: fn(&Core) -> Result<(), &'static str> = |_| Ok(());

const LIVE: &[Check] = &[("ping", ALWAYS), ("log", ALWAYS), ("etcd", store)];
const READY: &[Check] = &[
    ("ping", ALWAYS),
    ("log", ALWAYS),
    ("etcd", store),
    ("informer-sync", cache),
    ("poststarthook/rbac/bootstrap-roles", bootstrapped),
    ("shutdown", running),
];

fn store(core: &Core) -> Result<(), &'static str> {
    if core.store.revision() > 0 { Ok(()) } else { Err("the store has no revision yet") }
}

fn cache(core: &Core) -> Result<(), &'static str> {
    if core.cacher.revision() > 0 { Ok(()) } else { Err("the watch cache is not loaded") }
}

fn bootstrapped(core: &Core) -> Result<(), &'static str> {
    if core.is_bootstrapped() { Ok(()) } else { Err("not finished") }
}

fn running(core: &Core) -> Result<(), &'static str> {
    if core.tasks.stopping().is_cancelled() { Err("process is shutting down") } else { Ok(()) }
}

/// Answers for `kind` (`livez`, `readyz` or `healthz`), or for one of its checks.
pub fn answer(core: &Core, context: &Context, kind: &str, check: Option<&str>) -> Response<Body> {
    let checks = if kind == "readyz" { READY } else { LIVE };
    let query = Query::of(&context.uri);
    if let Some(check) = check {
        let Some((_, probe)) = checks.iter().find(|(name, _)| *name == check) else {
            return respond::text(StatusCode::NOT_FOUND, "404 page not found\n");
        };
        return match probe(core) {
            Ok(()) => respond::text(StatusCode::OK, "ok"),
            Err(why) => respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n")),
        };
    }
    let excluded = query.all("exclude");
    let mut lines = String::new();
    let mut healthy = true;
    for (name, probe) in checks {
        if excluded.contains(name) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match probe(core) {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(_) => {
                healthy = false;
                lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
            }
        }
    }
    if !healthy {
        return respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}{kind} check failed\n"));
    }
    if query.get("verbose").is_some() {
        return respond::text(StatusCode::OK, format!("{lines}{kind} check passed\n"));
    }
    respond::text(StatusCode::OK, "ok")
}
