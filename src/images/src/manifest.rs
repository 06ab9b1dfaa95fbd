//! Manifests, indexes and configs, as far as they matter here. What is unknown in them is ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// A pointer to content.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
    #[serde(default)]
    pub size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

/// What a manifest is for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Platform {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
}

/// Either a manifest or an index of them: `manifests` tells.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_deref(), Some(OCI_INDEX | DOCKER_INDEX))
            || (self.config.is_none() && !self.manifests.is_empty())
    }

    /// The manifest of an index that this node would rather run: WebAssembly first, then the host's own platform, so
    /// that what is refused is refused by its right name.
    pub fn choose(&self) -> Option<&Descriptor> {
        let wasm = |entry: &&Descriptor| {
            entry
                .platform
                .as_ref()
                .is_some_and(|platform| platform.architecture == "wasm" || platform.os.starts_with("wasi"))
                || entry.artifact_type.as_deref().is_some_and(|kind| kind.contains("wasm"))
        };
        let host = |entry: &&Descriptor| {
            entry
                .platform
                .as_ref()
                .is_some_and(|platform| platform.os == "linux" && platform.architecture == host_architecture())
        };
        let attestation =
            |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
        self.manifests
            .iter()
            .find(wasm)
            .or_else(|| self.manifests.iter().find(host))
            .or_else(|| self.manifests.iter().find(|entry| !attestation(entry)))
    }
}

/// The host's architecture in Go's words, which OCI uses.
fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An ordinary image's config; an artifact's config has few of these fields or none.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ImageConfig {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub config: Option<Start>,
}

/// How an ordinary image is started.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Start {
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    #[serde(default)]
    pub cmd: Option<Vec<String>>,
    #[serde(default)]
    pub env: Option<Vec<String>>,
    #[serde(default)]
    pub working_dir: Option<String>,
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_index_the_wasm_manifest_is_taken() {
        let index: Manifest = serde_json::from_str(
            r#"{"schemaVersion":2,"manifests":[
                {"digest":"a","platform":{"os":"linux","architecture":"amd64"}},
                {"digest":"b","platform":{"os":"wasi","architecture":"wasm"}},
                {"digest":"c","platform":{"os":"unknown","architecture":"unknown"}}]}"#,
        )
        .expect("an index");
        assert!(index.is_index());
        assert_eq!(index.choose().map(|entry| entry.digest.as_str()), Some("b"));
    }
}
