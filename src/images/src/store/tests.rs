use super::*;

use component_base::SystemClock;

/// An empty module, and a component without anything in it.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

fn config(folder: &Path) -> Config {
    Config::new(folder.join("images"), Compiler::InProcess, Arc::new(SystemClock))
}

fn open(folder: &Path) -> Store {
    Store::open(config(folder)).expect("a store")
}

fn file(folder: &Path, content: &[u8]) -> PathBuf {
    let path = folder.join("program");
    fs::write(&path, content).expect("written");
    path
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// An OCI archive whose only image has `layers` under `config`.
fn archive(folder: &Path, config_type: &str, config: &[u8], layers: &[(&str, Vec<u8>)], corrupt: bool) -> PathBuf {
    let path = folder.join("archive.tar");
    let mut builder = tar::Builder::new(fs::File::create(&path).expect("a file"));
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, name, content).expect("an entry");
    };
    let mut blob = |kind: &str, content: &[u8]| {
        let digest = Digest::of(content);
        let mut content = content.to_vec();
        if corrupt && kind.contains("wasm") {
            content.push(0);
        }
        add(&format!("blobs/sha256/{}", digest.hex()), &content);
        serde_json::json!({"mediaType": kind, "digest": digest, "size": content.len()})
    };
    let config = blob(config_type, config);
    let layers: Vec<_> = layers.iter().map(|(kind, content)| blob(kind, content)).collect();
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
    let manifest = blob(crate::manifest::OCI_MANIFEST, manifest.to_string().as_bytes());
    add("index.json", serde_json::json!({"schemaVersion": 2, "manifests": [manifest]}).to_string().as_bytes());
    builder.finish().expect("an archive");
    path
}

#[tokio::test]
async fn a_program_is_imported_found_by_every_name_and_removed() {
    let folder = folder();
    let store = open(folder.path());
    let records = store.import(&file(folder.path(), MODULE), Some("hello:v1")).await.expect("imported");
    let record = &records[0];
    assert!(record.tags.contains("docker.io/library/hello:v1"));
    for name in ["hello:v1", "docker.io/library/hello:v1", record.id.as_str(), record.digests.first().expect("one")] {
        assert_eq!(store.status(name).expect(name).id, record.id);
    }
    let resolved = store.resolve("hello:v1").await.expect("resolved");
    assert!(matches!(&resolved.program, Program::Module(path) if path.is_file()));
    assert_eq!(resolved.record.program_name, "hello");
    store.remove("hello:v1").expect("removed");
    assert!(store.list().is_empty());
    assert_eq!(fs::read_dir(folder.path().join("images/blobs/sha256")).expect("a folder").count(), 0);
}

#[tokio::test]
async fn a_name_moves_to_the_newer_image_and_a_restart_knows_it() {
    let folder = folder();
    let store = open(folder.path());
    store.import(&file(folder.path(), MODULE), Some("a.b/app:v1")).await.expect("imported");
    store.import(&file(folder.path(), COMPONENT), Some("a.b/app:v1")).await.expect("imported");
    let older = store.list().into_iter().find(|image| image.tags.is_empty()).expect("the older image");
    assert!(store.status(older.digests.first().expect("one")).is_some(), "it is still had by its digest");
    drop(store);
    let store = open(folder.path());
    let resolved = store.resolve("a.b/app:v1").await.expect("resolved");
    assert!(matches!(resolved.program, Program::Component(_)));
}

#[tokio::test]
async fn code_that_is_gone_is_compiled_again() {
    let folder = folder();
    let store = open(folder.path());
    store.import(&file(folder.path(), MODULE), Some("app:v1")).await.expect("imported");
    let Program::Module(code) = store.resolve("app:v1").await.expect("resolved").program else { panic!("a module") };
    fs::remove_file(&code).expect("removed");
    store.resolve("app:v1").await.expect("resolved");
    assert!(code.is_file());
}

#[tokio::test]
async fn broken_programs_are_refused_and_leave_no_image() {
    let folder = folder();
    let store = open(folder.path());
    for broken in [&b"\0asm\x01\0\0\0\xff\xff\xff"[..], b"\0asm\x02\0\0\0", b"\0asm"] {
        let error = store.import(&file(folder.path(), broken), Some("app:v1")).await.expect_err("refused");
        assert!(matches!(error, ImageError::BrokenWasm { .. }), "{error}");
    }
    let error = store.import(&file(folder.path(), b"#!/bin/sh"), Some("app:v1")).await.expect_err("refused");
    assert!(matches!(error, ImageError::Archive { .. }), "{error}");
    assert!(store.list().is_empty());
}

#[tokio::test]
async fn an_archive_is_imported_with_its_digests_checked() {
    let folder = folder();
    let store = open(folder.path());
    let layers = [(layout::WASM_LAYER, COMPONENT.to_vec())];
    let good = archive(folder.path(), layout::WASM_CONFIG, b"{}", &layers, false);
    store.import(&good, Some("x.y/app:v2")).await.expect("imported");
    assert!(store.status("x.y/app:v2").is_some());
    let error = store.import(&good, None).await.expect_err("refused");
    assert!(error.to_string().contains("--name"), "{error}");
    let bad = archive(folder.path(), layout::WASM_CONFIG, b"{}", &[(layout::WASM_LAYER, b"other".to_vec())], true);
    let error = store.import(&bad, Some("x.y/bad:v1")).await.expect_err("refused");
    assert!(matches!(error, ImageError::WrongDigest { .. }), "{error}");
}

#[tokio::test]
async fn an_image_of_files_is_run_from_its_program_file() {
    let folder = folder();
    let store = open(folder.path());
    let mut layer = tar::Builder::new(Vec::new());
    for (name, content) in [("app.wasm", MODULE), ("etc/motd", b"hi".as_slice())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        layer.append_data(&mut header, name, content).expect("an entry");
    }
    let layers = [("application/vnd.oci.image.layer.v1.tar", layer.into_inner().expect("an archive"))];
    let config = br#"{"os":"linux","architecture":"amd64","config":{"Entrypoint":["/app.wasm"],"Cmd":["x"]}}"#;
    let path = archive(folder.path(), crate::manifest::OCI_CONFIG, config, &layers, false);
    store.import(&path, Some("files:v1")).await.expect("imported");
    let resolved = store.resolve("files:v1").await.expect("resolved");
    assert_eq!(resolved.record.cmd, ["x"]);
    let files = resolved.files.expect("files");
    assert_eq!(fs::read_to_string(files.join("etc/motd")).expect("a file"), "hi");
}

#[tokio::test]
async fn an_index_that_is_damaged_is_named() {
    let folder = folder();
    drop(open(folder.path()));
    fs::write(folder.path().join("images/images.json"), "{\"images\":").expect("written");
    assert!(Store::open(config(folder.path())).expect_err("refused").to_string().contains("images.json"));
}
