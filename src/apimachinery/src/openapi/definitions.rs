//! The definitions of types.

use serde_json::{Map, Value, json};

use super::{Described, Docs, Form, definition_name};
use crate::schema::{Field, Kind, Merge, Schema, Struct, builtin};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const RAW: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
const FIELDS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1";
const JSON: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions";

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert \
    recognized schemas to the latest internal value, and may reject unrecognized values. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from \
    the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// Definitions as they are gathered.
pub(super) struct Definitions<'a> {
    form: Form,
    docs: &'a Docs,
    all: Map<String, Value>,
}

impl<'a> Definitions<'a> {
    pub(super) fn new(form: Form, docs: &'a Docs) -> Self {
        Self { form, docs, all: Map::new() }
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.all)
    }

    /// Adds a resource's kind and its list; gives back the name of the kind's definition.
    pub(super) fn add_kind(&mut self, resource: &Described) -> String {
        let info = &resource.info;
        let name = definition_name(&info.group, &info.version, &info.kind);
        match (&resource.custom, builtin::of(&info.group, &info.version, &info.kind)) {
            (None, Some(schema)) => self.add(&schema),
            (custom, _) => {
                let schema = custom.as_deref().cloned().unwrap_or_else(|| json!({"type": "object"}));
                self.add_custom(&name, resource, schema);
            }
        }
        // What a deletion takes and what it answers.
        for name in ["DeleteOptions", "Status"] {
            self.add_named(&format!("{META}.{name}"));
        }
        if info.has_verb("list") {
            self.add_list(&name, resource);
        }
        name
    }

    fn add_custom(&mut self, name: &str, resource: &Described, mut schema: Value) {
        self.add_named(&format!("{META}.ObjectMeta"));
        if !schema["properties"].is_object() {
            schema["properties"] = json!({});
        }
        let metadata = self.referring(&format!("{META}.ObjectMeta"), "Standard object's metadata.");
        schema["properties"]["apiVersion"] = json!({"type": "string", "description": API_VERSION});
        schema["properties"]["kind"] = json!({"type": "string", "description": KIND});
        schema["properties"]["metadata"] = metadata;
        schema["x-kubernetes-group-version-kind"] = json!([gvk(resource, &resource.info.kind)]);
        self.all.insert(name.to_owned(), schema);
    }

    fn add_list(&mut self, item: &str, resource: &Described) {
        self.add_named(&format!("{META}.ListMeta"));
        let kind = &resource.list_kind;
        let name = item.rsplit_once('.').map_or_else(|| kind.clone(), |(package, _)| format!("{package}.{kind}"));
        let items = self.referring(item, "");
        let list = json!({
            "description": format!("{kind} is a list of {}", resource.info.kind),
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string", "description": API_VERSION},
                "kind": {"type": "string", "description": KIND},
                "items": {"type": "array", "items": items, "description": format!("Items is the list of {}.", resource.info.resource)},
                "metadata": self.referring(&format!("{META}.ListMeta"), "Standard list metadata."),
            },
            "x-kubernetes-group-version-kind": [gvk(resource, kind)],
        });
        self.all.insert(name, list);
    }

    fn add_named(&mut self, name: &str) {
        if let Some(schema) = builtin::named(name) {
            self.add(&schema);
        }
    }

    /// Adds a structure and all that it refers to.
    pub(super) fn add(&mut self, schema: &Schema) {
        if let Kind::Struct(structure) = &schema.kind {
            self.add_struct(structure);
        }
    }

    fn add_struct(&mut self, structure: &Struct) {
        if self.all.contains_key(&*structure.name) {
            return;
        }
        // Structures may contain themselves.
        self.all.insert(structure.name.to_string(), Value::Null);
        let mut definition = json!({"type": "object"});
        self.describe(&mut definition, &structure.name, "");
        let mut properties = Map::new();
        for field in &structure.fields {
            let mut property = self.property(&field.schema);
            // In the newer form descriptions do not stand beside references, so those are wrapped; clients of the older one know no wrappers.
            if self.form == Form::V3
                && let Some(reference) = property.get("$ref").cloned()
            {
                property = json!({"allOf": [{"$ref": reference}]});
            }
            self.describe(&mut property, &structure.name, &field.name);
            annotate(&mut property, field);
            properties.insert(field.name.to_string(), property);
        }
        if !properties.is_empty() {
            definition["properties"] = Value::Object(properties);
        }
        let required: Vec<&str> =
            structure.fields.iter().filter(|field| field.required).map(|field| &*field.name).collect();
        if !required.is_empty() {
            definition["required"] = required.into();
        }
        if structure.atomic {
            definition["x-kubernetes-map-type"] = "atomic".into();
        }
        let kinds = builtin::kinds_of(structure);
        if !kinds.is_empty() {
            let kinds = kinds.iter().filter_map(|kind| {
                let mut parts = kind.splitn(3, '/');
                Some(json!({"group": parts.next()?, "version": parts.next()?, "kind": parts.next()?}))
            });
            definition["x-kubernetes-group-version-kind"] = kinds.collect();
        }
        self.all.insert(structure.name.to_string(), definition);
    }

    fn describe(&self, definition: &mut Value, name: &str, field: &str) {
        let description = self.docs.get(name).and_then(|fields| fields.get(field));
        if let Some(description) = description.filter(|description| !description.is_empty()) {
            definition["description"] = description.clone().into();
        }
    }

    fn referring(&self, name: &str, description: &str) -> Value {
        let reference = json!({"$ref": self.form.reference(name)});
        match (description, self.form) {
            ("", _) => reference,
            (_, Form::V2) => json!({"$ref": self.form.reference(name), "description": description}),
            (_, Form::V3) => json!({"allOf": [reference], "description": description}),
        }
    }

    /// A value of a kind that has a definition of its own.
    fn value(&mut self, name: &str, definition: Value) -> Value {
        if !self.all.contains_key(name) {
            let mut definition = definition;
            self.describe(&mut definition, name, "");
            self.all.insert(name.to_owned(), definition);
        }
        self.referring(name, "")
    }

    fn property(&mut self, schema: &Schema) -> Value {
        match &schema.kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Int(bits) => json!({"type": "integer", "format": format!("int{bits}")}),
            Kind::Float => json!({"type": "number", "format": "double"}),
            Kind::Text => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "format": "byte"}),
            Kind::Time => self.value(TIME, json!({"type": "string", "format": "date-time"})),
            Kind::MicroTime => self.value(MICRO_TIME, json!({"type": "string", "format": "date-time"})),
            Kind::Quantity if self.form == Form::V3 => {
                self.value(QUANTITY, json!({"oneOf": [{"type": "string"}, {"type": "number"}]}))
            }
            Kind::Quantity => self.value(QUANTITY, json!({"type": "string"})),
            Kind::IntOrString if self.form == Form::V3 => {
                let either = json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]});
                self.value(INT_OR_STRING, either)
            }
            Kind::IntOrString => self.value(INT_OR_STRING, json!({"type": "string", "format": "int-or-string"})),
            Kind::Any => match &*schema.go {
                "v1.FieldsV1" => self.value(FIELDS, json!({"type": "object"})),
                "v1.JSON" => self.value(JSON, json!({})),
                _ => self.value(RAW, json!({"type": "object"})),
            },
            Kind::Union(_) => self.value(&format!("{EXTENSIONS}.{}", schema.go), json!({})),
            Kind::List(items) => json!({"type": "array", "items": self.property(items)}),
            Kind::Map(values) => json!({"type": "object", "additionalProperties": self.property(values)}),
            Kind::Struct(structure) => {
                self.add_struct(structure);
                self.referring(&structure.name, "")
            }
        }
    }
}

fn gvk(resource: &Described, kind: &str) -> Value {
    json!({"group": resource.info.group, "version": resource.info.version, "kind": kind})
}

/// Defaults, and how a field merges.
fn annotate(property: &mut Value, field: &Field) {
    if let Some(default) = field.default() {
        property["default"] = default;
    } else if !field.pointer && matches!(field.schema.kind, Kind::Struct(_)) {
        property["default"] = json!({});
    }
    let is_list = matches!(field.schema.kind, Kind::List(_));
    match &field.schema.merge {
        Merge::Default => {}
        Merge::Atomic if is_list => property["x-kubernetes-list-type"] = "atomic".into(),
        Merge::Atomic if matches!(field.schema.kind, Kind::Map(_)) => {
            property["x-kubernetes-map-type"] = "atomic".into()
        }
        Merge::Atomic => {}
        Merge::Set => property["x-kubernetes-list-type"] = "set".into(),
        Merge::Keyed(keys) => {
            property["x-kubernetes-list-type"] = "map".into();
            property["x-kubernetes-list-map-keys"] = keys.iter().map(|key| Value::from(&**key)).collect();
        }
    }
    let patch = &field.patch;
    if patch.merges || patch.retains_keys {
        let strategy = [(patch.merges, "merge"), (patch.retains_keys, "retainKeys")];
        let strategy: Vec<&str> = strategy.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
        property["x-kubernetes-patch-strategy"] = strategy.join(",").into();
    }
    if let Some(key) = &patch.key {
        property["x-kubernetes-patch-merge-key"] = (&**key).into();
    }
}
