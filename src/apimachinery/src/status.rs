//! `Status` of meta/v1: how the API answers when it does not answer with an object, with the constructors and words of kube-apiserver.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{field::ErrorList, gotext};

/// A group with one of its resources (plural, lower case), as messages name it: `deployments.apps`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupResource {
    /// The API group; empty for the core group.
    pub group: String,
    /// The plural name.
    pub resource: String,
}

impl GroupResource {
    /// Names a resource of a group.
    pub fn new(group: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { group: group.into(), resource: resource.into() }
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&qualified(&self.group, &self.resource))
    }
}

/// A group with one of its kinds, as messages name it: `Deployment.apps`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKind {
    /// The API group; empty for the core group.
    pub group: String,
    /// The kind.
    pub kind: String,
}

impl GroupKind {
    /// Names a kind of a group.
    pub fn new(group: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { group: group.into(), kind: kind.into() }
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&qualified(&self.group, &self.kind))
    }
}

/// `name.group`, or `name` alone in the core group.
pub fn qualified(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// One cause of a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusCause {
    /// Machine-readable reason, e.g. `FieldValueInvalid`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What to tell a person.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Path of the field that caused it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// What a failure is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusDetails {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Group of the resource or kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Resource (or kind, for validation) of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Uid of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    /// When to try again; 0 says nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: i32,
}

/// List metadata of a status: empty, unless a list was cut.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusMeta {
    /// Revision of the answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Where an inconsistent list may go on.
    #[serde(skip_serializing_if = "String::is_empty", rename = "continue")]
    pub continue_token: String,
}

/// The Kubernetes `Status` object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Always `Status`.
    pub kind: String,
    /// Always `v1`.
    pub api_version: String,
    /// List metadata.
    pub metadata: StatusMeta,
    /// `Success` or `Failure`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// What to tell a person.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Machine-readable reason; empty when unknown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<StatusDetails>>,
    /// HTTP status code; 0 says nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub code: i32,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl Default for Status {
    fn default() -> Self {
        Self {
            kind: "Status".into(),
            api_version: "v1".into(),
            metadata: StatusMeta::default(),
            status: String::new(),
            message: String::new(),
            reason: String::new(),
            details: None,
            code: 0,
        }
    }
}

impl Status {
    /// A failure without details.
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            status: "Failure".into(),
            message: message.into(),
            reason: reason.into(),
            code: i32::from(code),
            ..Self::default()
        }
    }

    /// A plain success.
    pub fn success() -> Self {
        Self { status: "Success".into(), ..Self::default() }
    }

    /// The same with these details.
    #[must_use]
    pub fn with_details(mut self, details: StatusDetails) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The same with a time to wait.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: i32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    fn about(self, group: &str, kind: &str, name: &str) -> Self {
        self.with_details(StatusDetails {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            ..StatusDetails::default()
        })
    }

    /// 404 for an object.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        let message = format!("{resource} {} not found", gotext::quote(name));
        Self::failure(404, "NotFound", message).about(&resource.group, &resource.resource, name)
    }

    /// 404 for what is no resource.
    pub fn no_resource() -> Self {
        Self::failure(404, "NotFound", "the server could not find the requested resource").about("", "", "")
    }

    /// 409: the name is taken.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        let message = format!("{resource} {} already exists", gotext::quote(name));
        Self::failure(409, "AlreadyExists", message).about(&resource.group, &resource.resource, name)
    }

    /// 409: no free name was found for a `generateName`.
    pub fn generate_name_conflict(resource: &GroupResource, name: &str) -> Self {
        let name_quoted = gotext::quote(name);
        let message = format!(
            "{resource} {name_quoted} already exists, the server was not able to generate a unique name for the object"
        );
        Self::failure(409, "AlreadyExists", message)
            .about(&resource.group, &resource.resource, name)
            .with_retry_after(1)
    }

    /// 409 because of `why`.
    pub fn conflict(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {}: {why}", gotext::quote(name));
        Self::failure(409, "Conflict", message).about(&resource.group, &resource.resource, name)
    }

    /// 409: somebody else wrote the object meanwhile.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 409: an apply would take fields of other managers.
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<StatusCause>) -> Self {
        Self::failure(409, "Conflict", message).with_details(StatusDetails { causes, ..StatusDetails::default() })
    }

    /// 422 with the errors of validation.
    pub fn invalid(kind: &GroupKind, name: &str, errors: &ErrorList) -> Self {
        let quoted = gotext::quote(name);
        let message = match errors.aggregate() {
            None => format!("{kind} {quoted} is invalid"),
            Some(all) => format!("{kind} {quoted} is invalid: {all}"),
        };
        let causes = errors
            .iter()
            .map(|error| StatusCause {
                reason: error.kind.reason().into(),
                message: error.body(),
                field: error.field.clone(),
            })
            .collect();
        Self::failure(422, "Invalid", message).with_details(StatusDetails {
            name: name.into(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            causes,
            ..StatusDetails::default()
        })
    }

    /// 422 without words: what is said of a patch that does not apply.
    pub fn unprocessable() -> Self {
        Self::failure(422, "Invalid", "the server rejected our request due to an error in our request")
            .about("", "", "")
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// 403 with `why` about an object, a collection (empty name) or a path (empty resource).
    pub fn forbidden(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = if resource.resource.is_empty() && resource.group.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} {} is forbidden: {why}", gotext::quote(name))
        };
        Self::failure(403, "Forbidden", message).about(&resource.group, &resource.resource, name)
    }

    /// 405 for a resource that does not do `action`.
    pub fn method_not_supported(resource: &GroupResource, action: &str) -> Self {
        let message =
            format!("{action} is not supported on resources of kind {}", gotext::quote(&resource.to_string()));
        Self::failure(405, "MethodNotAllowed", message).about(&resource.group, &resource.resource, "")
    }

    /// 405 for a path.
    pub fn method_not_allowed() -> Self {
        Self::failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
            .about("", "", "")
    }

    /// 410: the revision is forgotten.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// 410: gone for good.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::failure(410, "Gone", message)
    }

    /// 429 with a time to wait.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: i32) -> Self {
        Self::failure(429, "TooManyRequests", message).with_retry_after(retry_after_seconds)
    }

    /// 415.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::failure(415, "UnsupportedMediaType", message)
    }

    /// 406.
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::failure(406, "NotAcceptable", message).about("", "", "")
    }

    /// 413.
    pub fn request_entity_too_large(message: impl fmt::Display) -> Self {
        Self::failure(413, "RequestEntityTooLarge", format!("Request entity too large: {message}"))
    }

    /// 500 as an internal error.
    pub fn internal(message: impl fmt::Display) -> Self {
        let message = message.to_string();
        let cause = StatusCause { message: message.clone(), ..StatusCause::default() };
        Self::failure(500, "InternalError", format!("Internal error occurred: {message}"))
            .with_details(StatusDetails { causes: vec![cause], ..StatusDetails::default() })
    }

    /// 500 without a reason, as Go's plain errors become.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::failure(500, "", message)
    }

    /// 503.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message)
    }

    /// 504: it took too long.
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: i32) -> Self {
        Self::failure(504, "Timeout", format!("Timeout: {message}")).with_retry_after(retry_after_seconds)
    }

    /// The HTTP status code; 500 when none is set on a failure, 200 on a success.
    pub fn code(&self) -> u16 {
        match u16::try_from(self.code) {
            Ok(code) if code != 0 => code,
            _ if self.status == "Success" => 200,
            _ => 500,
        }
    }

    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        self.reason == "NotFound"
    }

    /// Whether somebody else was faster.
    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict"
    }

    /// Whether the name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::field::{FieldError, Path};

    #[test]
    fn a_missing_object_is_told_as_kube_apiserver_tells_it() {
        let status = Status::not_found(&GroupResource::new("apps", "deployments"), "absent");
        let expected = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404, "reason": "NotFound",
            "message": "deployments.apps \"absent\" not found",
            "details": {"group": "apps", "kind": "deployments", "name": "absent"},
        });
        assert_eq!(serde_json::to_value(&status).expect("a status is JSON"), expected);
    }

    #[test]
    fn equal_errors_are_said_once_but_caused_as_often_as_found() {
        let path = Path::new("spec").child("replicas");
        let error = FieldError::invalid(&path, -1, "must be greater than or equal to 0");
        let errors = ErrorList::from(vec![error.clone(), error]);
        let status = Status::invalid(&GroupKind::new("autoscaling", "Scale"), "d", &errors);
        let wanted =
            "Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0";
        assert_eq!(status.message, wanted);
        assert_eq!(status.details.expect("details").causes.len(), 2);
    }

    #[test]
    fn a_path_without_resource_is_forbidden_in_its_own_words() {
        let status =
            Status::forbidden(&GroupResource::default(), "", "User \"system:anonymous\" cannot get path \"/api\"");
        assert_eq!(status.message, "forbidden: User \"system:anonymous\" cannot get path \"/api\"");
        assert_eq!(serde_json::to_value(&status).expect("a status is JSON")["details"], json!({}));
    }

    #[test]
    fn a_status_survives_json() {
        let status = Status::internal("boom");
        let text = serde_json::to_string(&status).expect("a status is JSON");
        assert_eq!(serde_json::from_str::<Status>(&text).expect("and back"), status);
    }
}
