//! What is asked for and cannot be.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found_and_what_is_gone_may_be_removed_again() {
    let node = Node::start().await;
    let image = node.image("probe").await;
    let (sandbox, _) = node.sandbox("pod").await;
    let code = |outcome: Result<(), Status>| outcome.expect_err("refused").code();
    assert_eq!(code(node.status("none").await.map(|_| ())), Code::NotFound);
    assert_eq!(code(node.sandbox_status("none").await.map(|_| ())), Code::NotFound);
    assert_eq!(code(node.start_container("none").await), Code::NotFound);
    assert_eq!(code(node.create("none", container("c", &image, &[])).await.map(|_| ())), Code::NotFound);
    let missing = node.create(&sandbox, container("c", "test.local/none:v1", &[])).await.expect_err("no such image");
    assert_eq!(missing.code(), Code::NotFound);
    assert!(missing.message().contains("test.local/none:v1"), "{missing}");
    node.remove_sandbox("none").await;
    node.stop_sandbox("none").await;
    // A clear beginning of an id will do.
    assert_eq!(node.sandbox_status(&sandbox[..12]).await.expect("found").id, sandbox);
    node.stop_sandbox(&sandbox).await;
    let late = node.create(&sandbox, container("c", &image, &[])).await.expect_err("the sandbox is stopped");
    assert_eq!(late.code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guests_cannot_have_is_refused_by_name() {
    let node = Node::start().await;
    let image = node.image("probe").await;
    let selinux_options = Some(v1::SeLinuxOption::default());
    let security = v1::LinuxSandboxSecurityContext { selinux_options, ..Default::default() };
    let linux = v1::LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
    let config = v1::PodSandboxConfig { linux: Some(linux), ..node.sandbox_config("labelled") };
    let refused = node.run_sandbox(config).await.expect_err("refused");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("seLinuxOptions"), "{refused}");
    let (sandbox, _) = node.sandbox("plain").await;
    let again = node.run_sandbox(node.sandbox_config("plain")).await.expect("the same question");
    assert_eq!(again, sandbox, "has the same answer");
    let config = v1::ContainerConfig { tty: true, ..container("tty", &image, &[]) };
    let refused = node.create(&sandbox, config).await.expect_err("refused");
    assert!(refused.message().starts_with("tty is not available"), "{refused}");
    let mut runtime = node.cri.runtime.clone();
    let handler = "kata".to_owned();
    let request = v1::RunPodSandboxRequest { config: Some(node.sandbox_config("kata")), runtime_handler: handler };
    let refused = runtime.run_pod_sandbox(request).await.expect_err("refused");
    assert_eq!(refused.message(), "no runtime for \"kata\" is configured");
    let refused = runtime.exec_sync(v1::ExecSyncRequest::default()).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unimplemented);
    assert_eq!(refused.message(), "exec is not available for WebAssembly containers yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_are_none_are_refused_with_what_is_wrong() {
    let node = Node::start().await;
    let file = node.path("broken.wasm");
    let reactor = b"\0asm\x01\0\0\0";
    let cases: [(&[u8], &str); 4] = [
        (b"\0asm\x01\0\0\0\xff\xff", "not a valid WebAssembly program"),
        (b"\0asm\x09\0\0\0", "known version"),
        (b"#!/bin/sh\n", "neither WebAssembly nor an archive"),
        (b"", "no OCI archive"),
    ];
    for (bytes, problem) in cases {
        std::fs::write(&file, bytes).expect("written");
        let refused = node.import(&file, "test.local/broken:v1").await.expect_err("refused");
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains(problem), "{refused}");
    }
    let images = node.cri.images.clone().list_images(v1::ListImagesRequest::default()).await.expect("a list");
    assert!(images.into_inner().images.is_empty());
    std::fs::write(&file, reactor).expect("written");
    node.import(&file, "test.local/reactor:v1").await.expect("it is valid");
    let (sandbox, _) = node.sandbox("pod").await;
    let refused = node.create(&sandbox, container("c", "test.local/reactor:v1", &[])).await.expect_err("refused");
    assert!(refused.message().contains("_start"), "{refused}");
    let left = std::fs::read_dir(node.path("runtime/sandboxes").join(&sandbox)).expect("a folder").count();
    assert_eq!(left, 1, "only the sandbox's own record is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_cannot_import_files_and_images_in_use_are_kept() {
    let node = Node::start().await;
    let image = node.image("probe").await;
    let annotations = HashMap::from([(labels::IMPORT_FILE.to_owned(), "/etc/passwd".to_owned())]);
    let request = v1::PullImageRequest {
        image: Some(v1::ImageSpec { image: "test.local/x:v1".to_owned(), annotations, ..Default::default() }),
        auth: None,
        sandbox_config: Some(node.sandbox_config("evil")),
    };
    let refused = node.cri.images.clone().pull_image(request).await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);

    let (sandbox, _) = node.sandbox("pod").await;
    let id = node.run(&sandbox, container("sleeps", &image, &["sleep", "60000"])).await;
    let spec = Some(v1::ImageSpec { image: image.clone(), ..Default::default() });
    let mut images = node.cri.images.clone();
    let refused = images.remove_image(v1::RemoveImageRequest { image: spec.clone() }).await.expect_err("in use");
    assert!(refused.message().contains(&id), "{refused}");
    node.remove(&id).await;
    let usage = images.image_fs_info(v1::ImageFsInfoRequest {}).await.expect("usage").into_inner();
    assert!(usage.image_filesystems[0].used_bytes.is_some_and(|bytes| bytes.value > 100_000));
    for _ in 0..2 {
        images.remove_image(v1::RemoveImageRequest { image: spec.clone() }).await.expect("removed");
    }
    let status = images.image_status(v1::ImageStatusRequest { image: spec, verbose: true }).await.expect("an answer");
    assert_eq!(status.into_inner().image, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_that_stall_or_lie_are_said_so() {
    // Answers the connection, and nothing on it.
    let listener = std::net::TcpListener::bind("127.0.0.1:47411").expect("a listener");
    std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            held.push(stream);
        }
    });
    let node = Node::start_with(|config| {
        let registry = Registry { plain_http: true, ..Registry::default() };
        let registries = BTreeMap::from([("127.0.0.1:47411".to_owned(), registry)]);
        Config { registries: Registries { registries, ..Registries::default() }, ..config }
    })
    .await;
    let pull = |name: &str| {
        let image = Some(v1::ImageSpec { image: name.to_owned(), ..Default::default() });
        let mut images = node.cri.images.clone();
        async move { images.pull_image(v1::PullImageRequest { image, ..Default::default() }).await }
    };
    let stalled = pull("127.0.0.1:47411/app:v1").await.expect_err("nothing comes");
    assert_eq!(stalled.code(), Code::DeadlineExceeded, "{stalled}");
    let absent = pull("127.0.0.1:1/app:v1").await.expect_err("nobody is there");
    assert!(absent.message().contains("127.0.0.1:1/app:v1"), "{absent}");
    assert_eq!(pull("").await.expect_err("no name").code(), Code::InvalidArgument);
    assert_eq!(pull("Not A Name").await.expect_err("no name").code(), Code::InvalidArgument);
}
