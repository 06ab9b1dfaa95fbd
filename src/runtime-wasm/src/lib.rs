//! Runs WebAssembly containers with wasmtime.
