//! From a program to machine code.
//!
//! Compiling takes a tenth of a second to ten seconds of a core and much memory, and it feeds untrusted bytes to an
//! optimising compiler. It is therefore done in a child process (this same binary, `coracle runtime compile INPUT
//! OUTPUT`) that runs at the lowest priority and is the first to be killed when memory runs out. The child writes a
//! file; the store takes it over. [`engine_config`] is the one description of the engine, for the child that compiles
//! and for the runtime that loads.

use std::{
    ffi::OsString,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;
use wasmtime::{Config, Engine};

use crate::layout::{Format, format_of};

/// The largest known guests (Python, 18 MB) take nine seconds on a quiet core; this one is for a busy machine.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(300);
const MESSAGE_BYTES_MAX: usize = 2000;
/// The child's exit code for a program that is at fault itself.
const EXIT_BROKEN: i32 = 65;

/// How programs are compiled.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// In a child process: `program` with `arguments`, then input and output.
    Child {
        /// The executable, usually this process's own.
        program: PathBuf,
        /// What comes before the two paths, for the `coracle` binary `runtime compile`.
        arguments: Vec<OsString>,
    },
    /// In this process, on a blocking thread. For tests and tools that do not serve.
    InProcess,
}

/// Why a program was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The program is at fault.
    #[error("{0}")]
    Broken(String),
    /// The compiler is.
    #[error("{0}")]
    Failed(String),
}

impl Compiler {
    /// The `coracle` binary at `program` as compiler.
    pub fn child(program: PathBuf) -> Self {
        Self::Child { program, arguments: vec!["runtime".into(), "compile".into()] }
    }

    pub(crate) async fn compile(&self, input: &Path, output: &Path) -> Result<(), CompileError> {
        match self {
            Self::Child { program, arguments } => compile_in_child(program, arguments, input, output).await,
            Self::InProcess => {
                let (input, output) = (input.to_owned(), output.to_owned());
                tokio::task::spawn_blocking(move || compile_file(&input, &output))
                    .await
                    .map_err(|error| CompileError::Failed(error.to_string()))?
            }
        }
    }
}

async fn compile_in_child(
    program: &Path,
    arguments: &[OsString],
    input: &Path,
    output: &Path,
) -> Result<(), CompileError> {
    let failed = |what: String| CompileError::Failed(what);
    let child = Command::new(program)
        .args(arguments)
        .args([input, output])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("start {}: {error}", program.display())))?;
    let ended = tokio::time::timeout(COMPILE_TIME_MAX, child.wait_with_output())
        .await
        .map_err(|_| failed(format!("the compiler was not done after {} s", COMPILE_TIME_MAX.as_secs())))?
        .map_err(|error| failed(format!("wait for the compiler: {error}")))?;
    let said = String::from_utf8_lossy(&ended.stderr[..ended.stderr.len().min(MESSAGE_BYTES_MAX)]).trim().to_owned();
    match ended.status.code() {
        Some(0) => Ok(()),
        Some(EXIT_BROKEN) => Err(CompileError::Broken(said)),
        Some(code) => Err(failed(format!("the compiler ended with {code}: {said}"))),
        // What kills a compiler (no memory, a crash of its own) is the program's doing as far as one can tell.
        None => Err(failed(format!("the compiler was killed ({}): {said}", ended.status))),
    }
}

/// The child's main function: `arguments` are the two paths. Returns the exit code; what went wrong is on standard
/// error.
pub fn compile_main(arguments: &[OsString]) -> i32 {
    let [input, output] = arguments else {
        let _ = writeln!(io::stderr(), "usage: coracle runtime compile INPUT OUTPUT");
        return 64;
    };
    // Neither is worth failing for: the worst that comes of it is a slower neighbour.
    let _ = rustix::process::nice(19);
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    match compile_file(Path::new(input), Path::new(output)) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            if matches!(error, CompileError::Broken(_)) { EXIT_BROKEN } else { 1 }
        }
    }
}

fn compile_file(input: &Path, output: &Path) -> Result<(), CompileError> {
    let failed = |action: &str, path: &Path, error: io::Error| {
        CompileError::Failed(format!("{action} {}: {error}", path.display()))
    };
    let program = fs::read(input).map_err(|error| failed("read", input, error))?;
    let engine = Engine::new(&engine_config()).map_err(|error| CompileError::Failed(format!("engine: {error:#}")))?;
    let broken = |error: wasmtime::Error| CompileError::Broken(format!("{error:#}"));
    let code = match format_of(&program) {
        Some(Format::Module) => engine.precompile_module(&program).map_err(broken)?,
        Some(Format::Component) => engine.precompile_component(&program).map_err(broken)?,
        None => return Err(CompileError::Broken("it does not start as WebAssembly does".to_owned())),
    };
    File::create(output)
        .and_then(|mut file| {
            file.write_all(&code)?;
            file.sync_all()
        })
        .map_err(|error| failed("write", output, error))
}

/// The engine that guests are compiled for and run by. How instances are allocated is added by the runtime; whatever
/// changes code is said here.
pub fn engine_config() -> Config {
    let mut config = Config::new();
    // By epochs a guest is interrupted and gives way; see `runtime-wasm`.
    config.epoch_interruption(true);
    config
}

/// Names code that was compiled by this engine, with these settings, for this processor.
pub(crate) fn engine_key() -> Result<String, CompileError> {
    let engine = Engine::new(&engine_config()).map_err(|error| CompileError::Failed(format!("engine: {error:#}")))?;
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_module_compiles_and_a_broken_one_says_why() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (input, output) = (folder.path().join("in"), folder.path().join("out"));
        fs::write(&input, b"\0asm\x01\0\0\0").expect("written");
        assert_eq!(compile_main(&[input.clone().into(), output.clone().into()]), 0);
        assert!(Engine::detect_precompiled_file(&output).expect("readable").is_some());
        fs::write(&input, b"\0asm\x01\0\0\0\xff\xff").expect("written");
        assert_eq!(compile_main(&[input.clone().into(), output.clone().into()]), EXIT_BROKEN);
        let error = compile_file(&input, &output).expect_err("broken");
        assert!(matches!(&error, CompileError::Broken(_)), "{error}");
        assert_eq!(compile_main(&[]), 64);
    }

    #[test]
    fn the_key_is_the_same_in_every_process_of_this_build() {
        assert_eq!(engine_key().expect("a key"), engine_key().expect("a key"));
    }
}
