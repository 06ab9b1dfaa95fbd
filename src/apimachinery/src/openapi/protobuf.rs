//! Documents of the older form in protobuf (`openapi.v2.Document`), the only encoding in which kubectl and helm ask for it.
//!
//! What is written is what clients read: paths with their parameters and kinds, and definitions. Extensions are written as YAML, which their JSON is.

use serde_json::{Map, Value};

/// A document of form [`super::Form::V2`] as protobuf.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    let mut info = Message::default();
    info.text(1, &document["info"]["title"]);
    info.text(2, &document["info"]["version"]);
    out.message(2, info);
    let mut paths = Message::default();
    for (name, item) in fields(&document["paths"]) {
        paths.named(2, name, path_item(item));
    }
    out.message(8, paths);
    let mut definitions = Message::default();
    for (name, definition) in fields(&document["definitions"]) {
        definitions.named(1, name, schema(definition));
    }
    out.message(9, definitions);
    out.0
}

/// A message as it is written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number as u8 & 0x7f) | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u64, message: Self) {
        self.bytes(field, &message.0);
    }

    fn text(&mut self, field: u64, text: &Value) {
        if let Some(text) = text.as_str().filter(|text| !text.is_empty()) {
            self.bytes(field, text.as_bytes());
        }
    }

    fn texts(&mut self, field: u64, texts: &Value) {
        for text in texts.as_array().into_iter().flatten() {
            self.text(field, text);
        }
    }

    fn flag(&mut self, field: u64, flag: &Value) {
        if *flag == true {
            self.varint(field << 3);
            self.varint(1);
        }
    }

    /// An entry of a map: its name and its value.
    fn named(&mut self, field: u64, name: &str, value: Self) {
        let mut entry = Self::default();
        entry.bytes(1, name.as_bytes());
        entry.message(2, value);
        self.message(field, entry);
    }

    /// Any value, as YAML.
    fn any(&mut self, field: u64, value: &Value) {
        let mut any = Self::default();
        any.bytes(2, value.to_string().as_bytes());
        self.message(field, any);
    }

    fn extensions(&mut self, field: u64, object: &Value) {
        for (name, value) in fields(object).filter(|(name, _)| name.starts_with("x-")) {
            let mut any = Self::default();
            any.bytes(2, value.to_string().as_bytes());
            self.named(field, name, any);
        }
    }
}

fn fields(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flat_map(Map::iter)
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(done) = item.get(method) {
            out.message(field, operation(done));
        }
    }
    for given in item["parameters"].as_array().into_iter().flatten() {
        out.message(9, parameter(given));
    }
    out
}

fn operation(done: &Value) -> Message {
    let mut out = Message::default();
    out.texts(1, &done["tags"]);
    out.text(3, &done["description"]);
    out.text(5, &done["operationId"]);
    for given in done["parameters"].as_array().into_iter().flatten() {
        out.message(8, parameter(given));
    }
    out.extensions(13, done);
    out
}

fn parameter(given: &Value) -> Message {
    let (mut out, mut item) = (Message::default(), Message::default());
    if given["in"] == "body" {
        let mut body = Message::default();
        body.text(2, &given["name"]);
        body.text(3, &given["in"]);
        body.flag(4, &given["required"]);
        body.message(5, schema(&given["schema"]));
        out.message(1, body);
    } else {
        // Parameters of paths have one field less, which moves the type.
        let (place, kind) = if given["in"] == "path" { (4, 5) } else { (3, 6) };
        let mut sub = Message::default();
        sub.flag(1, &given["required"]);
        sub.text(2, &given["in"]);
        sub.text(4, &given["name"]);
        sub.text(kind, &given["type"]);
        let mut other = Message::default();
        other.message(place, sub);
        out.message(2, other);
    }
    item.message(1, out);
    item
}

fn schema(definition: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &definition["$ref"]);
    out.text(2, &definition["format"]);
    out.text(4, &definition["description"]);
    if let Some(default) = definition.get("default") {
        out.any(5, default);
    }
    out.text(13, &definition["pattern"]);
    out.texts(19, &definition["required"]);
    for allowed in definition["enum"].as_array().into_iter().flatten() {
        out.any(20, allowed);
    }
    if let Some(values) = definition.get("additionalProperties") {
        let mut item = Message::default();
        match values {
            Value::Bool(_) => item.flag(2, values),
            values => item.message(1, schema(values)),
        }
        out.message(21, item);
    }
    if definition["type"].is_string() {
        let mut kind = Message::default();
        kind.text(1, &definition["type"]);
        out.message(22, kind);
    }
    if let Some(items) = definition.get("items") {
        let mut item = Message::default();
        item.message(1, schema(items));
        out.message(23, item);
    }
    if definition["properties"].is_object() {
        let mut properties = Message::default();
        for (name, property) in fields(&definition["properties"]) {
            properties.named(1, name, schema(property));
        }
        out.message(25, properties);
    }
    out.extensions(31, definition);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The fields of a message: number and bytes; every field but flags has bytes.
    fn read(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let mut number = 0;
            for shift in (0..).step_by(7) {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                number |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            number
        }
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let value = varint(&mut bytes);
            if key & 7 == 0 {
                fields.push((key >> 3, vec![u8::try_from(value).unwrap()]));
            } else {
                let (value, rest) = bytes.split_at(usize::try_from(value).unwrap());
                fields.push((key >> 3, value.to_vec()));
                bytes = rest;
            }
        }
        fields
    }

    fn get(bytes: &[u8], path: &[u64]) -> Vec<u8> {
        path.iter().fold(bytes.to_vec(), |bytes, wanted| {
            read(&bytes).into_iter().find(|(field, _)| field == wanted).expect("the field is there").1
        })
    }

    #[test]
    fn clients_find_kinds_and_parameters_where_the_format_has_them() {
        let document = json!({
            "swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1"},
            "paths": {"/x": {"patch": {
                "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": "X"},
                "parameters": [{"name": "fieldValidation", "in": "query", "type": "string"}],
            }, "parameters": [{"name": "name", "in": "path", "type": "string", "required": true}]}},
            "definitions": {"v1.X": {"type": "object", "description": "d".repeat(200), "properties": {"a": {"$ref": "#/definitions/v1.Y"}}}},
        });
        let bytes = encode(&document);
        assert_eq!(get(&bytes, &[2, 1]), b"Kubernetes");
        let item = get(&bytes, &[8, 2, 2]);
        assert_eq!(get(&item, &[8, 8, 1, 2, 3, 4]), b"fieldValidation");
        assert_eq!(get(&item, &[9, 1, 2, 4, 1]), [1]);
        assert_eq!(get(&item, &[8, 13, 2, 2]), br#"{"group":"","kind":"X","version":"v1"}"#);
        let definition = get(&bytes, &[9, 1, 2]);
        assert_eq!(get(&definition, &[22, 1]), b"object");
        assert_eq!(get(&definition, &[4]).len(), 200);
        assert_eq!(get(&definition, &[25, 1, 2, 1]), b"#/definitions/v1.Y");
    }
}
