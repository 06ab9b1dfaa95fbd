//! Writes `src/pb/etcdserverpb.rs` from `proto/rpc.proto`:
//! `cargo run --manifest-path src/etcd/generate/Cargo.toml`.
//!
//! Byte strings become `Bytes`, so that a value goes from the store to the socket without being copied.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    tonic_prost_build::configure()
        .bytes(".")
        .out_dir(root.join("src/pb"))
        .compile_protos(&[root.join("proto/rpc.proto")], &[root.join("proto")])
}
