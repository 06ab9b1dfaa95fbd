//! Pull, verify, store and compile images.
//!
//! ```text
//!   registry ──► pull ──┐                                  ┌─► Store::resolve ─► runtime
//!                       ├─► layout ─► Store ─► compile ────┤   (a file to map, and how to start it)
//!   file, archive ──► import                               └─► list, status, remove
//! ```
//!
//! [`layout`] knows every way in which WebAssembly is put into an OCI artifact (types 1 to 6) and turns each into the
//! same thing: one program, the files beside it, and how it is started. [`blobs`] keeps content under its digest and
//! never shows a file that is not whole. [`compile`] turns a program into machine code in a child process of low
//! priority; only what that child wrote into this store is ever loaded as code.

mod archive;
pub mod blobs;
pub mod compile;
mod error;
mod files;
pub mod layout;
mod manifest;
mod pull;
mod record;
mod reference;
pub mod registries;
mod store;

pub use compile::{Compiler, compile_main, engine_config};
pub use error::ImageError;
pub use record::{ImageRecord, Layout};
pub use registries::{Credentials, Registries, Registry};
pub use store::{Config, Program, ResolvedImage, Store, Usage};
