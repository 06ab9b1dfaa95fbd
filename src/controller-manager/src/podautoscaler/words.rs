//! What client-go says of an answer that is no `Status`, which conditions and events repeat. Pure.

use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// The reason that a client gives to an answer whose body it could not read.
const UNREADABLE: &str = "Failed to parse error data";
/// What is said of a path that is not served, also in a readable answer.
const NOWHERE: &str = "the server could not find the requested resource";

/// The error of a request with `verb` (in lower case) for `resource`, as `pods.metrics.k8s.io`.
pub fn of(error: &kube::Error, verb: &str, resource: &str, name: Option<&str>) -> String {
    let kube::Error::Api(status) = error else { return error.to_string() };
    if status.reason != UNREADABLE && status.message != NOWHERE {
        return status.message.clone();
    }
    let generic = match status.code {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        404 => NOWHERE.to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        409 => "the server reported a conflict".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned()
        }
        500.. => format!("an error on the server ({:?}) has prevented the request from succeeding", status.message),
        code => format!("the server responded with the status code {code} but did not return more information"),
    };
    match name {
        Some(name) => format!("{generic} ({verb} {resource} {name})"),
        None => format!("{generic} ({verb} {resource})"),
    }
}

/// A selector as Go prints one.
pub fn selector(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_owned() };
    let mut text = "&LabelSelector{MatchLabels:map[string]string{".to_owned();
    for (key, value) in selector.match_labels.iter().flatten() {
        let _ = write!(text, "{key}: {value},");
    }
    text.push_str("},MatchExpressions:[]LabelSelectorRequirement{");
    for one in selector.match_expressions.iter().flatten() {
        let values = one.values.as_deref().unwrap_or_default().join(" ");
        let _ =
            write!(text, "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", one.key, one.operator);
    }
    text.push_str("},}");
    text
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn an_api_that_is_not_there_is_told_in_client_go_s_words() {
        let failed =
            |text: &str, reason: &str, code| kube::Error::Api(Status::failure(text, reason).with_code(code).boxed());
        let plain = failed("404 page not found", UNREADABLE, 404);
        assert_eq!(
            of(&plain, "get", "pods.metrics.k8s.io", None),
            "the server could not find the requested resource (get pods.metrics.k8s.io)"
        );
        let readable = failed(NOWHERE, "NotFound", 404);
        let told = "the server could not find the requested resource (get daemonsets x)";
        assert_eq!(of(&readable, "get", "daemonsets", Some("x")), told);
        let known = failed("deployments.apps \"x\" not found", "NotFound", 404);
        assert_eq!(of(&known, "get", "deployments.apps", Some("x")), "deployments.apps \"x\" not found");
    }

    #[test]
    fn selectors_look_as_go_prints_them() {
        let of = |value| selector(Some(&from_value(value).expect("a selector")));
        assert_eq!(selector(None), "nil");
        assert_eq!(
            of(
                json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["v", "w"]}]})
            ),
            "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{\
             LabelSelectorRequirement{Key:k,Operator:In,Values:[v w],},},}"
        );
    }
}
