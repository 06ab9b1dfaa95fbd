//! From a file: a program by itself, or an OCI archive.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use crate::{
    ImageError, ImageRecord, Store,
    blobs::Digest,
    files::open_maybe_gzip,
    layout::{self, Format, WASM_CONFIG, WASM_LAYER, format_of},
    manifest::{Descriptor, Manifest, OCI_MANIFEST},
    reference,
    store::{Names, PROGRAM_BYTES_MAX},
};

const INDEX_BYTES_MAX: u64 = 4 << 20;
/// How deep an index may name another.
const INDEX_DEPTH_MAX: usize = 4;

impl Store {
    /// Imports `file`: a `.wasm` program, which is wrapped as the standard Wasm OCI artifact, or an OCI archive (tar,
    /// gzipped or not). Both get the name `name`; an archive without one its own names.
    ///
    /// # Errors
    /// When the file is neither, a digest in it is wrong, or this node cannot run it.
    pub async fn import(&self, file: &Path, name: Option<&str>) -> Result<Vec<ImageRecord>, ImageError> {
        let mut header = [0; 8];
        let length =
            File::open(file).and_then(|mut file| file.read(&mut header)).map_err(ImageError::io("open", file))?;
        match format_of(&header[..length]) {
            Some(format) => Ok(vec![self.import_program(file, format, name).await?]),
            None if header.starts_with(b"\0asm") => Err(ImageError::BrokenWasm {
                image: name.unwrap_or(&file.display().to_string()).to_owned(),
                problem: "it is neither a module nor a component of a known version".to_owned(),
            }),
            None => self.import_archive(file, name).await,
        }
    }

    async fn import_program(&self, file: &Path, format: Format, name: Option<&str>) -> Result<ImageRecord, ImageError> {
        let name = name.ok_or_else(|| ImageError::Archive {
            file: file.to_owned(),
            problem: "a program has no name of its own; say which with --name".to_owned(),
        })?;
        let reference = reference::parse(name)?;
        let mut source = File::open(file).map_err(ImageError::io("open", file))?;
        let program = self.blobs.put_from(&mut source, None, PROGRAM_BYTES_MAX)?;
        let config = serde_json::json!({
            "architecture": "wasm",
            "os": match format { Format::Module => "wasip1", Format::Component => "wasip2" },
            "layerDigests": [program],
        });
        let config = serde_json::to_vec(&config).expect("plain data always encodes");
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            config: Some(self.descriptor(WASM_CONFIG, &self.blobs.put(&config)?)?),
            layers: vec![self.descriptor(WASM_LAYER, &program)?],
            ..Manifest::default()
        };
        let bytes = serde_json::to_vec(&manifest).expect("plain data always encodes");
        let plan = layout::plan(name, &manifest, &config)?;
        let names = Names::of(&reference, &Digest::of(&bytes));
        self.admit(name, &manifest, &bytes, plan, names).await
    }

    fn descriptor(&self, media_type: &str, digest: &Digest) -> Result<Descriptor, ImageError> {
        let path = self.blobs.path(digest);
        let size = fs::metadata(&path).map_err(ImageError::io("read", &path))?.len();
        Ok(Descriptor { media_type: media_type.to_owned(), digest: digest.to_string(), size, ..Descriptor::default() })
    }

    async fn import_archive(&self, file: &Path, name: Option<&str>) -> Result<Vec<ImageRecord>, ImageError> {
        let index = self.unpack_archive(file)?;
        let broken = |problem: String| ImageError::Archive { file: file.to_owned(), problem };
        let index: Manifest = serde_json::from_slice(&index).map_err(|error| broken(format!("index.json: {error}")))?;
        let entries: Vec<&Descriptor> = match name {
            // One name is for one image: of a multi-platform index the one this node would run.
            Some(_) => index.choose().into_iter().collect(),
            None => index.manifests.iter().collect(),
        };
        if entries.is_empty() {
            return Err(broken("index.json names no image".to_owned()));
        }
        let mut records = Vec::new();
        for entry in entries {
            let own = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
                .iter()
                .find_map(|key| entry.annotations.get(*key).filter(|name| name.contains('/')));
            let name = name.or(own.map(String::as_str)).ok_or_else(|| {
                broken(format!("image {} has no name in the archive; say one with --name", entry.digest))
            })?;
            records.push(self.admit_from_archive(name, entry).await?);
        }
        Ok(records)
    }

    async fn admit_from_archive(&self, name: &str, entry: &Descriptor) -> Result<ImageRecord, ImageError> {
        let reference = reference::parse(name)?;
        let asked = Digest::parse(&entry.digest)?;
        let mut digest = asked.clone();
        for _ in 0..INDEX_DEPTH_MAX {
            let bytes = self.blobs.read(&digest)?;
            let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| ImageError::Layout {
                image: name.to_owned(),
                problem: format!("manifest {digest}: {error}"),
            })?;
            if manifest.is_index() {
                let chosen = manifest.choose().map(|entry| entry.digest.clone()).unwrap_or_default();
                digest = Digest::parse(&chosen)?;
                continue;
            }
            let config = match &manifest.config {
                Some(config) => self.blobs.read(&Digest::parse(&config.digest)?)?,
                None => Vec::new(),
            };
            let plan = layout::plan(name, &manifest, &config)?;
            if let Some(missing) = plan.layers.iter().find(|layer| !self.blobs.has(layer)) {
                return Err(ImageError::Layout {
                    image: name.to_owned(),
                    problem: format!("its layer {missing} is not in the archive"),
                });
            }
            return self.admit(name, &manifest, &bytes, plan, Names::of(&reference, &asked)).await;
        }
        Err(ImageError::Layout { image: name.to_owned(), problem: "its indexes are nested too deeply".to_owned() })
    }

    /// Takes over the archive's blobs, each checked against its file name, and returns its `index.json`.
    fn unpack_archive(&self, file: &Path) -> Result<Vec<u8>, ImageError> {
        let broken = |problem: String| ImageError::Archive { file: file.to_owned(), problem };
        let mut archive = tar::Archive::new(open_maybe_gzip(file).map_err(ImageError::io("open", file))?);
        let mut index = None;
        let mut seen = BTreeSet::new();
        let not_an_archive =
            |error: std::io::Error| broken(format!("it is neither WebAssembly nor an archive: {error}"));
        for entry in archive.entries().map_err(not_an_archive)? {
            let mut entry = entry.map_err(not_an_archive)?;
            let path: PathBuf = entry.path().map_err(not_an_archive)?.components().collect();
            if !entry.header().entry_type().is_file() {
                continue;
            }
            if path == Path::new("index.json") {
                let mut text = Vec::new();
                entry
                    .by_ref()
                    .take(INDEX_BYTES_MAX)
                    .read_to_end(&mut text)
                    .map_err(|error| broken(format!("index.json: {error}")))?;
                index = Some(text);
            } else if let Ok(hex) = path.strip_prefix("blobs/sha256") {
                let expected = Digest::parse(&format!("sha256:{}", hex.display()))?;
                if seen.insert(expected.clone()) {
                    self.blobs.put_from(&mut entry, Some(&expected), PROGRAM_BYTES_MAX).map_err(
                        |error| match error {
                            ImageError::WrongDigest { expected, actual, .. } => ImageError::WrongDigest {
                                subject: format!("a blob of {}", file.display()),
                                expected,
                                actual,
                            },
                            other => other,
                        },
                    )?;
                }
            }
        }
        index.ok_or_else(|| broken("it has no index.json, so it is no OCI archive".to_owned()))
    }
}
