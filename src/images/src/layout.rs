//! From a manifest to a plan: where the program is, what lies beside it, how it is started.
//!
//! | type | config | layers |
//! |---|---|---|
//! | 1 | `application/vnd.wasm.config.v0+json` | `application/wasm` |
//! | 2 | an image config of platform wasi/wasm | `application/vnd.bytecodealliance.wasm.component.layer.v0+wasm` |
//! | 3 | `application/vnd.fermyon.spin.application.v1+config` | `…vnd.wasm.content.layer.v1+wasm`, `…+data`, an archive |
//! | 4 | `application/vnd.wasm.config.v1+json` | `application/vnd.wasm.content.layer.v1+wasm` |
//! | 5 | `application/vnd.module.wasm.config.v1+json` | `application/vnd.module.wasm.content.layer.v1+wasm` |
//! | 6 | an image config, marked as or pointing at WebAssembly | tar archives with a `.wasm` file in them |
//!
//! Pure: nothing is fetched or written here.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::{
    ImageError, Layout,
    blobs::Digest,
    manifest::{DOCKER_CONFIG, Descriptor, ImageConfig, Manifest, OCI_CONFIG, Start},
};

/// Config and layer type of a Wasm OCI artifact, the one kind that this store writes itself.
pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// See [`WASM_CONFIG`].
pub const WASM_LAYER: &str = "application/wasm";
const SPIN_CONFIG: &str = "application/vnd.fermyon.spin.application.v1+config";
const WASM_TO_OCI_CONFIG: &str = "application/vnd.wasm.config.v1+json";
const MODULE_CONFIG: &str = "application/vnd.module.wasm.config.v1+json";
const WASM_LAYERS: [&str; 4] = [
    WASM_LAYER,
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];
/// By these annotations an ordinary image says that it is for a WebAssembly runtime.
const COMPAT_MARKS: [(&str, [&str; 2]); 2] =
    [("module.wasm.image/variant", ["compat", "compat-smart"]), ("run.oci.handler", ["wasm", "wasm-smart"])];

/// How an artifact becomes an image of this store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Which of the six it is.
    pub layout: Layout,
    /// Where the program is.
    pub program: ProgramSource,
    /// All layers that are needed, in the manifest's order.
    pub layers: Vec<Digest>,
    /// Files beside the program.
    pub files: Vec<PlannedFile>,
    /// See [`crate::ImageRecord`].
    pub entrypoint: Vec<String>,
    /// See [`crate::ImageRecord`].
    pub cmd: Vec<String>,
    /// See [`crate::ImageRecord`].
    pub env: Vec<String>,
    /// See [`crate::ImageRecord`].
    pub working_dir: String,
    /// See [`crate::ImageRecord`].
    pub user: String,
}

/// Where the program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramSource {
    /// A layer is the program.
    Layer(Digest),
    /// The layers are archives of files, one of which is the program: this one if it is named.
    Archives {
        /// The path by the image's entrypoint or command.
        path: Option<String>,
    },
}

/// A file beside the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its path below the guest's root.
    pub path: String,
    /// Its content.
    pub content: FileContent,
}

/// A planned file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// A layer.
    Layer(Digest),
    /// In the config itself.
    Inline(Vec<u8>),
}

/// Reads `manifest` and its `config`.
///
/// # Errors
/// When the image is for Linux, or laid out in no known way.
pub fn plan(image: &str, manifest: &Manifest, config: &[u8]) -> Result<Plan, ImageError> {
    let kind = manifest.config.as_ref().map(|config| config.media_type.as_str()).unwrap_or_default();
    match kind {
        WASM_CONFIG => single(image, manifest, Layout::WasmArtifact),
        WASM_TO_OCI_CONFIG => single(image, manifest, Layout::WasmToOci),
        MODULE_CONFIG => single(image, manifest, Layout::ModuleImage),
        SPIN_CONFIG => spin(image, manifest, config),
        OCI_CONFIG | DOCKER_CONFIG => ordinary(image, manifest, config),
        // A config that says nothing about itself: the layers may.
        _ if manifest.layers.iter().any(is_wasm) => single(image, manifest, Layout::WasmArtifact),
        other => Err(problem(image, format!("artifact type {other:?} is not known"))),
    }
}

fn problem(image: &str, problem: impl Into<String>) -> ImageError {
    ImageError::Layout { image: image.to_owned(), problem: problem.into() }
}

fn is_wasm(layer: &Descriptor) -> bool {
    WASM_LAYERS.contains(&layer.media_type.as_str()) || layer.media_type.ends_with("+wasm")
}

fn is_archive(layer: &Descriptor) -> bool {
    layer.media_type.contains(".tar") || layer.media_type.ends_with("+gzip") || layer.media_type.ends_with("tar")
}

fn simple(layout: Layout, program: Digest) -> Plan {
    Plan {
        layout,
        layers: vec![program.clone()],
        program: ProgramSource::Layer(program),
        files: Vec::new(),
        entrypoint: Vec::new(),
        cmd: Vec::new(),
        env: Vec::new(),
        working_dir: String::new(),
        user: String::new(),
    }
}

/// Types 1, 4 and 5: the one layer is the program.
fn single(image: &str, manifest: &Manifest, layout: Layout) -> Result<Plan, ImageError> {
    match manifest.layers.as_slice() {
        [layer] => Ok(simple(layout, Digest::parse(&layer.digest)?)),
        [] => Err(problem(image, "the artifact has no layer")),
        layers => Err(problem(image, format!("the artifact has {} layers where its type allows one", layers.len()))),
    }
}

#[derive(Deserialize)]
struct LockedApplication {
    #[serde(default)]
    components: Vec<LockedComponent>,
}

#[derive(Deserialize)]
struct LockedComponent {
    #[serde(default)]
    id: String,
    source: LockedContent,
    #[serde(default)]
    files: Vec<LockedFile>,
    #[serde(default)]
    env: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct LockedFile {
    #[serde(default)]
    path: String,
    content: LockedContent,
}

#[derive(Deserialize)]
struct LockedContent {
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    inline: Option<String>,
}

/// Type 3: of a Spin application the one component that it has.
fn spin(image: &str, manifest: &Manifest, config: &[u8]) -> Result<Plan, ImageError> {
    let application: LockedApplication =
        serde_json::from_slice(config).map_err(|error| problem(image, format!("Spin application: {error}")))?;
    let [component] = application.components.as_slice() else {
        let names: Vec<&str> = application.components.iter().map(|component| component.id.as_str()).collect();
        return Err(problem(
            image,
            format!("the Spin application has {} components ({}); a container runs one", names.len(), names.join(", ")),
        ));
    };
    let program = match &component.source.digest {
        Some(digest) => Digest::parse(digest)?,
        None => return Err(problem(image, "the Spin component's source has no digest")),
    };
    if !manifest.layers.iter().any(|layer| layer.digest == program.as_str()) {
        return Err(problem(image, format!("the Spin component's source {program} is no layer of the artifact")));
    }
    let mut plan = simple(Layout::SpinApplication, program);
    for file in &component.files {
        let content = match (&file.content.digest, &file.content.inline) {
            (_, Some(inline)) => FileContent::Inline(
                STANDARD
                    .decode(inline)
                    .map_err(|error| problem(image, format!("inline file {:?}: {error}", file.path)))?,
            ),
            (Some(digest), None) => {
                let digest = Digest::parse(digest)?;
                plan.layers.push(digest.clone());
                FileContent::Layer(digest)
            }
            (None, None) => return Err(problem(image, format!("file {:?} has no content", file.path))),
        };
        plan.files.push(PlannedFile { path: file.path.clone(), content });
    }
    plan.env = component.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Ok(plan)
}

/// Types 2 and 6, and Linux images.
fn ordinary(image: &str, manifest: &Manifest, config: &[u8]) -> Result<Plan, ImageError> {
    let config: ImageConfig =
        serde_json::from_slice(config).map_err(|error| problem(image, format!("image config: {error}")))?;
    let start = config.config.unwrap_or_default();
    let wasm: Vec<&Descriptor> = manifest.layers.iter().filter(|layer| is_wasm(layer)).collect();
    let mut plan = match wasm.as_slice() {
        [program] => simple(Layout::WasiImage, Digest::parse(&program.digest)?),
        [] => {
            let path = [&start.entrypoint, &start.cmd]
                .into_iter()
                .flatten()
                .flatten()
                .find(|word| word.ends_with(".wasm"))
                .cloned();
            let platform_is_wasm = config.architecture == "wasm" || config.os.starts_with("wasi");
            if !(platform_is_wasm || path.is_some() || is_marked(manifest, &start)) {
                let platform = format!("{}/{}", or(&config.os, "linux"), or(&config.architecture, "unknown"));
                return Err(ImageError::NeedsLinux { image: image.to_owned(), platform });
            }
            let layers = manifest.layers.iter().filter(|layer| is_archive(layer));
            let layers = layers.map(|layer| Digest::parse(&layer.digest)).collect::<Result<_, _>>()?;
            Plan { layout: Layout::Compat, program: ProgramSource::Archives { path }, layers, ..blank() }
        }
        several => {
            return Err(problem(image, format!("the image has {} WebAssembly layers; one is run", several.len())));
        }
    };
    plan.entrypoint = start.entrypoint.unwrap_or_default();
    plan.cmd = start.cmd.unwrap_or_default();
    plan.env = start.env.unwrap_or_default();
    plan.working_dir = start.working_dir.unwrap_or_default();
    plan.user = start.user.unwrap_or_default();
    Ok(plan)
}

/// A plan with nothing in it, for the fields that do not differ.
fn blank() -> Plan {
    simple(Layout::Compat, Digest::of(b""))
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

fn is_marked(manifest: &Manifest, start: &Start) -> bool {
    COMPAT_MARKS.iter().any(|(key, values)| {
        let value = manifest.annotations.get(*key).or_else(|| start.labels.as_ref()?.get(*key));
        value.is_some_and(|value| values.contains(&value.as_str()))
    })
}

/// What a program file is, by its first eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A core module.
    Module,
    /// A component.
    Component,
}

/// Looks at the header of a program.
pub fn format_of(program: &[u8]) -> Option<Format> {
    match program.first_chunk::<8>()? {
        [0, b'a', b's', b'm', 1, 0, 0, 0] => Some(Format::Module),
        [0, b'a', b's', b'm', _, 0, 1, 0] => Some(Format::Component),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(config: &str, layers: &[(&str, &str)]) -> Manifest {
        let descriptor = |kind: &str, content: &str| Descriptor {
            media_type: kind.to_owned(),
            digest: Digest::of(content.as_bytes()).to_string(),
            ..Descriptor::default()
        };
        Manifest {
            schema_version: 2,
            config: Some(descriptor(config, "config")),
            layers: layers.iter().map(|(kind, content)| descriptor(kind, content)).collect(),
            ..Manifest::default()
        }
    }

    fn program(plan: &Plan) -> &str {
        match &plan.program {
            ProgramSource::Layer(digest) => digest.as_str(),
            ProgramSource::Archives { .. } => "archives",
        }
    }

    #[test]
    fn each_artifact_type_names_its_program() {
        let app = Digest::of(b"app");
        for (config, layer, layout) in [
            (WASM_CONFIG, WASM_LAYER, Layout::WasmArtifact),
            (WASM_TO_OCI_CONFIG, "application/vnd.wasm.content.layer.v1+wasm", Layout::WasmToOci),
            (MODULE_CONFIG, "application/vnd.module.wasm.content.layer.v1+wasm", Layout::ModuleImage),
            ("application/vnd.oci.empty.v1+json", WASM_LAYER, Layout::WasmArtifact),
        ] {
            let plan = plan("i", &manifest(config, &[(layer, "app")]), b"{}").expect("a plan");
            assert_eq!((program(&plan), plan.layout), (app.as_str(), layout));
        }
    }

    #[test]
    fn a_wasi_image_keeps_how_it_is_started() {
        let config = br#"{"os":"wasi","architecture":"wasm","config":{"Entrypoint":["/app.wasm"],"Cmd":["serve"],
            "Env":["A=b"],"WorkingDir":"/srv"}}"#;
        let layers = [("application/vnd.bytecodealliance.wasm.component.layer.v0+wasm", "app")];
        let plan = plan("i", &manifest(OCI_CONFIG, &layers), config).expect("a plan");
        assert_eq!(plan.layout, Layout::WasiImage);
        assert_eq!((plan.entrypoint, plan.cmd), (vec!["/app.wasm".to_owned()], vec!["serve".to_owned()]));
        assert_eq!((plan.env, plan.working_dir.as_str()), (vec!["A=b".to_owned()], "/srv"));
    }

    #[test]
    fn a_spin_application_brings_its_files() {
        let app = Digest::of(b"app");
        let data = Digest::of(b"data");
        let config = format!(
            r#"{{"components":[{{"id":"web","source":{{"content_type":"application/wasm","digest":"{app}"}},
                "files":[{{"path":"/a.txt","content":{{"digest":"{data}"}}}},{{"path":"b.txt","content":{{"inline":"aGk="}}}}]}}]}}"#
        );
        let layers = [
            ("application/vnd.wasm.content.layer.v1+wasm", "app"),
            ("application/vnd.wasm.content.layer.v1+data", "data"),
        ];
        let plan = plan("i", &manifest(SPIN_CONFIG, &layers), config.as_bytes()).expect("a plan");
        assert_eq!(program(&plan), app.as_str());
        assert_eq!(plan.layers, vec![app, data.clone()]);
        assert_eq!(plan.files[0].content, FileContent::Layer(data));
        assert_eq!(plan.files[1].content, FileContent::Inline(b"hi".to_vec()));
    }

    #[test]
    fn an_ordinary_image_is_wasm_when_it_says_so_and_linux_otherwise() {
        let layers = [("application/vnd.oci.image.layer.v1.tar+gzip", "files")];
        let mut marked = manifest(OCI_CONFIG, &layers);
        marked.annotations.insert("module.wasm.image/variant".to_owned(), "compat-smart".to_owned());
        let linux = br#"{"os":"linux","architecture":"amd64","config":{"Cmd":["/bin/sh"]}}"#;
        assert_eq!(plan("i", &marked, linux).expect("a plan").layout, Layout::Compat);
        let points = br#"{"os":"linux","architecture":"amd64","config":{"Entrypoint":["/app.wasm"]}}"#;
        let planned = plan("i", &manifest(DOCKER_CONFIG, &layers), points).expect("a plan");
        assert_eq!(planned.program, ProgramSource::Archives { path: Some("/app.wasm".to_owned()) });
        let error = plan("nginx", &manifest(OCI_CONFIG, &layers), linux).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "image nginx is for linux/amd64: it needs the Linux container runtime, which this node does not have"
        );
    }

    #[test]
    fn an_artifact_with_two_programs_is_refused() {
        let two = manifest(WASM_CONFIG, &[(WASM_LAYER, "a"), (WASM_LAYER, "b")]);
        assert!(plan("i", &two, b"{}").expect_err("refused").to_string().contains("2 layers"));
        assert!(plan("i", &manifest("application/x", &[]), b"{}").is_err());
    }

    #[test]
    fn the_header_tells_modules_from_components() {
        assert_eq!(format_of(b"\0asm\x01\0\0\0rest"), Some(Format::Module));
        assert_eq!(format_of(b"\0asm\x0d\0\x01\0rest"), Some(Format::Component));
        assert_eq!(format_of(b"\x7fELF\x02\x01\x01\0"), None);
        assert_eq!(format_of(b"\0asm"), None);
    }
}
