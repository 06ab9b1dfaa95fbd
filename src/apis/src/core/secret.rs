//! Secrets.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    meta, names,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::config_map::{FROZEN, SIZE_MAX, decoded, decoded_len};
use crate::{
    checks,
    json::{self, default_text, object_at, take},
    kind::Kind,
    metadata,
};

const ACCOUNT: &str = "kubernetes.io/service-account.name";

pub(crate) struct Secret;

impl Kind for Secret {
    fn defaults(&self, _version: &str, object: &mut Value) {
        default_text(object, "type", "Opaque");
        encode_texts(object);
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        checks::immutable_text(errors, &Path::new("type"), new, old, "type");
        if json::flag(old, "immutable") {
            if !json::flag(new, "immutable") {
                errors.push(FieldError::forbidden(&Path::new("immutable"), FROZEN));
            }
            if !json::entries(new, "data").eq(json::entries(old, "data")) {
                errors.push(FieldError::forbidden(&Path::new("data"), FROZEN));
            }
        }
        metadata::validate(&|name| self.check_name(name), new, errors);
        validate(new, errors);
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>, warnings: &mut Vec<String>) {
        if json::text(object, "type") == "kubernetes.io/tls" {
            let data = json::field(object, "data");
            let has_block = |name: &str, what: &str| {
                let text = decoded(json::field(data, name));
                String::from_utf8_lossy(&text)
                    .lines()
                    .any(|line| line.starts_with("-----BEGIN ") && line.contains(what))
            };
            if !has_block("tls.crt", "CERTIFICATE") {
                warnings.push("tls: failed to find any PEM data in certificate input".into());
            } else if !has_block("tls.key", "PRIVATE KEY") {
                warnings.push("tls: failed to find any PEM data in key input".into());
            }
        }
    }
}

/// Plain texts become base64, as the store keeps them.
fn encode_texts(object: &mut Value) {
    let texts = object.get_mut("stringData").map(Value::take);
    take(object, "stringData");
    if let Some(Value::Object(texts)) = texts
        && let Some(data) = object_at(object, "data").and_then(Value::as_object_mut)
    {
        data.extend(
            texts.into_iter().map(|(key, text)| (key, STANDARD.encode(text.as_str().unwrap_or_default()).into())),
        );
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("data");
    let mut size = 0;
    for (key, value) in json::entries(object, "data") {
        checks::invalid(errors, &path.key(key), key.as_str(), names::is_config_map_key(key));
        size += decoded_len(value);
    }
    if size > SIZE_MAX {
        errors.push(FieldError::too_long(&path, SIZE_MAX));
    }
    let data = json::field(object, "data");
    let mut require = |name: &str, there: bool| {
        if !there {
            errors.push(FieldError::required(&path.key(name), ""));
        }
    };
    let has = |name: &str| data.get(name).is_some();
    match json::text(object, "type") {
        "kubernetes.io/service-account-token" if meta::annotation(object, ACCOUNT).is_none_or(str::is_empty) => {
            errors.push(FieldError::required(&Path::new("metadata").child("annotations").key(ACCOUNT), ""));
        }
        "kubernetes.io/dockercfg" => docker_config(errors, &path.key(".dockercfg"), data.get(".dockercfg")),
        "kubernetes.io/dockerconfigjson" => {
            docker_config(errors, &path.key(".dockerconfigjson"), data.get(".dockerconfigjson"));
        }
        "kubernetes.io/basic-auth" => {
            let either = has("username") || has("password");
            require("username", either);
            require("password", either);
        }
        "kubernetes.io/ssh-auth" => {
            require("ssh-privatekey", data.get("ssh-privatekey").is_some_and(|key| decoded_len(key) > 0));
        }
        "kubernetes.io/tls" => {
            require("tls.crt", has("tls.crt"));
            require("tls.key", has("tls.key"));
        }
        _ => {}
    }
}

fn docker_config(errors: &mut ErrorList, path: &Path, value: Option<&Value>) {
    const REDACTED: &str = "<secret contents redacted>";
    let Some(value) = value else {
        errors.push(FieldError::required(path, ""));
        return;
    };
    let found = match serde_json::from_slice(&decoded(value)) {
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(Value::Array(_)) => "array",
        Ok(Value::String(_)) => "string",
        Ok(Value::Number(_)) => "number",
        Ok(Value::Bool(_)) => "bool",
        Err(error) => {
            let why = if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() };
            errors.push(FieldError::invalid(path, REDACTED, why));
            return;
        }
    };
    let why = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
    errors.push(FieldError::invalid(path, REDACTED, why));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_of_a_secret_are_encoded() {
        let mut object = json!({"metadata": {}, "stringData": {"k": "v"}});
        crate::set_defaults("", "v1", "Secret", &mut object);
        assert_eq!(object, json!({"metadata": {}, "type": "Opaque", "data": {"k": "dg=="}}));
    }

    #[test]
    fn a_type_asks_for_its_keys() {
        let cases: &[(&str, Value, &[&str])] = &[
            ("Opaque", json!({}), &[]),
            ("kubernetes.io/tls", json!({"tls.key": ""}), &["data[tls.crt]: Required value"]),
            (
                "kubernetes.io/basic-auth",
                json!({}),
                &["data[username]: Required value", "data[password]: Required value"],
            ),
            ("kubernetes.io/basic-auth", json!({"password": "dg=="}), &[]),
            ("kubernetes.io/ssh-auth", json!({"ssh-privatekey": ""}), &["data[ssh-privatekey]: Required value"]),
            (
                "kubernetes.io/dockerconfigjson",
                json!({".dockerconfigjson": ""}),
                &[
                    "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": unexpected end of JSON input",
                ],
            ),
            ("kubernetes.io/dockercfg", json!({".dockercfg": "e30="}), &[]),
            (
                "kubernetes.io/service-account-token",
                json!({}),
                &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
            ),
            ("Opaque", json!({"a b": ""}), &["data[a b]: Invalid value"]),
        ];
        for (kind, data, expected) in cases {
            let object = json!({"metadata": {"name": "s"}, "type": kind, "data": data});
            let errors = crate::validate_create("", "Secret", &object);
            assert_eq!(errors.len(), expected.len(), "{kind}: {errors}");
            for (error, expected) in errors.iter().zip(*expected) {
                assert!(error.to_string().starts_with(expected), "{kind}: {error}");
            }
        }
    }
}
