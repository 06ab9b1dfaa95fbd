//! A command: one instance, from its start to its exit code.

use std::sync::Arc;

use wasmtime::{Engine, InstancePre, Trap};
use wasmtime_wasi::{I32Exit, p2::bindings::CommandPre};

use crate::{
    container::Exit,
    guest::{Environment, Guest, P1Guest},
    limits::OutOfMemory,
    logs::Stream,
};

/// As a process that was ended by `abort`.
const EXIT_TRAP: i32 = 134;
/// As a process that was killed by the kernel.
pub(crate) const EXIT_KILLED: i32 = 137;
/// The message of a container's status is for a line of a table.
const MESSAGE_BYTES_MAX: usize = 1024;

/// How a guest ended; the time is added by who publishes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub code: i32,
    pub reason: &'static str,
    pub message: String,
}

impl Ended {
    /// By an exit code of the guest's own.
    pub fn with_code(code: i32) -> Self {
        Self { code, reason: Exit::reason_of(code), message: String::new() }
    }

    /// By the runtime, told to.
    pub fn told(code: i32, message: &str) -> Self {
        Self { code, reason: Exit::reason_of(code), message: message.to_owned() }
    }

    /// By an error that left the guest: an exit in disguise, a denied grow, or a trap.
    pub fn with_error(error: &wasmtime::Error, environment: &Environment) -> Self {
        if let Some(I32Exit(code)) = error.downcast_ref() {
            return Self::with_code(*code);
        }
        let message = describe(error);
        environment.log.write(Stream::Stderr, format!("coracle: the guest was ended: {error:?}\n").as_bytes());
        if environment.budget.exceeded() || error.is::<OutOfMemory>() {
            return Self { code: EXIT_KILLED, reason: "OOMKilled", message };
        }
        Self { code: EXIT_TRAP, reason: "Error", message }
    }
}

/// The innermost cause says most: the trap, or what the host could not do.
fn describe(error: &wasmtime::Error) -> String {
    let mut text = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => format!("{:#}", error.root_cause()),
    };
    if text.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Runs a core module's `_start`.
pub(crate) async fn run_module(engine: Engine, program: InstancePre<P1Guest>, environment: Arc<Environment>) -> Ended {
    let outcome: wasmtime::Result<()> = async {
        let mut store = environment.module_store(&engine)?;
        let instance = program.instantiate_async(&mut store).await?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        start.call_async(&mut store, ()).await
    }
    .await;
    match outcome {
        Ok(()) => Ended::with_code(0),
        Err(error) => Ended::with_error(&error, &environment),
    }
}

/// Runs a component's `wasi:cli/run`.
pub(crate) async fn run_component(engine: Engine, program: CommandPre<Guest>, environment: Arc<Environment>) -> Ended {
    let outcome = async {
        let mut store = environment.component_store(&engine)?;
        let command = program.instantiate_async(&mut store).await?;
        command.wasi_cli_run().call_run(&mut store).await
    }
    .await;
    match outcome {
        Ok(Ok(())) => Ended::with_code(0),
        Ok(Err(())) => Ended::with_code(1),
        Err(error) => Ended::with_error(&error, &environment),
    }
}
