//! `/openapi/v2` and `/openapi/v3`: documents are made when they are asked for; their names change when they do.

use apimachinery::{
    VERSION, kinds,
    openapi::{Described, Form, document as make, to_protobuf},
};
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::{
    core::Core,
    endpoints::Context,
    fail,
    resources::{Resource, Table},
    respond,
};

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// Under which clients ask for it, by the kind of server that they knew first.
const PROTOBUF_ASKED: [&str; 3] = [
    PROTOBUF,
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.googleapis.gnostic.OpenAPIv2",
];

/// All groups in one document of the older form.
pub fn v2(core: &Core, context: &Context) -> Response<Body> {
    let accepted = context.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("*/*");
    let protobuf = PROTOBUF_ASKED.iter().any(|media| accepted.contains(media));
    if !protobuf && !["*/*", "application/*", "application/json"].iter().any(|media| accepted.contains(media)) {
        return respond::status(&fail::not_acceptable());
    }
    let table = core.table();
    let all: Vec<Described> = versions(&table)
        .iter()
        .flat_map(|(group, version)| table.resources(group, version))
        .map(|resource| describe(resource))
        .collect();
    let document = make(Form::V2, &all);
    if !protobuf {
        return respond::json(StatusCode::OK, &document);
    }
    let mut response = Response::new(Body::from(to_protobuf(&document)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    response
}

/// Which documents there are.
pub fn index(core: &Core) -> Response<Body> {
    let table = core.table();
    let paths: Map<String, Value> = versions(&table)
        .into_iter()
        .map(|(group, version)| {
            let path = kinds::base_path(&group, &version);
            let url = format!("/openapi/v3{path}?hash={}", hash(&table, &group, &version));
            (path.trim_start_matches('/').to_owned(), json!({"serverRelativeURL": url}))
        })
        .collect();
    respond::json(StatusCode::OK, &json!({"paths": paths}))
}

/// The document of one version of a group, by its path below `/openapi/v3`.
pub fn document(core: &Core, context: &Context, path: &str) -> Option<Response<Body>> {
    let (group, version) = match path.split('/').collect::<Vec<_>>()[..] {
        ["api", version] => ("", version),
        ["apis", group, version] => (group, version),
        _ => return None,
    };
    let table = core.table();
    let resources = table.resources(group, version);
    if resources.is_empty() {
        return None;
    }
    let tag = format!("\"{}\"", hash(&table, group, version));
    let matches = context.headers.get(header::IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes());
    let mut response = if matches {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let described: Vec<Described> = resources.iter().map(|resource| describe(resource)).collect();
        respond::json(StatusCode::OK, &make(Form::V3, &described))
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Some(response)
}

fn versions(table: &Table) -> Vec<(String, String)> {
    let versions = |group: &str| table.versions(group).to_vec();
    table
        .groups()
        .flat_map(|group| versions(group).into_iter().map(move |version| (group.to_owned(), version)))
        .collect()
}

/// What a document is made of, in short.
fn hash(table: &Table, group: &str, version: &str) -> String {
    let mut digest = Sha512::new();
    digest.update(VERSION);
    for resource in table.resources(group, version) {
        digest.update(format!("\0{}\0{}", resource.name, resource.kind));
        if let Some(schema) = resource.custom.as_ref().and_then(|custom| custom.schema.as_ref()) {
            digest.update(schema.to_string());
        }
    }
    hex::encode_upper(digest.finalize())
}

fn describe(resource: &Resource) -> Described {
    let subresources = resource.subresources.iter().map(|sub| kinds::Subresource {
        name: sub.name.clone(),
        group: sub.group.clone(),
        version: sub.version.clone(),
        kind: sub.kind.clone(),
        verbs: sub.verbs.clone(),
        accepted_types: Vec::new(),
    });
    Described {
        info: kinds::ResourceInfo {
            group: resource.group.clone(),
            version: resource.version.clone(),
            resource: resource.name.clone(),
            singular: resource.singular.clone(),
            kind: resource.kind.clone(),
            namespaced: resource.namespaced,
            verbs: resource.verbs.clone(),
            short_names: resource.short_names.clone(),
            categories: resource.categories.clone(),
            subresources: subresources.collect(),
        },
        list_kind: resource.list_kind(),
        custom: resource
            .custom
            .as_ref()
            .map(|custom| custom.schema.clone().unwrap_or_else(|| json!({"type": "object"}).into())),
    }
}
