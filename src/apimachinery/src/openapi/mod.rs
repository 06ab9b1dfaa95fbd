//! OpenAPI documents, made of the schemas when they are asked for: what `kubectl explain` shows and what clients learn about parameters.
//!
//! Descriptions are kept compressed (`data/docs.json.gz`) and only unpacked while a document is made.

mod definitions;
mod paths;
mod protobuf;

use std::{collections::BTreeMap, io::Read, sync::Arc};

use flate2::read::GzDecoder;
use serde_json::{Value, json};

pub use self::protobuf::encode as to_protobuf;
use crate::{VERSION, kinds::ResourceInfo, schema::builtin};

const DOCS: &[u8] = include_bytes!("../../data/docs.json.gz");

/// Descriptions by type and field; those of types stand under the empty name.
type Docs = BTreeMap<String, BTreeMap<String, String>>;

/// Which form a document has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

impl Form {
    fn reference(self, name: &str) -> String {
        match self {
            Self::V2 => format!("#/definitions/{name}"),
            Self::V3 => format!("#/components/schemas/{name}"),
        }
    }
}

/// A resource of a document.
#[derive(Debug, Clone)]
pub struct Described {
    /// What it is.
    pub info: ResourceInfo,
    /// The kind of its lists.
    pub list_kind: String,
    /// Its schema, when it is not built in; null when its definition has none.
    pub custom: Option<Arc<Value>>,
}

/// The document of some resources.
pub fn document(form: Form, resources: &[Described]) -> Value {
    let docs = docs();
    let mut definitions = definitions::Definitions::new(form, &docs);
    let mut all = serde_json::Map::new();
    for resource in resources {
        let object = definitions.add_kind(resource);
        for sub in &resource.info.subresources {
            let kind = resource.info.subresource_gvk(sub);
            if let Some(schema) = builtin::of(&kind.group, &kind.version, &kind.kind) {
                definitions.add(&schema);
            }
        }
        paths::add(form, resource, &object, &mut all);
    }
    let info = json!({"title": "Kubernetes", "version": VERSION});
    let definitions = definitions.into_value();
    match form {
        Form::V2 => json!({"swagger": "2.0", "info": info, "paths": all, "definitions": definitions}),
        Form::V3 => json!({"openapi": "3.0.0", "info": info, "paths": all, "components": {"schemas": definitions}}),
    }
}

fn docs() -> Docs {
    let mut text = String::new();
    let read = GzDecoder::new(DOCS).read_to_string(&mut text);
    read.expect("the embedded descriptions are what `generate` compressed");
    serde_json::from_str(&text).expect("the embedded descriptions have the form in which `generate` wrote them")
}

/// The name of a definition: groups of custom resources backwards, as `test.example.v1.Thing`.
fn definition_name(group: &str, version: &str, kind: &str) -> String {
    match builtin::of(group, version, kind).map(|schema| schema.kind) {
        Some(crate::schema::Kind::Struct(structure)) => structure.name.to_string(),
        _ => {
            let group: Vec<&str> = group.rsplit('.').collect();
            format!("{}.{version}.{kind}", group.join("."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Registry;

    fn described(group: &str, version: &str) -> Vec<Described> {
        let infos = Registry::builtin().of_version(group, version);
        infos
            .map(|info| Described { info: info.clone(), list_kind: format!("{}List", info.kind), custom: None })
            .collect()
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_field_is_described() {
        for group in Registry::builtin().groups() {
            for version in &group.versions {
                let document = document(Form::V3, &described(&group.name, version));
                let schemas = document["components"]["schemas"].as_object().unwrap();
                let text = document.to_string();
                for reference in text.split("#/components/schemas/").skip(1) {
                    let name = reference.split('"').next().unwrap();
                    assert!(schemas.contains_key(name), "{name}");
                }
            }
        }
        let core = document(Form::V3, &described("", "v1"));
        let pod = &core["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
        assert_eq!(pod["x-kubernetes-group-version-kind"], json!([{"group": "", "version": "v1", "kind": "Pod"}]));
        let containers = &core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert!(containers["description"].as_str().unwrap().starts_with("List of containers"));
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    }

    #[test]
    fn paths_name_kinds_and_parameters() {
        let document = document(Form::V3, &described("apps", "v1"));
        let item = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
        assert_eq!(item["patch"]["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        let parameters = item["patch"]["parameters"].as_array().unwrap();
        assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
        assert!(document["paths"]["/apis/apps/v1/deployments"]["get"].is_object());
        assert!(document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["put"].is_object());
    }

    #[test]
    fn a_custom_resource_is_described_by_its_own_schema() {
        let info = ResourceInfo {
            group: "example.test".into(),
            version: "v1".into(),
            resource: "things".into(),
            singular: "thing".into(),
            kind: "Thing".into(),
            namespaced: true,
            verbs: vec!["get".into(), "list".into()],
            short_names: Vec::new(),
            categories: Vec::new(),
            subresources: Vec::new(),
        };
        let schema = json!({"type": "object", "description": "A thing.", "properties": {"spec": {"type": "object"}}});
        let thing = Described { info, list_kind: "ThingList".into(), custom: Some(schema.into()) };
        let document = document(Form::V3, &[thing]);
        let thing = &document["components"]["schemas"]["test.example.v1.Thing"];
        assert_eq!(thing["description"], "A thing.");
        assert!(thing["properties"]["metadata"].is_object() && thing["properties"]["spec"].is_object());
    }
}
