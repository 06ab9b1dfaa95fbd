//! Every way in which a request fails, in kube-apiserver's words.

use apimachinery::status::Status;
use serde_json::{Value, json};
use storage::StoreError;

use crate::cacher::{Behind, NotFresh};

/// A failure with all its parts; an empty `reason` stands for an unknown one.
pub fn status(code: u16, reason: &str, message: impl Into<String>, details: Option<Value>) -> Status {
    let mut body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message.into(), "code": code,
    });
    if !reason.is_empty() {
        body["reason"] = reason.into();
    }
    if let Some(details) = details {
        body["details"] = details;
    }
    serde_json::from_value(body).expect("the fields of a status have the types that Status declares")
}

/// The HTTP status code of a failure.
pub fn code_of(status: &Status) -> u16 {
    u16::try_from(i64::from(status.code)).unwrap_or(500)
}

/// `group` and `resource` as messages name them.
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn details(group: &str, resource: &str, name: &str) -> Value {
    let mut details = json!({});
    for (key, value) in [("name", name), ("group", group), ("kind", resource)] {
        if !value.is_empty() {
            details[key] = value.into();
        }
    }
    details
}

/// 404 for an object.
pub fn not_found(group: &str, resource: &str, name: &str) -> Status {
    let message = format!("{} \"{name}\" not found", qualified(group, resource));
    status(404, "NotFound", message, Some(details(group, resource, name)))
}

/// 404 for what is no resource.
pub fn no_resource() -> Status {
    status(404, "NotFound", "the server could not find the requested resource", Some(json!({})))
}

/// 405.
pub fn no_method() -> Status {
    status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", Some(json!({})))
}

/// 409: the name is taken.
pub fn already_exists(group: &str, resource: &str, name: &str) -> Status {
    let message = format!("{} \"{name}\" already exists", qualified(group, resource));
    status(409, "AlreadyExists", message, Some(details(group, resource, name)))
}

/// 409 because of `why`.
pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Status {
    let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", qualified(group, resource));
    status(409, "Conflict", message, Some(details(group, resource, name)))
}

/// 409: somebody else was faster.
pub fn modified(group: &str, resource: &str, name: &str) -> Status {
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    conflict(group, resource, name, why)
}

/// 400.
pub fn bad_request(message: impl Into<String>) -> Status {
    status(400, "BadRequest", message, None)
}

/// 401.
pub fn unauthorized() -> Status {
    status(401, "Unauthorized", "Unauthorized", None)
}

/// 403 with `why` about an object.
pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Status {
    let subject = qualified(group, resource);
    let message = if name.is_empty() {
        format!("{subject} is forbidden: {why}")
    } else {
        format!("{subject} \"{name}\" is forbidden: {why}")
    };
    status(403, "Forbidden", message, Some(details(group, resource, name)))
}

/// 403 about a path that is no resource.
pub fn forbidden_path(message: impl Into<String>) -> Status {
    status(403, "Forbidden", message, Some(json!({})))
}

/// 422 with one cause.
pub fn invalid_one(group: &str, kind: &str, name: &str, field: &str, reason: &str, message: &str) -> Status {
    invalid(group, kind, name, &[(field.to_owned(), reason.to_owned(), message.to_owned())])
}

/// 422 with causes of (field, reason, message).
pub fn invalid(group: &str, kind: &str, name: &str, causes: &[(String, String, String)]) -> Status {
    let texts: Vec<String> = causes.iter().map(|(field, _, message)| format!("{field}: {message}")).collect();
    let text = if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(", ")) };
    let mut details = details(group, kind, name);
    details["causes"] = causes
        .iter()
        .map(|(field, reason, message)| json!({"reason": reason, "message": message, "field": field}))
        .collect();
    status(422, "Invalid", format!("{} \"{name}\" is invalid: {text}", qualified(group, kind)), Some(details))
}

/// 422 without words: what a generic server error says for a patch that does not apply.
pub fn unprocessable() -> Status {
    let message = "the server rejected our request due to an error in our request";
    status(422, "Invalid", message, Some(json!({})))
}

/// 406.
pub fn not_acceptable() -> Status {
    let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
                   application/vnd.kubernetes.protobuf, application/json;stream=watch, \
                   application/vnd.kubernetes.protobuf;stream=watch";
    status(406, "NotAcceptable", message, Some(json!({})))
}

/// 415 for a body that is to become an object.
pub fn unknown_body() -> Status {
    let message = "the body of the request was in an unknown format - accepted media types include: application/json, \
                   application/yaml, application/vnd.kubernetes.protobuf";
    status(415, "UnsupportedMediaType", message, None)
}

/// 415 with a reason of its own.
pub fn unsupported_media_type(message: impl Into<String>) -> Status {
    status(415, "UnsupportedMediaType", message, None)
}

/// 415 for a patch of an unknown type.
pub fn unknown_patch() -> Status {
    status(415, "UnsupportedMediaType", "415: Unsupported Media Type", Some(json!({})))
}

/// 413.
pub fn too_large(limit: usize) -> Status {
    status(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"), None)
}

/// 410: a revision that is forgotten.
pub fn expired(message: impl Into<String>) -> Status {
    status(410, "Expired", message, None)
}

/// 410 for a watch.
pub fn too_old(wanted: u64, oldest: u64) -> Status {
    expired(format!("too old resource version: {wanted} ({oldest})"))
}

/// 500 with a message and no reason.
pub fn unknown(message: impl Into<String>) -> Status {
    status(500, "", message, None)
}

/// 500 as an internal error.
pub fn internal(message: impl std::fmt::Display) -> Status {
    let details = json!({"causes": [{"message": message.to_string()}]});
    status(500, "InternalError", format!("Internal error occurred: {message}"), Some(details))
}

/// 503.
pub fn unavailable(message: impl Into<String>) -> Status {
    status(503, "ServiceUnavailable", message, None)
}

/// 504 because the request took too long.
pub fn timeout(message: impl Into<String>) -> Status {
    status(504, "Timeout", format!("Timeout: {}", message.into()), Some(json!({})))
}

/// 429 with a time to wait.
pub fn too_many(message: impl Into<String>, retry_after_seconds: u32) -> Status {
    let details = json!({"retryAfterSeconds": retry_after_seconds});
    status(429, "TooManyRequests", message, (retry_after_seconds > 0).then_some(details))
}

impl From<NotFresh> for Box<Status> {
    fn from(reason: NotFresh) -> Self {
        match reason {
            NotFresh::Behind(behind) => behind.into(),
            NotFresh::Store(error) => store(&error).into(),
        }
    }
}

impl From<Behind> for Box<Status> {
    fn from(behind: Behind) -> Self {
        Box::new(too_large_version(behind.wanted, behind.current))
    }
}

/// 504 for a revision that has not come about.
pub fn too_large_version(wanted: u64, current: u64) -> Status {
    let details = json!({
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1,
    });
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    status(504, "Timeout", message, Some(details))
}

/// What the store's failure is to a client.
pub fn store(error: &StoreError) -> Status {
    match error {
        StoreError::Compacted { .. } => {
            expired("The provided continue parameter is too old to display a consistent list result.")
        }
        StoreError::Unavailable(_) => unavailable(error.to_string()),
        StoreError::UnknownOutcome(_) => status(504, "Timeout", error.to_string(), None),
        StoreError::TooLarge { .. } => status(413, "RequestEntityTooLarge", error.to_string(), None),
        other => internal(other),
    }
}
