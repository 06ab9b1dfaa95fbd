//! Bodies: read within a bound, decoded from JSON or YAML, checked against the kind's schema.

use std::sync::Arc;

use apimachinery::status::Status;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use super::{
    Failure, Warnings, gojson,
    negotiate::{self, BodyType},
    options::FieldValidation,
    protobuf::{self, ProtobufError},
};
use crate::{core::Core, custom::Custom, fail, resources::Resource, schemas};

/// Bytes of a body at most.
pub const LIMIT: usize = 3 * 1024 * 1024;
/// Bytes of a body that a message repeats.
const SUMMARY: usize = 30;

/// The kind that a body is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Its group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Its kind.
    pub kind: String,
    /// What its definition says, of a kind that is not built in.
    pub custom: Option<Arc<Custom>>,
}

impl Target {
    /// The kind of a resource.
    pub fn of(resource: &Resource) -> Self {
        Self {
            group: resource.group.clone(),
            version: resource.version.clone(),
            kind: resource.kind.clone(),
            custom: resource.custom.clone(),
        }
    }

    /// `group/version` as objects write it.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// Reads a body.
///
/// # Errors
/// 413 when it is too large, 400 when it breaks off.
pub async fn read(request: Request<Body>) -> Result<Bytes, Failure> {
    match Limited::new(request.into_body(), LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(fail::too_large(LIMIT).into()),
        Err(error) => Err(fail::bad_request(format!("the body of the request broke off: {error}")).into()),
    }
}

/// Decodes a body that is to become an object of `target`, with defaults.
///
/// # Errors
/// 415 for a type that is not read, 400 for what is not such an object.
pub fn decode(
    core: &Core,
    target: &Target,
    headers: &HeaderMap,
    bytes: &Bytes,
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<Value, Failure> {
    let json = match negotiate::body_type(headers) {
        Some(BodyType::Json) => bytes.clone(),
        Some(BodyType::Yaml) => to_json(bytes).map_err(|why| Box::new(unrecognized(target, &why, bytes)))?,
        Some(BodyType::Protobuf) => from_protobuf(target, bytes)?,
        None => return Err(fail::unknown_body().into()),
    };
    let mut object = parse(target, &json)?;
    identify(core, target, &mut object)?;
    check(target, &json, &mut object, validation, warnings)?;
    apis::set_defaults(&target.group, &target.version, &target.kind, &mut object);
    Ok(object)
}

/// Decodes the body of a deletion; `None` when there is none.
///
/// # Errors
/// 400 and 415 as [`decode`].
pub fn decode_options(headers: &HeaderMap, bytes: &Bytes) -> Result<Option<Value>, Failure> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let target =
        Target { group: "meta.k8s.io".into(), version: "v1".into(), kind: "DeleteOptions".into(), custom: None };
    let json = match negotiate::body_type(headers) {
        Some(BodyType::Json) => bytes.clone(),
        Some(BodyType::Yaml) => to_json(bytes).map_err(|why| Box::new(unrecognized(&target, &why, bytes)))?,
        Some(BodyType::Protobuf) => from_protobuf(&target, bytes)?,
        None => return Err(fail::unknown_body().into()),
    };
    let mut options = parse(&target, &json)?;
    let kind = options.get("kind").and_then(Value::as_str).unwrap_or("DeleteOptions");
    if kind != "DeleteOptions" {
        return Err(fail::bad_request(format!("decoded object cannot be converted to DeleteOptions: {kind}")).into());
    }
    check(&target, &json, &mut options, FieldValidation::Ignore, &Warnings::default())?;
    Ok(Some(options))
}

/// Bytes of protobuf as bytes of JSON.
fn from_protobuf(target: &Target, bytes: &Bytes) -> Result<Bytes, Failure> {
    match protobuf::decode(bytes) {
        Ok(object) => Ok(Bytes::from(object.to_string())),
        Err(error @ ProtobufError::Unknown { .. }) => Err(fail::unsupported_media_type(error.to_string()).into()),
        Err(error) => Err(unrecognized(target, &error.to_string(), bytes).into()),
    }
}

/// Bytes of YAML as bytes of JSON.
///
/// # Errors
/// Why it is no YAML.
pub fn to_json(bytes: &Bytes) -> Result<Bytes, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("yaml: {error}"))?;
    let value: Value =
        serde_yaml_ng::from_str(text).map_err(|error| format!("error converting YAML to JSON: {}", go_yaml(&error)))?;
    Ok(Bytes::from(value.to_string()))
}

/// A YAML error as Go's decoder words it, which counts lines from nought where it parses and from one where it scans.
fn go_yaml(error: &serde_yaml_ng::Error) -> String {
    let text = error.to_string();
    let (problem, context) = text.split_once(", while ").unwrap_or((&text, ""));
    let place =
        |text: &str| text.rsplit_once(" at line ").and_then(|(_, place)| place.split(' ').next()?.parse::<u64>().ok());
    let what = problem.rsplit_once(" at line ").map_or(problem, |(what, _)| what);
    let scans = u64::from(context.starts_with("scanning"));
    let lines = [place(context), place(problem)].into_iter().flatten().map(|line| line.saturating_sub(1));
    match lines.into_iter().find(|line| *line != 0) {
        Some(line) => format!("yaml: line {}: {what}", line + scans),
        None => format!("yaml: {what}"),
    }
}

fn parse(target: &Target, json: &Bytes) -> Result<Value, Failure> {
    let refuse = |why: &str| {
        Box::new(unrecognized(target, &format!("couldn't get version/kind; json parse error: {why}"), json))
    };
    let object: Value = serde_json::from_slice(json)
        .map_err(|error| refuse(&gojson::syntax_error(json).unwrap_or_else(|| error.to_string())))?;
    if !object.is_object() {
        let found = match object {
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Number(_) => "number",
            Value::Bool(_) => "bool",
            _ => return Ok(Value::Object(serde_json::Map::new())),
        };
        return Err(refuse(&format!(
            "json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
             Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        )));
    }
    Ok(object)
}

/// Makes sure that the object is of the kind that it is to be.
fn identify(core: &Core, target: &Target, object: &mut Value) -> Result<(), Failure> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    let wanted = target.api_version();
    let given_version = if api_version.is_empty() { wanted.clone() } else { api_version };
    let given_kind = if kind.is_empty() { target.kind.clone() } else { kind };
    if given_version != wanted || given_kind != target.kind {
        let (group, version) = given_version.rsplit_once('/').unwrap_or(("", &given_version));
        let refuse = |why: String| {
            let message = format!("{given_kind} in version {version:?} cannot be handled as a {}: {why}", target.kind);
            Err(Box::new(fail::bad_request(message)))
        };
        if !core.table().has_kind(group, version, &given_kind) {
            return refuse(format!(
                "no kind {given_kind:?} is registered for version {given_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
            ));
        }
        if given_kind == target.kind {
            let message = format!(
                "the API version in the data ({given_version}) does not match the expected API version ({wanted})"
            );
            return Err(fail::bad_request(message).into());
        }
        return refuse(format!(
            "converting ({version}.{given_kind}) to ({}.{}): unknown conversion",
            internal(target),
            target.kind
        ));
    }
    object["apiVersion"] = wanted.into();
    object["kind"] = given_kind.into();
    Ok(())
}

/// The Go package in which kube-apiserver keeps its internal form of a kind.
fn internal(target: &Target) -> &str {
    if target.group.is_empty() { "core" } else { target.group.split('.').next().unwrap_or_default() }
}

/// Drops or refuses what the schema does not know.
fn check(
    target: &Target,
    json: &Bytes,
    object: &mut Value,
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<(), Failure> {
    let refuse = |why: String| {
        let message =
            format!("{} in version {:?} cannot be handled as a {}: {why}", target.kind, target.version, target.kind);
        Box::new(fail::bad_request(message))
    };
    let problems = schemas::check(target, json, object).map_err(refuse)?;
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => problems.into_iter().for_each(|problem| warnings.add(problem)),
        FieldValidation::Strict if problems.is_empty() => {}
        FieldValidation::Strict => return Err(refuse(format!("strict decoding error: {}", problems.join(", ")))),
    }
    Ok(())
}

fn unrecognized(target: &Target, why: &str, body: &[u8]) -> Status {
    fail::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {why} ({})",
        target.kind,
        summary(body)
    ))
}

fn summary(body: &[u8]) -> String {
    let cut = &body[..body.len().min(SUMMARY)];
    let more = if body.len() > SUMMARY { " ..." } else { "" };
    match body.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(cut)),
        Some(_) => format!("{}{more}", hex::encode(cut)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_repeated_only_in_part() {
        assert_eq!(summary(b""), "<empty>");
        assert_eq!(summary(b"{\"broken"), "{\"broken");
        assert_eq!(summary(b"ab"), "6162");
        assert!(summary(&[b'{'; 100]).ends_with(" ..."));
    }

    #[test]
    fn yaml_becomes_json_and_broken_yaml_does_not() {
        let json = to_json(&Bytes::from_static(b"a: [1, b]\n")).unwrap();
        assert_eq!(&json[..], br#"{"a":[1,"b"]}"#);
        let why = to_json(&Bytes::from_static(b"a: [b\n")).unwrap_err();
        assert_eq!(why, "error converting YAML to JSON: yaml: line 1: did not find expected ',' or ']'");
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused_without_being_kept() {
        let request = Request::new(Body::from(vec![b' '; LIMIT + 1]));
        let failure = read(request).await.unwrap_err();
        assert_eq!(fail::code_of(&failure), 413);
    }
}
