//! The runtime service: images and WebAssembly containers behind one CRI socket.
//!
//! ```text
//!   kubelet ──── CRI ────► cri_runtime ─► pods ─┬─► runtime_wasm (guests)
//!                          cri_images ──────────┼─► images      (store, compiler)
//!   kube-proxy ─ fd ─────► handoff ─────────────┘   cni::Ipam   (addresses)
//!                                               └─► records     (what survives this process)
//! ```
//!
//! **Words.** A *sandbox* is a pod's address and what its containers have in common; a *container* is in a sandbox; a
//! *guest* is the running program of a container ([`runtime_wasm::Container`]).
//!
//! **Guarantees.** A sandbox keeps its address until it is stopped, also over a restart of this process. A container
//! that ran when this process ended is reported as exited by the next one, so that the kubelet starts it again;
//! one that never ran is forgotten. Nothing on disk outlives the sandbox it belongs to. What a WebAssembly container
//! cannot do is refused with the field's name (`refuse`), never ignored.
//!
//! **Left to others.** Restarts, probes, volumes (kubelet); Services and names (kube-proxy, dns).

mod cri_images;
mod cri_runtime;
mod events;
mod format;
mod pods;
mod records;
mod refuse;
mod service;
mod spec;
#[cfg(test)]
mod tests;

pub use service::{Config, Error, Runtime};
