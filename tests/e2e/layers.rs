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
    ("cel", &["apimachinery"]),
    ("apis", &["cel", "apimachinery"]),
    ("storage", &["component-base", "apimachinery"]),
    ("raft", &["storage", "component-base", "apimachinery"]),
    ("auth", &["apimachinery", "component-base"]),
    ("admission", &["auth", "apis", "apimachinery", "component-base"]),
    ("cri", &["component-base", "apimachinery"]),
    ("cni", &["component-base", "apimachinery"]),
    ("apiserver", &["storage", "auth", "admission", "apis", "cel", "apimachinery", "component-base"]),
    ("etcd", &["storage", "apimachinery", "component-base"]),
    ("images", &["cri", "component-base", "apimachinery"]),
    ("runtime-wasm", &["cri", "images", "cni", "component-base", "apimachinery"]),
    ("runtime", &["cri", "images", "runtime-wasm", "cni", "component-base", "apimachinery"]),
    ("controller-manager", &["apimachinery", "component-base"]),
    ("scheduler", &["apimachinery", "component-base"]),
    ("kubelet", &["cri", "apimachinery", "component-base"]),
    ("kube-proxy", &["cri", "cni", "apimachinery", "component-base"]),
    ("dns", &["apimachinery", "component-base"]),
    (
        "server",
        &[
            "raft",
            "etcd",
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
    ("agent", &["kubelet", "kube-proxy", "dns", "cri", "cni", "apimachinery", "component-base"]),
    ("cli", &["server", "agent", "runtime", "images", "cri", "kubelet", "apimachinery", "component-base"]),
    ("coracle", &["cli"]),
    ("bench", &["etcd", "raft", "component-base"]),
    ("base2histogram", &[]),
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

/// Licences under which a dependency may be: permissive ones.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
];

/// Whether an SPDX expression can be met: all sides of every AND, one side of every OR; here OR stands in brackets where
/// both occur.
fn may_be_used(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], " ").replace('/', " OR ");
    expression.split(" AND ").all(|any| any.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

#[test]
fn dependencies_have_licences_that_go_with_ours() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(crate::cluster::root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo's JSON");
    let refused: Vec<String> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(may_be_used))
        .map(|package| format!("{} ({})", package["name"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "not allowed: {refused:?}");
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
