//! Decoding as Go's `encoding/json` decodes into the API's types: what has the wrong type is refused in its words, what is not known is named
//! and dropped, and what comes out has the form in which kube-apiserver gives objects back, with empty fields left out or filled in as Go does.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use serde_json::{Map, Number, Value};

use super::{Field, Kind, Schema, Struct, Tree, Union, builtin, time};
use crate::quantity::Quantity;

/// How many unknown and duplicate fields are named at most.
const PROBLEMS_MAX: usize = 100;

/// A decoded object.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The object in canonical form.
    pub value: Value,
    /// Unknown and duplicate fields, as strict decoding complains about them.
    pub problems: Vec<String>,
}

/// Decodes an object.
///
/// # Errors
/// In the words of Go's decoder.
pub fn decode(schema: &Schema, tree: Tree) -> Result<Decoded, String> {
    let mut decoder = Decoder::default();
    let value = decoder.value(schema, tree)?;
    match decoder.saved {
        Some(error) => Err(error),
        None => Ok(Decoded { value: value.unwrap_or_else(|| zero(schema)), problems: decoder.problems }),
    }
}

/// An object as it comes back from the store, which does not tell an empty list or map from none.
///
/// # Errors
/// As [`decode`].
pub fn stored(schema: &Schema, tree: Tree) -> Result<Value, String> {
    let mut decoder = Decoder { is_stored: true, ..Decoder::default() };
    let value = decoder.value(schema, tree)?;
    match decoder.saved {
        Some(error) => Err(error),
        None => Ok(value.unwrap_or_else(|| zero(schema))),
    }
}

/// The fields that are there more than once, as strict decoding complains about them.
pub fn duplicates(tree: &Tree) -> Vec<String> {
    fn walk(decoder: &mut Decoder, tree: &Tree) {
        match tree {
            Tree::List(items) => {
                let length = decoder.path.len();
                for (at, item) in items.iter().enumerate() {
                    decoder.path.push_str(&format!("[{at}]"));
                    walk(decoder, item);
                    decoder.path.truncate(length);
                }
            }
            Tree::Map(fields) => {
                for (at, (name, value)) in fields.iter().enumerate() {
                    if fields[..at].iter().any(|(same, _)| same == name) {
                        decoder.problem("duplicate", name);
                    }
                    let length = decoder.enter(name);
                    walk(decoder, value);
                    decoder.path.truncate(length);
                }
            }
            _ => {}
        }
    }
    let mut decoder = Decoder::default();
    walk(&mut decoder, tree);
    decoder.problems
}

/// What an empty value of a schema looks like in JSON: Go writes fields that are no pointers even when they are empty.
pub fn zero(schema: &Schema) -> Value {
    match &schema.kind {
        Kind::Bool => Value::Bool(false),
        Kind::Int(_) | Kind::Float | Kind::IntOrString => 0.into(),
        Kind::Text | Kind::Bytes => "".into(),
        Kind::Quantity => "0".into(),
        Kind::Time | Kind::MicroTime | Kind::Any | Kind::Union(_) | Kind::List(_) | Kind::Map(_) => Value::Null,
        Kind::Struct(structure) => {
            let fields = structure.fields.iter().filter_map(|field| Some((field.name.to_string(), absent(field)?)));
            Value::Object(fields.collect())
        }
    }
}

/// What stands for a field that is not there.
fn absent(field: &Field) -> Option<Value> {
    if field.pointer {
        return (!field.omit_empty).then_some(Value::Null);
    }
    match &field.schema.kind {
        // To Go a structure is never empty.
        Kind::Struct(_) | Kind::Time | Kind::MicroTime | Kind::Quantity | Kind::IntOrString | Kind::Any => {
            (!field.omit_zero).then(|| zero(&field.schema))
        }
        Kind::Bytes => (!field.omit_empty).then_some(Value::Null),
        _ => (!field.omit_empty).then(|| zero(&field.schema)),
    }
}

/// What is written for a field that is there.
fn present(field: &Field, value: Value, is_stored: bool) -> Option<Value> {
    if field.pointer || !is_stored && !field.omit_empty && matches!(value, Value::Array(_) | Value::Object(_)) {
        return Some(value);
    }
    let empty = match &value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => match &field.schema.kind {
            Kind::Map(_) => fields.is_empty(),
            Kind::Struct(_) => field.omit_zero && value == zero(&field.schema),
            _ => false,
        },
    };
    if empty { absent(field) } else { Some(value) }
}

/// Why a value cannot be converted to its type, in the words of `FromUnstructured`: how kube-apiserver takes in what a strategic merge patch made.
///
/// # Errors
/// The first reason, in the order of the type's fields.
pub fn check_conversion(schema: &Schema, value: &Value) -> Result<(), String> {
    let unrecognized = |kind: &str| Err(format!("unrecognized type: {kind}"));
    match (&schema.kind, value) {
        (Kind::Any | Kind::Union(_) | Kind::Quantity | Kind::IntOrString | Kind::Time | Kind::MicroTime, _)
        | (_, Value::Null)
        | (Kind::Bool, Value::Bool(_))
        | (Kind::Float, Value::Number(_))
        | (Kind::Text | Kind::Bytes, Value::String(_)) => Ok(()),
        (Kind::Int(_), Value::Number(number)) => match number.as_f64() {
            Some(value) if number.is_f64() && value.fract() != 0.0 => {
                Err(format!("cannot convert float64 to {}", schema.go))
            }
            _ => Ok(()),
        },
        (Kind::Text, Value::Number(number)) if !number.is_f64() => {
            Err(format!("cannot convert int64 to {}", schema.go))
        }
        (Kind::Bool, _) => unrecognized("bool"),
        (Kind::Int(bits), _) => unrecognized(&format!("int{bits}")),
        (Kind::Float, _) => unrecognized("float64"),
        (Kind::Text, _) => unrecognized("string"),
        (Kind::List(items), Value::Array(list)) => list.iter().try_for_each(|item| check_conversion(items, item)),
        (Kind::Map(values), Value::Object(fields)) => {
            fields.values().try_for_each(|value| check_conversion(values, value))
        }
        (Kind::Struct(structure), Value::Object(fields)) => structure.fields.iter().try_for_each(|field| {
            fields.get(&*field.name).map_or(Ok(()), |value| check_conversion(&field.schema, value))
        }),
        (Kind::List(_) | Kind::Bytes, _) => Err(format!("cannot restore slice from {}", reflected(value))),
        (Kind::Map(_), _) => Err(format!("cannot restore map from {}", reflected(value))),
        (Kind::Struct(_), _) => Err(format!("cannot restore struct from: {}", reflected(value))),
    }
}

/// Go's kind of a decoded value.
fn reflected(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

#[derive(Default)]
struct Decoder {
    /// The first error after which Go goes on.
    saved: Option<String>,
    problems: Vec<String>,
    /// The place, as strict errors name it.
    path: String,
    /// The place, as type errors name it.
    stack: String,
    /// The structure that it lies in.
    structure: String,
    /// Whether it comes from the store.
    is_stored: bool,
}

type Decoding = Result<Option<Value>, String>;

impl Decoder {
    /// Decodes a value; `None` when it is null or of the wrong type, which is remembered.
    fn value(&mut self, schema: &Schema, tree: Tree) -> Decoding {
        match (&schema.kind, tree) {
            (Kind::Any, tree) => Ok(Some(tree.into())),
            (_, Tree::Null) => Ok(None),
            (Kind::Bool, Tree::Bool(value)) => Ok(Some(value.into())),
            (Kind::Text, Tree::Text(text)) => Ok(Some(text.into())),
            (Kind::Float, Tree::Number(number)) => Ok(Some(number.into())),
            (Kind::Int(bits), Tree::Number(number)) => match whole(&number, *bits) {
                Some(value) => Ok(Some(value.into())),
                None => Ok(self.save(&format!("number {number}"), &schema.go)),
            },
            (Kind::Bytes, Tree::Text(text)) => match bytes(&text) {
                Ok(text) => Ok(Some(text.into())),
                Err(at) => {
                    self.saved.get_or_insert(format!("illegal base64 data at input byte {at}"));
                    Ok(None)
                }
            },
            (Kind::Quantity, tree) => {
                let quantity = Quantity::from_json(&tree.into()).map_err(|error| error.to_string())?;
                Ok(Some(quantity.to_string().into()))
            }
            (Kind::IntOrString, Tree::Text(text)) => Ok(Some(text.into())),
            (Kind::IntOrString, Tree::Number(number)) => match whole(&number, 32) {
                Some(value) => Ok(Some(value.into())),
                None => Err(self.wrong(&format!("number {number}"), "int32")),
            },
            (Kind::IntOrString, tree) => Err(self.wrong(tree.go_kind(), "int32")),
            (Kind::Time, Tree::Text(text)) => Ok(Some(time::seconds(&text)?.into())),
            (Kind::MicroTime, Tree::Text(text)) => Ok(Some(time::micros(&text)?.into())),
            (Kind::Time | Kind::MicroTime, tree) => Err(self.wrong(tree.go_kind(), "string")),
            (Kind::Union(union), tree) => self.union(*union, tree),
            (Kind::List(items), Tree::List(list)) => {
                let mut out = Vec::with_capacity(list.len());
                let length = self.path.len();
                for (at, item) in list.into_iter().enumerate() {
                    self.path.push_str(&format!("[{at}]"));
                    out.push(self.value(items, item)?.unwrap_or_else(|| zero(items)));
                    self.path.truncate(length);
                }
                Ok(Some(out.into()))
            }
            (Kind::Map(values), Tree::Map(fields)) => {
                let mut out = Map::new();
                for (name, value) in fields {
                    if out.contains_key(&name) {
                        self.problem("duplicate", &name);
                    }
                    let length = self.enter(&name);
                    let value = self.value(values, value)?.unwrap_or_else(|| zero(values));
                    self.path.truncate(length);
                    out.insert(name, value);
                }
                Ok(Some(out.into()))
            }
            (Kind::Struct(structure), Tree::Map(fields)) => self.fields(structure, fields).map(Some),
            (_, tree) => Ok(self.save(tree.go_kind(), &schema.go)),
        }
    }

    fn fields(&mut self, structure: &Struct, fields: Vec<(String, Tree)>) -> Result<Value, String> {
        let mut values: Vec<Option<Value>> = vec![None; structure.fields.len()];
        let mut seen = vec![false; structure.fields.len()];
        let outer = std::mem::replace(&mut self.structure, structure.short().to_owned());
        for (name, tree) in fields {
            let Some(at) = structure.fields.iter().position(|field| *field.name == *name) else {
                self.problem("unknown", &name);
                continue;
            };
            if std::mem::replace(&mut seen[at], true) {
                self.problem("duplicate", &name);
            }
            let field = &structure.fields[at];
            let (length, depth) = (self.enter(&name), self.stack.len());
            if depth > 0 {
                self.stack.push('.');
            }
            self.stack.push_str(&field.via);
            self.stack.push_str(&name);
            let value = if field.pointer && tree == Tree::Null { None } else { self.value(&field.schema, tree)? };
            if value.is_some() {
                values[at] = value;
            }
            self.path.truncate(length);
            self.stack.truncate(depth);
        }
        self.structure = outer;
        let mut out = Map::new();
        for (field, value) in structure.fields.iter().zip(values) {
            let value = match value {
                Some(value) => present(field, value, self.is_stored),
                None => absent(field),
            };
            if let Some(value) = value {
                out.insert(field.name.to_string(), value);
            }
        }
        Ok(Value::Object(out))
    }

    fn union(&mut self, union: Union, tree: Tree) -> Decoding {
        // Go decodes these apart from what surrounds them, and never strictly.
        let problems = self.problems.len();
        let schema = builtin::json_schema();
        let value = match (union, tree) {
            (_, tree @ Tree::Map(_)) => self.value(&schema, tree)?,
            (Union::Bool, Tree::Bool(value)) => Some(value.into()),
            (Union::Bool, _) => return Err("boolean or JSON schema expected".into()),
            (Union::Array, Tree::List(items)) => {
                let mut schemas = Vec::with_capacity(items.len());
                for item in items {
                    schemas.push(self.value(&schema, item)?.unwrap_or_else(|| zero(&schema)));
                }
                Some(schemas.into())
            }
            (Union::Texts, Tree::List(items)) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items {
                    match item {
                        Tree::Text(text) => texts.push(Value::from(text)),
                        other => return Err(self.wrong(other.go_kind(), "string")),
                    }
                }
                Some(texts.into())
            }
            _ => None,
        };
        self.problems.truncate(problems);
        Ok(value)
    }

    /// Goes into a field; gives back where the path ended.
    fn enter(&mut self, name: &str) -> usize {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        length
    }

    fn problem(&mut self, what: &str, name: &str) {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        let problem = format!("{what} field {}", crate::gotext::quote(&path));
        if self.problems.len() < PROBLEMS_MAX && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn save(&mut self, found: &str, wanted: &str) -> Option<Value> {
        if self.saved.is_none() {
            self.saved = Some(self.wrong(found, wanted));
        }
        None
    }

    fn wrong(&self, found: &str, wanted: &str) -> String {
        let place = if self.stack.is_empty() {
            "value".into()
        } else {
            format!("struct field {}.{}", self.structure, self.stack)
        };
        format!("json: cannot unmarshal {found} into Go {place} of type {wanted}")
    }
}

/// A whole number of so many bits.
fn whole(number: &Number, bits: u32) -> Option<i64> {
    number.as_i64().filter(|value| bits == 64 || i32::try_from(*value).is_ok())
}

/// Bytes as canonical base64; where they are none, as Go counts.
fn bytes(text: &str) -> Result<String, usize> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
    );
    check_base64(text.as_bytes())?;
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    LENIENT.decode(&text).map(|bytes| STANDARD.encode(bytes)).map_err(|_| text.len())
}

/// Whether a text is base64.
pub(super) fn is_base64(text: &str) -> bool {
    check_base64(text.as_bytes()).is_ok()
}

fn check_base64(text: &[u8]) -> Result<(), usize> {
    let mut significant = text.iter().enumerate().filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'));
    loop {
        for place in 0..4 {
            match significant.next() {
                None if place == 0 => return Ok(()),
                None => return Err(text.len() - place),
                Some((_, byte)) if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/') => {}
                Some((at, b'=')) if place < 2 => return Err(at),
                Some((at, b'=')) => {
                    let mut end = at;
                    if place == 2 {
                        match significant.next() {
                            None => return Err(text.len()),
                            Some((next, b'=')) => end = next,
                            Some((next, _)) => return Err(next.saturating_sub(1)),
                        }
                    }
                    let _ = end;
                    return significant.next().map_or(Ok(()), |(at, _)| Err(at));
                }
                Some((at, _)) => return Err(at),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn decoded(group: &str, version: &str, kind: &str, text: &str) -> Result<Decoded, String> {
        let schema = builtin::of(group, version, kind).expect("a built-in kind");
        decode(&schema, serde_json::from_str(text).expect("JSON"))
    }

    #[test]
    fn what_has_the_wrong_type_is_refused_in_the_words_of_go() {
        for (kind, text, why) in [
            (
                "Pod",
                r#"{"spec":{"containers":{}}}"#,
                "object into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                "Service",
                r#"{"spec":{"ports":[{"nodePort":2147483648}]}}"#,
                "number 2147483648 into Go struct field ServicePort.spec.ports.nodePort of type int32",
            ),
            (
                "Service",
                r#"{"spec":{"ports":[{"targetPort":true}]}}"#,
                "bool into Go struct field ServicePort.spec.ports.targetPort of type int32",
            ),
            (
                "Pod",
                r#"{"spec":{"volumes":[{"configMap":{"items":{}}}]}}"#,
                "object into Go struct field ConfigMapVolumeSource.spec.volumes.VolumeSource.configMap.items of type []v1.KeyToPath",
            ),
            ("ConfigMap", r#"{"data":{"a":1}}"#, "number into Go struct field ConfigMap.data of type string"),
            (
                "ConfigMap",
                r#"{"metadata":{"deletionGracePeriodSeconds":1.5}}"#,
                "number 1.5 into Go struct field ObjectMeta.metadata.deletionGracePeriodSeconds of type int64",
            ),
            (
                "Pod",
                r#"{"spec":{"restartPolicy":1}}"#,
                "number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
            ),
        ] {
            assert_eq!(decoded("", "v1", kind, text), Err(format!("json: cannot unmarshal {why}")), "{text}");
        }
        let pod = r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}],"hostname":1}}"#;
        assert!(
            decoded("", "v1", "Pod", pod).unwrap_err().starts_with("quantities must match"),
            "goes before what Go only remembers"
        );
    }

    #[test]
    fn unknown_and_duplicate_fields_are_named_in_the_order_of_the_text() {
        let text = r#"{"spec":{"foo":1,"containers":[{"name":"a","imag":"x","name":"b"}]},"data":{},"metadata":{"labels":{"a":"1","a":"2"}}}"#;
        let decoded = decoded("", "v1", "Pod", text).unwrap();
        assert_eq!(
            decoded.problems,
            [
                r#"unknown field "spec.foo""#,
                r#"unknown field "spec.containers[0].imag""#,
                r#"duplicate field "spec.containers[0].name""#,
                r#"unknown field "data""#,
                r#"duplicate field "metadata.labels.a""#,
            ]
        );
        assert_eq!(decoded.value["metadata"]["labels"]["a"], "2");
    }

    #[test]
    fn empty_fields_are_left_out_or_filled_in_as_go_does() {
        let text = r#"{"metadata":{"labels":{},"creationTimestamp":null},"spec":{"replicas":0,"minReadySeconds":0,"template":{"spec":{"volumes":[]}}}}"#;
        let template = json!({"metadata": {}, "spec": {"containers": null}});
        assert_eq!(
            decoded("apps", "v1", "Deployment", text).unwrap().value,
            json!({"metadata": {}, "spec": {"replicas": 0, "selector": null, "strategy": {}, "template": template}, "status": {}})
        );
        assert_eq!(
            decoded("", "v1", "Secret", r#"{"data":{"a":"YQ==","b":null}}"#).unwrap().value["data"],
            json!({"a": "YQ==", "b": ""})
        );
    }

    #[test]
    fn an_empty_list_that_is_always_written_is_lost_in_the_store() {
        let node = || serde_json::from_str(r#"{"spec":{"drivers":[]}}"#).unwrap();
        let schema = builtin::of("storage.k8s.io", "v1", "CSINode").unwrap();
        assert_eq!(decode(&schema, node()).unwrap().value["spec"], json!({"drivers": []}));
        assert_eq!(stored(&schema, node()).unwrap()["spec"], json!({"drivers": null}));
    }

    #[test]
    fn values_take_their_canonical_form() {
        let text = r#"{"metadata":{"deletionTimestamp":"2026-01-02T03:04:05+01:00"},"spec":{"containers":[{"resources":{"limits":{"cpu":"0.5","memory":1024}}}]}}"#;
        let pod = decoded("", "v1", "Pod", text).unwrap().value;
        assert_eq!(pod["metadata"]["deletionTimestamp"], "2026-01-02T02:04:05Z");
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"], json!({"cpu": "500m", "memory": "1024"}));
    }

    #[test]
    fn broken_base64_is_refused_where_go_refuses_it() {
        for (text, at) in [("*", 0), ("YQ=", 3), ("abc", 0), ("YWJjYQ", 4), ("YQ==YQ==", 4), ("Y===", 1)] {
            assert_eq!(bytes(text), Err(at), "{text}");
        }
        assert_eq!(bytes("YW\nJj").as_deref(), Ok("YWJj"));
    }

    #[test]
    fn the_definition_of_a_custom_resource_takes_schemas_and_what_stands_for_them() {
        let text = r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"properties":{"a":{"items":{"type":"string"},"additionalProperties":false,"default":{"x":1}}}}}}]}}"#;
        let value = decoded("apiextensions.k8s.io", "v1", "CustomResourceDefinition", text).unwrap().value;
        let a = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["a"];
        assert_eq!(a, &json!({"items": {"type": "string"}, "additionalProperties": false, "default": {"x": 1}}));
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-2i64..3).prop_map(Value::from),
            prop_oneof![Just(""), Just("a"), Just("1Gi"), Just("2026-01-02T03:04:05Z")].prop_map(Value::from),
        ];
        let name = prop_oneof![
            Just("metadata"),
            Just("spec"),
            Just("containers"),
            Just("name"),
            Just("ports"),
            Just("labels"),
            Just("resources"),
            Just("limits"),
            Just("securityContext"),
            Just("volumes"),
            Just("emptyDir"),
            Just("status"),
            Just("x"),
        ];
        leaf.prop_recursive(5, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..4).prop_map(|fields| Value::Object(
                    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
                )),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_decoded_once_stays_as_it_is(value in tree()) {
            let schema = builtin::of("", "v1", "Pod").unwrap();
            if let Ok(first) = decode(&schema, value.into()) {
                let again = decode(&schema, first.value.clone().into()).unwrap();
                prop_assert_eq!(&again.value, &first.value);
                prop_assert!(again.problems.is_empty());
            }
        }
    }
}
