//! What the store knows of an image.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::blobs::Digest;

/// One image of this node. Names may move to another image; the rest never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The manifest's digest, which is the image's identity here.
    pub id: Digest,
    /// Names with a tag, for example `ghcr.io/acme/shop:v1`.
    pub tags: BTreeSet<String>,
    /// Names with a digest, for example `ghcr.io/acme/shop@sha256:…`.
    pub digests: BTreeSet<String>,
    /// The bytes of all content.
    pub size: u64,
    /// How the artifact was laid out.
    pub layout: Layout,
    /// The program.
    pub program: Digest,
    /// What the program is called, the default `argv[0]`.
    pub program_name: String,
    /// Everything the image holds besides the program; `blobs` that may go when the image goes.
    pub blobs: BTreeSet<Digest>,
    /// Whether there are files that the guest sees below `/`.
    #[serde(default)]
    pub has_files: bool,
    /// Arguments before those of `cmd`; empty for artifacts that have no such field.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Default arguments.
    #[serde(default)]
    pub cmd: Vec<String>,
    /// `NAME=value`.
    #[serde(default)]
    pub env: Vec<String>,
    /// Where the program starts; empty for `/`.
    #[serde(default)]
    pub working_dir: String,
    /// The user the image asks for; without meaning to a guest, reported all the same.
    #[serde(default)]
    pub user: String,
    /// When it came to this node, in seconds since 1970.
    pub since: i64,
}

/// The ways in which WebAssembly is put into an OCI artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// Type 1: CNCF's Wasm OCI artifact.
    WasmArtifact,
    /// Type 2: an image of platform wasi/wasm whose layer is the program.
    WasiImage,
    /// Type 3: a Spin application.
    SpinApplication,
    /// Type 4: wasm-to-oci.
    WasmToOci,
    /// Type 5: solo.io's module image.
    ModuleImage,
    /// Type 6: an ordinary image with a program in its files.
    Compat,
}
