//! Runs WebAssembly containers with wasmtime.
//!
//! ```text
//!   WasmRuntime ── create(ContainerSpec) ──► Container ── start, stop, stats, exited
//!       │                                        │
//!       ├ engine: one, pooled, one epoch ticker  ├ command: one instance, a task
//!       ├ loader: code files mapped once         └ http: a listener, an instance a request
//!       └ two tokio runtimes of low-priority threads: servers, commands
//! ```
//!
//! **Words** (wasmtime's own): the *engine* is the compiler's and allocator's settings; a *program* is code mapped from
//! a file and linked once; a *store* holds everything of one running *instance*; dropping it ends the instance.
//!
//! **Guarantees.** A guest holds no thread: it gives way at every tick of the epoch, and what it used is measured on
//! the thread's own clock ([`meter`]), so `limits.cpu` means what it says. Memory of all instances of a container is
//! counted together, and the one grow too many ends that container alone ([`limits`]). A guest sees the pod's address
//! as its own, whatever it binds ([`sockets`]), and names as the pod's DNS configuration says ([`names`]). Standard
//! output and error go to the CRI log as they are written ([`logs`]).
//!
//! **Left to others.** Which image a container runs (`images`), what pods there are and what survives a restart
//! (`runtime`).

mod command;
mod container;
mod engine;
mod guest;
mod http;
pub mod limits;
mod loader;
pub mod logs;
pub mod meter;
pub mod mounts;
pub mod names;
mod outbound;
mod service;
pub mod sockets;
mod ticker;

pub use container::{Container, ContainerSpec, Exit, Stats};
pub use limits::Limits;
pub use mounts::Mount;
pub use service::{Config, RuntimeError, WasmRuntime};
