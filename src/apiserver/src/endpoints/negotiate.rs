//! Which form of an answer a client asked for, and which form of a body it sent.

use http::{HeaderMap, header};

/// The form of an object in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// The object itself.
    #[default]
    Object,
    /// A `Table` for people.
    Table,
    /// Its metadata alone.
    Metadata,
    /// A list's items' metadata alone.
    MetadataList,
    /// Aggregated discovery.
    Discovery,
}

/// What a client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    /// The form.
    pub form: Form,
    /// Whether as YAML.
    pub yaml: bool,
}

/// The first form in the `Accept` header that the server has; `None` for none (406).
pub fn accept(headers: &HeaderMap) -> Option<Accepted> {
    let mut clauses = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        clauses.extend(value.to_str().unwrap_or_default().split(',').map(Clause::of));
    }
    clauses.retain(|clause| !clause.media.is_empty());
    if clauses.is_empty() {
        return Some(Accepted::default());
    }
    clauses.sort_by(|one, other| other.quality.total_cmp(&one.quality));
    clauses.iter().find_map(Clause::accepted)
}

struct Clause<'a> {
    media: &'a str,
    kind: &'a str,
    group: &'a str,
    version: &'a str,
    quality: f32,
}

impl<'a> Clause<'a> {
    fn of(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let mut clause = Self { media, kind: "", group: "", version: "", quality: 1.0 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "as" => clause.kind = value.trim(),
                "g" => clause.group = value.trim(),
                "v" => clause.version = value.trim(),
                "q" => clause.quality = value.trim().parse().unwrap_or(1.0),
                _ => {}
            }
        }
        clause
    }

    fn accepted(&self) -> Option<Accepted> {
        let yaml = match self.media {
            "application/json" | "*/*" | "application/*" => false,
            "application/yaml" => true,
            _ => return None,
        };
        let form = match (self.kind, self.group, self.version) {
            ("", ..) => Form::Object,
            ("Table", "meta.k8s.io", "v1" | "v1beta1") => Form::Table,
            ("PartialObjectMetadata", "meta.k8s.io", "v1" | "v1beta1") => Form::Metadata,
            ("PartialObjectMetadataList", "meta.k8s.io", "v1" | "v1beta1") => Form::MetadataList,
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Form::Discovery,
            _ => return None,
        };
        Some(Accepted { form, yaml })
    }
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyType {
    /// JSON, also when the client does not say.
    Json,
    /// YAML.
    Yaml,
    /// Kubernetes' protobuf envelope.
    Protobuf,
}

/// The media type of the body, without parameters.
pub fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// How the body is written; `None` for a type that is not known (415).
pub fn body_type(headers: &HeaderMap) -> Option<BodyType> {
    match content_type(headers) {
        "" | "application/json" | "*/*" => Some(BodyType::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Some(BodyType::Yaml),
        "application/vnd.kubernetes.protobuf" => Some(BodyType::Protobuf),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(value: &str) -> Option<Accepted> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, value.parse().unwrap());
        accept(&headers)
    }

    #[test]
    fn the_first_form_that_the_server_has_is_taken() {
        let table = accepted("application/json;as=Table;v=v1;g=meta.k8s.io,application/json").unwrap();
        assert_eq!(table.form, Form::Table);
        assert_eq!(accepted("application/vnd.kubernetes.protobuf,application/json").unwrap(), Accepted::default());
        assert!(accepted("application/json;as=Nothing;g=x;v=v1, application/yaml").unwrap().yaml);
        assert!(!accepted("application/yaml;q=0.5,application/json").unwrap().yaml);
        assert_eq!(accept(&HeaderMap::new()), Some(Accepted::default()));
    }

    #[test]
    fn what_the_server_has_not_is_refused() {
        assert_eq!(accepted("text/html"), None);
        assert_eq!(accepted("application/vnd.kubernetes.protobuf"), None);
    }
}
