//! The paths of resources and what can be done at them.

use serde_json::{Map, Value, json};

use super::{Described, Form};
use crate::kinds::GroupVersionKind;

const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// What is done with which method, how it is called, and the query parameters that it knows.
const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
const DELETE: &[&str] = &["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"];

/// Adds the paths of a resource, whose objects are defined as `object`.
pub(super) fn add(form: Form, resource: &Described, object: &str, paths: &mut Map<String, Value>) {
    let info = &resource.info;
    let base = info.base_path();
    let list = object
        .rsplit_once('.')
        .map_or_else(|| resource.list_kind.clone(), |(package, _)| format!("{package}.{}", resource.list_kind));
    let scope = if info.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{base}{scope}/{}", info.resource);
    let kind = info.gvk();
    let maker = Maker { form, kind: &kind, resource };
    let status = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

    let mut all = maker.item(info.namespaced, false);
    for (verb, method, action, query, answer) in [
        ("list", "get", "list", LIST, list.as_str()),
        ("create", "post", "post", WRITE, object),
        ("deletecollection", "delete", "deletecollection", DELETE, status),
    ] {
        if info.has_verb(verb) {
            all.insert(method.into(), maker.operation(action, query, answer, ""));
        }
    }
    paths.insert(collection.clone(), all.into());
    if info.namespaced && info.has_verb("list") {
        let mut all = maker.item(false, false);
        all.insert("get".into(), maker.operation("list", LIST, &list, ""));
        paths.insert(format!("{base}/{}", info.resource), all.into());
    }

    let one = |verbs: &[String], maker: &Maker<'_>, object: &str, sub: &str| {
        let mut item = maker.item(info.namespaced, true);
        for (verb, method, action, query) in [
            ("get", "get", "get", &[][..]),
            ("update", "put", "put", WRITE),
            ("create", "post", "post", WRITE),
            ("patch", "patch", "patch", PATCH),
            ("delete", "delete", "delete", DELETE),
        ] {
            if verbs.iter().any(|has| has == verb) && (verb != "create" || !sub.is_empty()) {
                let answer = if verb == "delete" { status } else { object };
                item.insert(method.into(), maker.operation(action, query, answer, sub));
            }
        }
        item
    };
    if ["get", "update", "patch", "delete"].iter().any(|verb| info.has_verb(verb)) {
        paths.insert(format!("{collection}/{{name}}"), one(&info.verbs, &maker, object, "").into());
    }
    for sub in &info.subresources {
        let kind = info.subresource_gvk(sub);
        let name = super::definition_name(&kind.group, &kind.version, &kind.kind);
        let known = kind == info.gvk() || crate::schema::builtin::named(&name).is_some();
        let maker = Maker { form, kind: &kind, resource };
        let object = if known { name.as_str() } else { "" };
        paths.insert(format!("{collection}/{{name}}/{}", sub.name), one(&sub.verbs, &maker, object, &sub.name).into());
    }
}

struct Maker<'a> {
    form: Form,
    kind: &'a GroupVersionKind,
    resource: &'a Described,
}

impl Maker<'_> {
    /// A path with the parameters that it has whatever is done there.
    fn item(&self, namespace: bool, name: bool) -> Map<String, Value> {
        let mut parameters = Vec::new();
        for (is, parameter) in [(name, "name"), (namespace, "namespace")] {
            if is {
                parameters.push(self.parameter(parameter, "path"));
            }
        }
        Map::from_iter([("parameters".to_owned(), parameters.into())])
    }

    fn parameter(&self, name: &str, place: &str) -> Value {
        let kind = match name {
            "allowWatchBookmarks" | "force" | "orphanDependents" | "sendInitialEvents" | "watch" => "boolean",
            "gracePeriodSeconds" | "limit" | "timeoutSeconds" => "integer",
            _ => "string",
        };
        let mut parameter = json!({"name": name, "in": place});
        match self.form {
            Form::V2 => parameter["type"] = kind.into(),
            Form::V3 => parameter["schema"] = json!({"type": kind}),
        }
        if place == "path" {
            parameter["required"] = true.into();
        }
        parameter
    }

    fn operation(&self, action: &str, query: &[&str], answer: &str, sub: &str) -> Value {
        let info = &self.resource.info;
        let schema =
            if answer.is_empty() { json!({"type": "string"}) } else { json!({"$ref": self.form.reference(answer)}) };
        let mut parameters: Vec<Value> = query.iter().map(|name| self.parameter(name, "query")).collect();
        let content = |types: &[&str], schema: &Value| -> Value {
            types.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect::<Map<_, _>>().into()
        };
        let any = json!({"type": "object"});
        let body = match action {
            "post" | "put" => Some((&["*/*"][..], schema.clone())),
            // Custom resources have no strategic merge; clients decide by what is listed here.
            "patch" if self.resource.custom.is_some() => Some((&PATCHES[..PATCHES.len() - 1], any)),
            "patch" => Some((PATCHES, any)),
            _ => None,
        };
        let mut operation = json!({
            "description": format!("{action} {}{}{sub}", info.resource, if sub.is_empty() { "" } else { "/" }),
            "operationId": format!("{action}_{}_{}_{}{sub}", info.group, info.version, info.resource),
            "tags": [if info.group.is_empty() { "core".to_owned() } else { format!("{}_{}", info.group, info.version) }],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {
                "group": self.kind.group, "version": self.kind.version, "kind": self.kind.kind,
            },
        });
        match self.form {
            Form::V2 => {
                if let Some((_, schema)) = body {
                    parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": schema}));
                }
                operation["responses"] = json!({"200": {"description": "OK", "schema": schema}});
            }
            Form::V3 => {
                if let Some((types, schema)) = body {
                    operation["requestBody"] = json!({"content": content(types, &schema), "required": true});
                }
                let answers = content(&["application/json", "application/yaml"], &schema);
                operation["responses"] = json!({"200": {"description": "OK", "content": answers}});
            }
        }
        operation["parameters"] = parameters.into();
        operation
    }
}
