//! An HTTP component that does as the request's path says, for tests of the runtime: see `handle` for the paths.

use std::{
    env, fs,
    hint::black_box,
    io::{Read, Write},
    net::ToSocketAddrs,
    process, thread,
    time::{Duration, Instant},
};

use wasip2::http::{
    outgoing_handler,
    types::{
        Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam,
        Scheme,
    },
};

struct Probe;

wasip2::http::proxy::export!(Probe);

impl wasip2::exports::http::incoming_handler::Guest for Probe {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let mut words = path.trim_start_matches('/').splitn(2, '/');
        let (verb, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (status, bytes) = match verb {
            "" => (200, b"probe\n".to_vec()),
            "trap" => process::abort(),
            "exit" => process::exit(rest.parse().unwrap_or(1)),
            "status" => (rest.parse().unwrap_or(500), b"as told\n".to_vec()),
            "env" => (200, env::var(rest).unwrap_or_default().into_bytes()),
            "cat" => match fs::read(format!("/{rest}")) {
                Ok(bytes) => (200, bytes),
                Err(error) => (404, error.to_string().into_bytes()),
            },
            "log" => {
                println!("{rest}");
                (200, b"logged\n".to_vec())
            }
            "sleep" => {
                thread::sleep(Duration::from_millis(rest.parse().unwrap_or(0)));
                (200, b"slept\n".to_vec())
            }
            "spin" => {
                spin(Duration::from_millis(rest.parse().unwrap_or(0)));
                (200, b"spun\n".to_vec())
            }
            "hog" => {
                let held = black_box(vec![1_u8; rest.parse::<usize>().unwrap_or(0) << 20]);
                (200, format!("held {} bytes\n", held.len()).into_bytes())
            }
            "bytes" => (200, vec![b'x'; rest.parse().unwrap_or(0)]),
            "echo" => (200, request.consume().map(read).unwrap_or_default()),
            "count" => (200, format!("{}\n", count()).into_bytes()),
            "resolve" => match (rest, 80).to_socket_addrs() {
                Ok(found) => (200, found.map(|address| format!("{}\n", address.ip())).collect::<String>().into_bytes()),
                Err(error) => (502, error.to_string().into_bytes()),
            },
            "fetch" => fetch(rest),
            "headers" => {
                let headers = request.headers().entries();
                let lines = headers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value)));
                (200, lines.collect::<String>().into_bytes())
            }
            _ => (404, b"unknown path\n".to_vec()),
        };
        answer(response, status, &bytes);
    }
}

/// How many requests this instance has seen.
fn count() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static SEEN: AtomicU64 = AtomicU64::new(0);
    SEEN.fetch_add(1, Ordering::Relaxed) + 1
}

fn spin(length: Duration) {
    let start = Instant::now();
    let mut state: u64 = 1;
    while start.elapsed() < length {
        for _ in 0..10_000 {
            state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}

fn read(body: IncomingBody) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(mut stream) = body.stream() {
        let _ = stream.read_to_end(&mut bytes);
    }
    bytes
}

/// `SCHEME/AUTHORITY/PATH`: asks another server and hands on what it says.
fn fetch(target: &str) -> (u16, Vec<u8>) {
    let mut parts = target.splitn(3, '/');
    let scheme = match parts.next() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let request = OutgoingRequest::new(Fields::new());
    let _ = request.set_scheme(Some(&scheme));
    let _ = request.set_authority(parts.next());
    let _ = request.set_path_with_query(Some(&format!("/{}", parts.next().unwrap_or_default())));
    let pending = match outgoing_handler::handle(request, None) {
        Ok(pending) => pending,
        Err(error) => return (502, format!("{error:?}").into_bytes()),
    };
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(Ok(response))) => (response.status(), response.consume().map(read).unwrap_or_default()),
        Some(Ok(Err(error))) => (502, format!("{error:?}").into_bytes()),
        _ => (502, b"no response".to_vec()),
    }
}

fn answer(out: ResponseOutparam, status: u16, bytes: &[u8]) {
    let headers = Fields::new();
    let _ = headers.set("content-length", &[bytes.len().to_string().into_bytes()]);
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(status);
    let Ok(body) = response.body() else { return };
    ResponseOutparam::set(out, Ok(response));
    if let Ok(mut stream) = body.write() {
        let _ = stream.write_all(bytes);
        let _ = stream.flush();
    }
    let _ = OutgoingBody::finish(body, None);
}
