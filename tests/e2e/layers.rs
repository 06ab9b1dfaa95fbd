//! The layers of the design, held against what cargo says.
//!
//! A crate may use what is listed for it, and nothing else of ours; some libraries belong to one crate alone. A new edge
//! is a decision: it is written here, and in `ARCHITECTURE.md`, or it is not made.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// Each of our crates, with those of ours that it may use.
const EDGES: &[(&str, &[&str])] = &[
    ("apimachinery", &[]),
    ("component-base", &[]),
    ("apis", &["apimachinery"]),
    ("storage", &["component-base", "apimachinery"]),
    ("auth", &["apimachinery", "component-base"]),
    ("admission", &["auth", "apis", "apimachinery", "component-base"]),
    ("cri", &["component-base", "apimachinery"]),
    ("cni", &["component-base", "apimachinery"]),
    ("apiserver", &["storage", "auth", "admission", "apis", "apimachinery", "component-base"]),
    ("images", &["cri", "component-base", "apimachinery"]),
    ("runtime-wasm", &["cri", "images", "cni", "component-base", "apimachinery"]),
    ("scheduler", &["apimachinery", "component-base"]),
    ("kubelet", &["cri", "apimachinery", "component-base"]),
    ("kube-proxy", &["cri", "cni", "apimachinery", "component-base"]),
    ("dns", &["apimachinery", "component-base"]),
    (
        "server",
        &[
            "raft",
            "storage",
            "auth",
            "admission",
            "apiserver",
            "apis",
            "controller-manager",
            "scheduler",
            "apimachinery",
            "component-base",
        ],
    ),
    ("cli", &["server", "agent", "runtime", "images", "cri", "kubelet", "apimachinery", "component-base"]),
    ("coracle", &["cli"]),
];

/// Libraries that only these crates may name.
const BELONGS_TO: &[(&str, &[&str])] = &[
    ("openraft", &["raft"]),
    ("rocksdb", &["storage", "raft"]),
    ("wasmtime", &["runtime-wasm", "images"]),
    ("wasmtime-wasi", &["runtime-wasm"]),
    ("wasmtime-wasi-http", &["runtime-wasm"]),
];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(crate::cluster::root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo's JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

/// The normal dependencies of a package; those of tests may be anything.
fn dependencies(package: &Value) -> BTreeSet<&str> {
    let all = package["dependencies"].as_array().expect("dependencies");
    all.iter()
        .filter(|dependency| dependency["kind"].is_null())
        .filter_map(|dependency| dependency["name"].as_str())
        .collect()
}

#[test]
fn crates_use_only_what_their_layer_allows() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    assert_eq!(names, allowed.keys().copied().collect(), "every crate is in the table and every row is a crate");
    for package in &packages {
        let name = package["name"].as_str().expect("a name");
        for dependency in dependencies(package).intersection(&names) {
            assert!(allowed[name].contains(dependency), "{name} may not use {dependency}");
        }
    }
}

#[test]
fn libraries_stay_behind_the_crate_that_owns_them() {
    for package in &packages() {
        let name = package["name"].as_str().expect("a name");
        for (library, owners) in BELONGS_TO {
            let uses = dependencies(package).contains(library);
            assert!(!uses || owners.contains(&name), "{name} names {library}, which belongs to {owners:?}");
        }
    }
}
