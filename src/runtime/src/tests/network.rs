//! Guests among each other: addresses, ports, names.

use std::net::UdpSocket;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn pods_listen_on_one_port_and_each_at_its_own_address() {
    let node = Node::start().await;
    let image = node.image("tcp-echo").await;
    for name in ["first", "second"] {
        let (sandbox, ip) = node.sandbox(name).await;
        let id = node.run(&sandbox, container(name, &image, &["7000"])).await;
        let address = SocketAddr::new(ip, 7000);
        let mut stream =
            until("the guest listens", || async { TcpStream::connect(cni::dial_address(address)).ok() }).await;
        stream.set_read_timeout(Some(DEADLINE)).expect("a time");
        stream.write_all(name.as_bytes()).expect("written");
        let mut echo = vec![0; name.len()];
        stream.read_exact(&mut echo).expect("an echo");
        assert_eq!(echo, name.as_bytes());
        let status = node.status(&id).await.expect("a status");
        assert_eq!(node.log(&status), [format!("stdout listening on {address}")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_finds_another_by_its_service_name() {
    let node = Node::start().await;
    let image = node.image("probe-http").await;
    let (sandbox, server) = node.sandbox("server").await;
    let mut config = container("server", &image, &[]);
    config.annotations.insert(labels::CONTAINER_PORTS.to_owned(), r#"[{"containerPort":80}]"#.to_owned());
    node.run(&sandbox, config).await;

    // The cluster's name server, as far as it is asked here.
    let dns: IpAddr = node.cidr.replace(".0/24", ".250").parse().expect("an address");
    let socket = UdpSocket::bind(cni::dial_address(SocketAddr::new(dns, 53))).expect("a name server");
    std::thread::spawn(move || answer_names(&socket, server));

    let mut config = node.sandbox_config("client");
    config.dns_config = Some(v1::DnsConfig {
        servers: vec![dns.to_string()],
        searches: vec!["default.svc.cluster.local".to_owned()],
        options: vec!["ndots:5".to_owned()],
    });
    let sandbox = node.run_sandbox(config).await.expect("a sandbox");
    let client = node.sandbox_status(&sandbox).await.expect("a status").network.expect("a network").ip;
    node.run(&sandbox, container("client", &image, &[])).await;
    let client = SocketAddr::new(client.parse().expect("an address"), 8080);
    assert_eq!(get(client, "/fetch/http/web/").await, Some((200, "probe\n".to_owned())));
    assert_eq!(get(client, "/resolve/web").await, Some((200, format!("{server}\n"))));
    assert_eq!(get(client, "/resolve/none").await.map(|(code, _)| code), Some(502));
    assert_eq!(get(client, "/fetch/http/localhost:8080/").await, Some((200, "probe\n".to_owned())));
    let (code, said) = get(client, "/fetch/http/web:81/").await.expect("an answer");
    assert!(code == 502 && said.contains("ConnectionRefused"), "{said}");
}

/// Knows `web.default.svc.cluster.local` and nothing else.
fn answer_names(socket: &UdpSocket, address: IpAddr) {
    const NAME: &[u8] = b"\x03web\x07default\x03svc\x07cluster\x05local\0";
    let IpAddr::V4(address) = address else { panic!("pods have IPv4 addresses") };
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let query = &buffer[..length];
        let known = query.windows(NAME.len()).any(|part| part == NAME);
        let is_a = query[length - 4..] == [0, 1, 0, 1];
        let mut answer = query.to_vec();
        // A response, authoritative, and no such name where it is not known.
        (answer[2], answer[3]) = (0x85, if known { 0 } else { 3 });
        if known && is_a {
            answer[7] = 1;
            answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
            answer.extend_from_slice(&address.octets());
        }
        let _ = socket.send_to(&answer, from);
    }
}
