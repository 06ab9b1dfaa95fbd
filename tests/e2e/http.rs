//! HTTP as a user's client speaks it: one request, one answer, over a plain socket.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::cluster::DEADLINE;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body.
    pub body: String,
}

/// Asks once.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| io::Error::other(format!("no answer: {text:?}")))?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| io::Error::other(format!("no status: {head:?}")))?;
    let body =
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") { unchunk(body) } else { body.to_owned() };
    Ok(Answer { code, body })
}

fn unchunk(mut rest: &str) -> String {
    let mut whole = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or_default();
        let Some(chunk) = tail.get(..size).filter(|_| size > 0) else { break };
        whole += chunk;
        rest = tail.get(size + 2..).unwrap_or_default();
    }
    whole
}

/// Asks until the answer is 200; how long that took.
pub fn get_until_ok(address: SocketAddr, path: &str) -> (Answer, Duration) {
    let started = Instant::now();
    loop {
        let last = get(address, path);
        if let Ok(answer) = last {
            if answer.code == 200 {
                return (answer, started.elapsed());
            }
            assert!(started.elapsed() < DEADLINE, "{address}{path} never answered 200, but {answer:?}");
        } else {
            assert!(started.elapsed() < DEADLINE, "{address}{path} never answered, but {last:?}");
        }
        std::thread::yield_now();
    }
}
