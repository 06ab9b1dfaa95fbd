//! Secrets.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{
    json::{default, object_at, take},
    kind::Kind,
};

pub(crate) struct Secret;

impl Kind for Secret {
    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "type", "Opaque");
        encode_texts(object);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn texts_of_a_secret_are_encoded() {
        let mut object = json!({"metadata": {}, "stringData": {"k": "v"}});
        crate::set_defaults("", "v1", "Secret", &mut object);
        assert_eq!(object, json!({"metadata": {}, "type": "Opaque", "data": {"k": "dg=="}}));
    }
}
