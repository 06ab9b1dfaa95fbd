//! Programs: code mapped from a file and linked once, shared by all containers that run it.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use images::Program;
use parking_lot::Mutex;
use wasmtime::{
    Engine, InstancePre, Module,
    component::{Component, Linker},
};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::{
    guest::{Guest, P1Guest},
    sockets,
};

const HTTP_EXPORT: &str = "wasi:http/incoming-handler@0.2";
const RUN_EXPORT: &str = "wasi:cli/run@0.2";

/// Why a program cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its code file cannot be read.
    #[error("load {path}: {problem}")]
    Code {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It wants something of its host that this host does not have.
    #[error("the program cannot be linked: {0}")]
    Link(String),
    /// It has no way to be started.
    #[error("the program has nothing to start: {0}")]
    NoEntry(String),
}

/// A program, linked.
pub(crate) struct Linked {
    pub kind: Kind,
    /// Whether it can ask for files at all.
    pub wants_files: bool,
}

/// How it is started.
pub(crate) enum Kind {
    /// A core module with `_start`.
    Module(InstancePre<P1Guest>),
    /// A component with `wasi:cli/run`.
    Command(CommandPre<Guest>),
    /// A component with `wasi:http/incoming-handler`.
    Http(ProxyPre<Guest>),
}

/// The programs in use.
pub(crate) struct Loader {
    engine: Engine,
    modules: wasmtime::Linker<P1Guest>,
    components: Linker<Guest>,
    loaded: Mutex<HashMap<Program, Weak<Linked>>>,
}

impl Loader {
    pub fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let mut modules = wasmtime::Linker::new(engine);
        wasmtime_wasi::p1::add_to_linker_async(&mut modules, |guest: &mut P1Guest| &mut guest.wasi)?;
        let mut components = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut components)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut components)?;
        sockets::shadow(&mut components)?;
        Ok(Self { engine: engine.clone(), modules, components, loaded: Mutex::default() })
    }

    /// The program of that code file, loaded now if nobody runs it.
    pub fn load(&self, program: &Program) -> Result<Arc<Linked>, LoadError> {
        let mut loaded = self.loaded.lock();
        if let Some(linked) = loaded.get(program).and_then(Weak::upgrade) {
            return Ok(linked);
        }
        let linked = Arc::new(match program {
            Program::Module(path) => self.load_module(path)?,
            Program::Component(path) => self.load_component(path)?,
        });
        loaded.retain(|_, other| other.strong_count() > 0);
        loaded.insert(program.clone(), Arc::downgrade(&linked));
        Ok(linked)
    }

    fn load_module(&self, path: &Path) -> Result<Linked, LoadError> {
        check_readable(path)?;
        // SAFETY: `images::Program` is made only by the image store, of files that it wrote into a folder of its own
        // from its own compiler's output, and that it never changes in place.
        let module = unsafe { Module::deserialize_file(&self.engine, path) };
        let module = module.map_err(|error| broken(path, &error))?;
        if module.get_export("_start").is_none() {
            return Err(LoadError::NoEntry("the module does not export _start, so it is no WASI command".to_owned()));
        }
        let wants_files =
            module.imports().any(|import| import.name().starts_with("path_") || import.name() == "fd_readdir");
        let linked = self.modules.instantiate_pre(&module).map_err(|error| LoadError::Link(format!("{error:#}")))?;
        Ok(Linked { kind: Kind::Module(linked), wants_files })
    }

    fn load_component(&self, path: &Path) -> Result<Linked, LoadError> {
        check_readable(path)?;
        // SAFETY: as in `load_module`.
        let component = unsafe { Component::deserialize_file(&self.engine, path) };
        let component = component.map_err(|error| broken(path, &error))?;
        let kind = component.component_type();
        let exports: Vec<String> = kind.exports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        let has = |prefix: &str| exports.iter().any(|export| export.starts_with(prefix));
        let wants_files = kind.imports(&self.engine).any(|(name, _)| name.starts_with("wasi:filesystem/"));
        let link = |error: wasmtime::Error| LoadError::Link(format!("{error:#}"));
        if !has(HTTP_EXPORT) && !has(RUN_EXPORT) {
            return Err(LoadError::NoEntry(format!(
                "the component exports neither {RUN_EXPORT} nor {HTTP_EXPORT}; it exports {}",
                if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") }
            )));
        }
        let linked = self.components.instantiate_pre(&component).map_err(link)?;
        let kind = if has(HTTP_EXPORT) {
            Kind::Http(ProxyPre::new(linked).map_err(link)?)
        } else {
            Kind::Command(CommandPre::new(linked).map_err(link)?)
        };
        Ok(Linked { kind, wants_files })
    }
}

/// Wasmtime's own words for a missing file do not say which.
fn check_readable(path: &Path) -> Result<(), LoadError> {
    let failed = |error: io::Error| LoadError::Code { path: path.to_owned(), problem: error.to_string() };
    fs::File::open(path).map(|_| ()).map_err(failed)
}

fn broken(path: &Path, error: &wasmtime::Error) -> LoadError {
    LoadError::Code { path: path.to_owned(), problem: format!("{error:#}") }
}
