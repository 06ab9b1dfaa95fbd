//! The options of each verb, from the query (and for deletions the body), with Kubernetes' checks.

use apimachinery::status::Status;
use http::Uri;
use serde_json::Value;

use crate::{fail, query::Query};

type Cause = (String, String, String);

fn cause(field: &str, reason: &str, message: impl Into<String>) -> Cause {
    (field.to_owned(), reason.to_owned(), message.into())
}

fn check(kind: &str, causes: &[Cause]) -> Result<(), Box<Status>> {
    if causes.is_empty() { Ok(()) } else { Err(fail::invalid("meta.k8s.io", kind, "", causes).into()) }
}

/// What happens to fields that the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// They are dropped silently.
    Ignore,
    /// They are dropped with a warning.
    #[default]
    Warn,
    /// They are refused.
    Strict,
}

/// Options of `create`, `update` and `patch`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Whether nothing is stored.
    pub dry_run: bool,
    /// Who owns the fields that change.
    pub field_manager: Option<String>,
    /// What happens to unknown fields.
    pub field_validation: FieldValidation,
    /// Whether an apply takes over what others own.
    pub force: bool,
    /// Whether it is an apply, which has settled already who owns which fields.
    pub applies: bool,
}

impl WriteOptions {
    /// Reads them; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
    ///
    /// # Errors
    /// 422 when one of them makes no sense.
    pub fn of(uri: &Uri, kind: &str) -> Result<Self, Box<Status>> {
        let query = Query::of(uri);
        let mut causes = dry_run_causes(&query.all("dryRun"));
        let field_manager = query.text("fieldManager").map(str::to_owned);
        if let Some(manager) = &field_manager {
            if manager.chars().count() > 128 {
                causes.push(cause("fieldManager", "FieldValueTooLong", "Too long: may not be more than 128 bytes"));
            } else if manager.chars().any(char::is_control) {
                let message = format!("Invalid value: {manager:?}: should only contain printable characters");
                causes.push(cause("fieldManager", "FieldValueInvalid", message));
            }
        }
        let field_validation = match query.text("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let message =
                    format!("Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"");
                causes.push(cause("fieldValidation", "FieldValueNotSupported", message));
                FieldValidation::Warn
            }
        };
        check(kind, &causes)?;
        Ok(Self {
            dry_run: !query.all("dryRun").is_empty(),
            field_manager,
            field_validation,
            force: query.flag("force"),
            applies: false,
        })
    }
}

fn dry_run_causes(values: &[&str]) -> Vec<Cause> {
    if values.iter().all(|value| *value == "All") {
        return Vec::new();
    }
    let listed = serde_json::to_string(values).expect("a list of strings is written as JSON");
    let message = format!("Unsupported value: {listed}: supported values: \"All\"");
    vec![cause("dryRun", "FieldValueNotSupported", message)]
}

/// How a list's revision is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// Exactly the given revision.
    Exact,
    /// The given revision or any later one.
    NotOlderThan,
}

/// Options of `list`, `watch` and `deletecollection`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Label selector.
    pub label_selector: String,
    /// Field selector.
    pub field_selector: String,
    /// The revision asked for; `None` for the newest.
    pub resource_version: Option<String>,
    /// How it is meant.
    pub resource_version_match: Option<Match>,
    /// Objects of one page; 0 for all.
    pub limit: usize,
    /// Where a former page ended.
    pub continue_token: String,
    /// How long a watch lasts.
    pub timeout_seconds: Option<u64>,
    /// Whether a watch may send bookmarks.
    pub allow_watch_bookmarks: bool,
    /// Whether a watch begins with what there is.
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads them.
    ///
    /// # Errors
    /// 400 when a number is none, 422 when they contradict each other.
    pub fn of(uri: &Uri, watch: bool) -> Result<Self, Box<Status>> {
        let query = Query::of(uri);
        let integer = |name: &str| query.integer(name).map_err(|why| Box::new(fail::bad_request(why)));
        let limit = integer("limit")?.unwrap_or(0);
        let timeout_seconds = integer("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
        let mut causes = Vec::new();
        let resource_version = query.text("resourceVersion").map(str::to_owned);
        let forbid = |field: &str, why: String| cause(field, "FieldValueForbidden", format!("Forbidden: {why}"));
        let send_initial_events = query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
        let given = query.text("resourceVersionMatch");
        let field = "resourceVersionMatch";
        if watch {
            match (given, send_initial_events) {
                (Some(_), None) => {
                    causes.push(forbid(
                        field,
                        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided".into(),
                    ));
                }
                (given, Some(_)) if given != Some("NotOlderThan") => {
                    causes.push(forbid(
                        field,
                        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan".into(),
                    ));
                }
                _ => {}
            }
        } else {
            if send_initial_events.is_some() {
                causes.push(forbid("sendInitialEvents", "sendInitialEvents is forbidden for list".into()));
            }
            if let Some(given) = given {
                if resource_version.is_none() {
                    causes.push(forbid(
                        field,
                        "resourceVersionMatch is forbidden unless resourceVersion is provided".into(),
                    ));
                }
                if query.text("continue").is_some() {
                    causes.push(forbid(field, "resourceVersionMatch is forbidden when continue is provided".into()));
                }
                if !matches!(given, "Exact" | "NotOlderThan") {
                    let message =
                        format!("Unsupported value: {given:?}: supported values: \"Exact\", \"NotOlderThan\"");
                    causes.push(cause(field, "FieldValueNotSupported", message));
                }
                if given == "Exact" && resource_version.as_deref() == Some("0") {
                    causes.push(forbid(
                        field,
                        "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"".into(),
                    ));
                }
            }
        }
        check("ListOptions", &causes)?;
        Ok(Self {
            label_selector: query.get("labelSelector").unwrap_or_default().to_owned(),
            field_selector: query.get("fieldSelector").unwrap_or_default().to_owned(),
            resource_version,
            resource_version_match: match given {
                Some("Exact") => Some(Match::Exact),
                Some("NotOlderThan") => Some(Match::NotOlderThan),
                _ => None,
            },
            limit: usize::try_from(limit).unwrap_or(0),
            continue_token: query.get("continue").unwrap_or_default().to_owned(),
            timeout_seconds,
            allow_watch_bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events,
        })
    }
}

/// What happens to the dependents of a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They stay.
    Orphan,
    /// They are collected afterwards.
    Background,
    /// They are collected first.
    Foreground,
}

/// Options of `delete` and `deletecollection`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds of grace.
    pub grace_period_seconds: Option<i64>,
    /// What happens to the dependents.
    pub propagation: Option<Propagation>,
    /// The older way to say it.
    pub orphan_dependents: Option<bool>,
    /// The uid that the object must have.
    pub uid: Option<String>,
    /// The revision that the object must have.
    pub resource_version: Option<String>,
    /// Whether nothing is stored.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Reads them from the query and, when there is one, the body, which wins.
    ///
    /// # Errors
    /// 400 and 422 as Kubernetes refuses them.
    pub fn of(uri: &Uri, body: Option<&Value>) -> Result<Self, Box<Status>> {
        let query = Query::of(uri);
        let mut options = Self::default();
        let mut causes = Vec::new();
        let mut propagation: Option<String> = None;
        let mut dry_run: Vec<String> = Vec::new();
        if let Some(body) = body.filter(|body| body.as_object().is_some_and(|fields| !fields.is_empty())) {
            options.grace_period_seconds = body.get("gracePeriodSeconds").and_then(Value::as_i64);
            options.orphan_dependents = body.get("orphanDependents").and_then(Value::as_bool);
            let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            propagation = text("/propagationPolicy");
            options.uid = text("/preconditions/uid");
            options.resource_version = text("/preconditions/resourceVersion");
            if let Some(values) = body.get("dryRun").and_then(Value::as_array) {
                dry_run = values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect();
            }
        } else {
            options.grace_period_seconds =
                query.integer("gracePeriodSeconds").map_err(|why| Box::new(fail::bad_request(why)))?;
            options.orphan_dependents = query.get("orphanDependents").map(|_| query.flag("orphanDependents"));
            propagation = query.text("propagationPolicy").map(str::to_owned).or(propagation);
            dry_run.extend(query.all("dryRun").into_iter().map(str::to_owned));
        }
        if options.orphan_dependents.is_some() && propagation.is_some() {
            let message = format!(
                "Invalid value: {:?}: orphanDependents and deletionPropagation cannot be both set",
                propagation.as_deref().unwrap_or_default()
            );
            causes.push(cause("propagationPolicy", "FieldValueInvalid", message));
        }
        options.propagation = match propagation.as_deref() {
            None => None,
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some(other) => {
                let message = format!(
                    "Unsupported value: {other:?}: supported values: \"Background\", \"Foreground\", \"Orphan\""
                );
                causes.push(cause("propagationPolicy", "FieldValueNotSupported", message));
                None
            }
        };
        causes.extend(dry_run_causes(&dry_run.iter().map(String::as_str).collect::<Vec<_>>()));
        check("DeleteOptions", &causes)?;
        options.dry_run = !dry_run.is_empty();
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(status: &Status) -> String {
        serde_json::to_value(status).unwrap()["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn options_that_make_no_sense_are_refused_in_kubernetes_words() {
        let error = WriteOptions::of(&"/x?dryRun=Some".parse().unwrap(), "PatchOptions").unwrap_err();
        assert_eq!(
            message(&error),
            "PatchOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""
        );
        let error = ListOptions::of(&"/x?resourceVersionMatch=Exact".parse().unwrap(), false).unwrap_err();
        assert!(message(&error).ends_with("resourceVersionMatch is forbidden unless resourceVersion is provided"));
        let error = ListOptions::of(&"/x?sendInitialEvents=true".parse().unwrap(), true).unwrap_err();
        assert!(message(&error).ends_with("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
        let error = ListOptions::of(&"/x?limit=abc".parse().unwrap(), false).unwrap_err();
        assert_eq!(message(&error), "strconv.ParseInt: parsing \"abc\": invalid syntax");
    }

    #[test]
    fn the_body_of_a_deletion_wins_over_its_query() {
        let uri: Uri = "/x?gracePeriodSeconds=5".parse().unwrap();
        assert_eq!(DeleteOptions::of(&uri, None).unwrap().grace_period_seconds, Some(5));
        let body = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Foreground", "preconditions": {"uid": "u"}});
        let options = DeleteOptions::of(&uri, Some(&body)).unwrap();
        assert_eq!(options.grace_period_seconds, Some(0));
        assert_eq!(options.propagation, Some(Propagation::Foreground));
        assert_eq!(options.uid.as_deref(), Some("u"));
        assert!(DeleteOptions::of(&uri, Some(&json!({"propagationPolicy": "Nope"}))).is_err());
    }

    #[test]
    fn a_negative_limit_is_none() {
        assert_eq!(ListOptions::of(&"/x?limit=-1".parse().unwrap(), false).unwrap().limit, 0);
    }
}
