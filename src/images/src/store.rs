//! The images of this node.
//!
//! ```text
//!   ROOT/blobs/sha256/HEX      content, whole and checked
//!   ROOT/files/HEX/            files beside a program, by image
//!   ROOT/compiled/KEY/HEX      machine code, by engine and program
//!   ROOT/images.json           which images there are, by what names
//!   ROOT/tmp/                  what is being written
//! ```
//!
//! **Guarantees.** A name is in `images.json` only after everything it needs is durable. A killed process leaves at
//! most content that nothing names; [`Store::open`] clears it. Code is loaded only from `compiled/`, which only this
//! store's user may write and where only finished files are moved.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsStr,
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use component_base::SharedClock;
use oci_client::Reference;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    Compiler, ImageError, ImageRecord,
    blobs::{Blobs, Digest, sync_folder},
    compile::{CompileError, engine_key},
    files,
    layout::{self, Format, Plan, ProgramSource},
    manifest::Manifest,
    reference,
};

/// The largest program that is taken.
pub(crate) const PROGRAM_BYTES_MAX: u64 = 512 << 20;

/// What a store is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its folder.
    pub root: PathBuf,
    /// Who compiles.
    pub compiler: Compiler,
    /// What time it is.
    pub clock: SharedClock,
    /// A registry that sends nothing for so long is given up on.
    pub silence_max: Duration,
}

impl Config {
    /// The usual waits.
    pub fn new(root: PathBuf, compiler: Compiler, clock: SharedClock) -> Self {
        Self { root, compiler, clock, silence_max: Duration::from_secs(30) }
    }
}

/// The images of this node; see the module's head.
#[derive(Debug)]
pub struct Store {
    pub(crate) config: Config,
    pub(crate) blobs: Blobs,
    compiled: PathBuf,
    index: Mutex<Index>,
    /// One lock a thing being made (an image being pulled, a program being compiled), so that it is made once.
    making: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Index {
    images: BTreeMap<Digest, ImageRecord>,
}

/// An image, ready to be started.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// What is known of it.
    pub record: ImageRecord,
    /// Its machine code.
    pub program: Program,
    /// The folder of its files, if it has any.
    pub files: Option<PathBuf>,
}

/// Machine code of this store: a file to map.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Program {
    /// Of a core module.
    Module(PathBuf),
    /// Of a component.
    Component(PathBuf),
}

/// What a folder takes of its file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in blocks.
    pub bytes: u64,
    /// Files and folders.
    pub inodes: u64,
}

impl Usage {
    /// What is below `folder`. What goes away meanwhile does not count.
    pub fn of(folder: &Path) -> Self {
        let mut usage = Self::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let Ok(data) = entry.metadata() else { continue };
                usage.bytes += data.blocks() * 512;
                usage.inodes += 1;
                if data.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        usage
    }
}

impl Store {
    /// Opens the store, and clears what an earlier process did not finish.
    ///
    /// # Errors
    /// When its folder cannot be used, or its index cannot be read.
    pub fn open(config: Config) -> Result<Self, ImageError> {
        // Registries are spoken to with rustls, which wants to be told once in a process which cryptography to use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = &config.root;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(ImageError::io("create", root))?;
        let blobs = Blobs::open(root)?;
        let key = engine_key()
            .map_err(|error| ImageError::Compile { image: "any".to_owned(), problem: error.to_string() })?;
        let compiled = root.join("compiled").join(&key);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&compiled)
            .map_err(ImageError::io("create", &compiled))?;
        let index = read_index(&root.join("images.json"))?;
        let store = Self { blobs, compiled, index: Mutex::new(index), making: Mutex::default(), config };
        store.clear_unnamed(&key)?;
        Ok(store)
    }

    /// All images.
    pub fn list(&self) -> Vec<ImageRecord> {
        self.index.lock().images.values().cloned().collect()
    }

    /// The image of that name, digest or id.
    pub fn status(&self, reference: &str) -> Option<ImageRecord> {
        self.index.lock().find(reference).cloned()
    }

    /// The image of that name with its code and files, compiled now if it is not yet.
    ///
    /// # Errors
    /// When it is not here or does not compile.
    pub async fn resolve(&self, reference: &str) -> Result<ResolvedImage, ImageError> {
        let record = self.status(reference).ok_or_else(|| ImageError::NotFound { reference: reference.to_owned() })?;
        let program = self.compiled_program(reference, &record.program).await?;
        let files = record.has_files.then(|| self.files_folder(&record.id));
        Ok(ResolvedImage { record, program, files })
    }

    /// Takes names away: a tag or digest its own, an id all. An image without a name goes. An unknown name is no error.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn remove(&self, reference: &str) -> Result<(), ImageError> {
        let mut index = self.index.lock();
        let Some(id) = index.find(reference).map(|record| record.id.clone()) else { return Ok(()) };
        let mut next = index.clone();
        let record = next.images.get_mut(&id).expect("found above, and nobody else holds the lock");
        let name = normalize(reference).ok();
        let by_id = reference == id.as_str() || reference == id.hex();
        if by_id {
            record.tags.clear();
            record.digests.clear();
        } else if let Some(name) = &name {
            record.tags.remove(name);
            record.digests.remove(name);
            // A digest is a by-product of the pull by tag; the last tag takes it along.
            if record.tags.is_empty() {
                record.digests.clear();
            }
        }
        if record.tags.is_empty() && record.digests.is_empty() {
            next.images.remove(&id);
        }
        self.write_index(&next)?;
        let before = std::mem::replace(&mut *index, next);
        for record in before.images.values().filter(|record| !index.images.contains_key(&record.id)) {
            self.discard(record, &index);
        }
        Ok(())
    }

    /// What the store takes.
    pub fn usage(&self) -> Usage {
        Usage::of(&self.config.root)
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.config.root
    }

    /// Turns content that is all here into an image with these names.
    pub(crate) async fn admit(
        &self,
        image: &str,
        manifest: &Manifest,
        manifest_bytes: &[u8],
        plan: Plan,
        names: Names,
    ) -> Result<ImageRecord, ImageError> {
        let id = self.blobs.put(manifest_bytes)?;
        let mut blobs: BTreeSet<Digest> = plan.layers.iter().cloned().collect();
        blobs.insert(id.clone());
        if let Some(config) = &manifest.config {
            blobs.insert(Digest::parse(&config.digest)?);
        }
        let (program, program_name, has_files) = self.place_files(image, &id, &plan)?;
        self.compiled_program(image, &program).await?;
        blobs.insert(program.clone());
        let size =
            blobs.iter().filter_map(|blob| fs::metadata(self.blobs.path(blob)).ok()).map(|data| data.len()).sum();
        let record = ImageRecord {
            id: id.clone(),
            tags: BTreeSet::new(),
            digests: BTreeSet::new(),
            size,
            layout: plan.layout,
            program,
            program_name,
            blobs,
            has_files,
            entrypoint: plan.entrypoint,
            cmd: plan.cmd,
            env: plan.env,
            working_dir: plan.working_dir,
            user: plan.user,
            since: self.config.clock.now().as_second(),
        };
        self.name(record, names)
    }

    /// Enters the record, moves the names to it and drops images that thereby lost their last.
    fn name(&self, record: ImageRecord, names: Names) -> Result<ImageRecord, ImageError> {
        let mut index = self.index.lock();
        let mut next = index.clone();
        let id = record.id.clone();
        for other in next.images.values_mut() {
            other.tags.retain(|tag| !names.tags.contains(tag));
            if other.tags.is_empty() && other.id != id {
                other.digests.retain(|digest| !names.digests.contains(digest));
            }
        }
        let kept = next.images.entry(id).or_insert(record);
        kept.tags.extend(names.tags);
        kept.digests.extend(names.digests);
        let kept = kept.clone();
        next.images.retain(|_, image| !image.tags.is_empty() || !image.digests.is_empty());
        self.write_index(&next)?;
        let before = std::mem::replace(&mut *index, next);
        for gone in before.images.values().filter(|image| !index.images.contains_key(&image.id)) {
            self.discard(gone, &index);
        }
        Ok(kept)
    }

    /// Writes the image's files and says which blob its program is, and what it is called.
    fn place_files(&self, image: &str, id: &Digest, plan: &Plan) -> Result<(Digest, String, bool), ImageError> {
        if let (ProgramSource::Layer(program), true) = (&plan.program, plan.files.is_empty()) {
            return Ok((program.clone(), default_name(image, plan), false));
        }
        let fresh = self.blobs.temporary_path();
        fs::create_dir(&fresh).map_err(ImageError::io("create", &fresh))?;
        files::write_planned(&plan.files, &self.blobs, &fresh)?;
        let (program, name) = match &plan.program {
            ProgramSource::Layer(program) => (program.clone(), default_name(image, plan)),
            ProgramSource::Archives { path } => {
                for layer in &plan.layers {
                    files::unpack_layer(&self.blobs.path(layer), &fresh)?;
                }
                let found = files::find_program(&fresh, path.as_deref()).ok_or_else(|| ImageError::Layout {
                    image: image.to_owned(),
                    problem: "neither its entrypoint nor one single .wasm file is a WebAssembly program".to_owned(),
                })?;
                let mut file = fs::File::open(&found).map_err(ImageError::io("open", &found))?;
                let name = found.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (self.blobs.put_from(&mut file, None, PROGRAM_BYTES_MAX)?, name)
            }
        };
        let folder = self.files_folder(id);
        let parent = self.config.root.join("files");
        fs::create_dir_all(&parent).map_err(ImageError::io("create", &parent))?;
        if !folder.exists() {
            fs::rename(&fresh, &folder).map_err(ImageError::io("place", &folder))?;
            sync_folder(&parent)?;
        }
        Ok((program, name, true))
    }

    fn files_folder(&self, id: &Digest) -> PathBuf {
        self.config.root.join("files").join(id.hex())
    }

    /// The machine code of `program`, made now if it is not there.
    async fn compiled_program(&self, image: &str, program: &Digest) -> Result<Program, ImageError> {
        let code = self.compiled.join(program.hex());
        let format = self.format(image, program)?;
        if !is_own_file(&code) {
            let lock = self.lock_of(&code.display().to_string());
            let _making = lock.lock().await;
            if !is_own_file(&code) {
                self.compile(image, program, &code).await?;
            }
        }
        Ok(match format {
            Format::Module => Program::Module(code),
            Format::Component => Program::Component(code),
        })
    }

    fn format(&self, image: &str, program: &Digest) -> Result<Format, ImageError> {
        let path = self.blobs.path(program);
        let mut header = [0; 8];
        fs::File::open(&path)
            .and_then(|mut file| io::Read::read_exact(&mut file, &mut header))
            .or_else(|error| if error.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) })
            .map_err(ImageError::io("read", &path))?;
        layout::format_of(&header).ok_or_else(|| ImageError::BrokenWasm {
            image: image.to_owned(),
            problem: "it does not start as WebAssembly does".to_owned(),
        })
    }

    async fn compile(&self, image: &str, program: &Digest, code: &Path) -> Result<(), ImageError> {
        let fresh = self.blobs.temporary_path();
        let outcome = self.config.compiler.compile(&self.blobs.path(program), &fresh).await;
        outcome.map_err(|error| {
            let _ = fs::remove_file(&fresh);
            match error {
                CompileError::Broken(problem) => ImageError::BrokenWasm { image: image.to_owned(), problem },
                CompileError::Failed(problem) => ImageError::Compile { image: image.to_owned(), problem },
            }
        })?;
        fs::rename(&fresh, code).map_err(ImageError::io("place", code))?;
        sync_folder(&self.compiled)
    }

    /// The lock of one thing to be made.
    pub(crate) fn lock_of(&self, what: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut making = self.making.lock();
        // Nobody waits on a lock that only the table holds.
        making.retain(|_, lock| Arc::strong_count(lock) > 1);
        making.entry(what.to_owned()).or_default().clone()
    }

    /// Removes what `record` alone needed. Content that cannot be removed now is cleared at the next start.
    fn discard(&self, record: &ImageRecord, index: &Index) {
        let needed = index.needed();
        for blob in record.blobs.iter().filter(|blob| !needed.contains(blob)) {
            let _ = self.blobs.remove(blob);
            let _ = fs::remove_file(self.compiled.join(blob.hex()));
        }
        if record.has_files {
            let _ = fs::remove_dir_all(self.files_folder(&record.id));
        }
    }

    /// Removes content that no image needs, and code of other engines.
    fn clear_unnamed(&self, key: &str) -> Result<(), ImageError> {
        let index = self.index.lock();
        let needed: BTreeSet<&str> = index.needed().into_iter().map(Digest::hex).collect();
        let images: BTreeSet<&str> = index.images.keys().map(Digest::hex).collect();
        let root = &self.config.root;
        remove_others(&root.join("blobs/sha256"), |name| needed.contains(name))?;
        remove_others(&self.compiled, |name| needed.contains(name))?;
        remove_others(&root.join("compiled"), |name| name == key)?;
        remove_others(&root.join("files"), |name| images.contains(name))
    }

    fn write_index(&self, index: &Index) -> Result<(), ImageError> {
        let (fresh, place) = (self.blobs.temporary_path(), self.config.root.join("images.json"));
        let text = serde_json::to_vec_pretty(index).expect("plain data always encodes");
        fs::write(&fresh, text)
            .and_then(|()| fs::File::open(&fresh)?.sync_all())
            .map_err(ImageError::io("write", &fresh))?;
        fs::rename(&fresh, &place).map_err(ImageError::io("place", &place))?;
        sync_folder(&self.config.root)
    }
}

/// The names an image comes by.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub tags: BTreeSet<String>,
    pub digests: BTreeSet<String>,
}

impl Names {
    /// By the reference that was asked for, and the digest that answered.
    pub fn of(reference: &Reference, digest: &Digest) -> Self {
        let repository = format!("{}/{}", reference.registry(), reference.repository());
        let digests = BTreeSet::from([format!("{repository}@{digest}")]);
        let tags = match (reference.tag(), reference.digest()) {
            (Some(tag), None) => BTreeSet::from([format!("{repository}:{tag}")]),
            _ => BTreeSet::new(),
        };
        Self { tags, digests }
    }
}

impl Index {
    fn find(&self, reference: &str) -> Option<&ImageRecord> {
        if let Some(record) =
            self.images.values().find(|image| image.id.as_str() == reference || image.id.hex() == reference)
        {
            return Some(record);
        }
        let name = normalize(reference).ok()?;
        self.images.values().find(|image| image.tags.contains(&name) || image.digests.contains(&name))
    }

    fn needed(&self) -> BTreeSet<&Digest> {
        self.images.values().flat_map(|image| &image.blobs).collect()
    }
}

/// A name as the index has it: with registry, and with either a tag or a digest.
fn normalize(reference: &str) -> Result<String, ImageError> {
    let parsed = reference::parse(reference)?;
    let repository = format!("{}/{}", parsed.registry(), parsed.repository());
    Ok(match parsed.digest() {
        Some(digest) => format!("{repository}@{digest}"),
        None => format!("{repository}:{}", parsed.tag().unwrap_or("latest")),
    })
}

/// `argv[0]` of a program that came without a name: the last word of its image's.
fn default_name(image: &str, plan: &Plan) -> String {
    let named = plan.entrypoint.first().and_then(|word| word.rsplit('/').next()).filter(|word| !word.is_empty());
    let repository = reference::parse(image).ok().map(|reference| reference.repository().to_owned());
    let last = repository.as_deref().and_then(|repository| repository.rsplit('/').next());
    named.or(last).unwrap_or("program").to_owned()
}

/// A finished file that only this user can have written.
fn is_own_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|data| {
        data.is_file() && data.uid() == rustix::process::geteuid().as_raw() && data.mode() & 0o022 == 0
    })
}

fn read_index(path: &Path) -> Result<Index, ImageError> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| ImageError::Layout {
            image: path.display().to_string(),
            problem: format!("the index of images is damaged: {error}"),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Index::default()),
        Err(error) => Err(ImageError::io("read", path)(error)),
    }
}

fn remove_others(folder: &Path, keep: impl Fn(&str) -> bool) -> Result<(), ImageError> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.file_name().and_then(OsStr::to_str).is_some_and(&keep) {
            continue;
        }
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(ImageError::io("remove", path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
