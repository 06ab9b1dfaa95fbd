//! HTTP requests: one at a time until the answer is good, or many at once for as long as it takes.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{cluster::in_time, error::BenchError};

type Connection = http1::SendRequest<Empty<Bytes>>;

async fn connect(address: SocketAddr) -> io::Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(connection: &mut Connection, address: SocketAddr, path: &str) -> io::Result<u16> {
    let request = Request::get(path).header("host", address.to_string()).body(Empty::new());
    let answer = connection.send_request(request.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
    let code = answer.status().as_u16();
    answer.into_body().collect().await.map_err(io::Error::other)?;
    Ok(code)
}

/// One request on a connection of its own; the status code.
pub async fn get(address: SocketAddr, path: &str) -> io::Result<u16> {
    ask(&mut connect(address).await?, address, path).await
}

/// Asks until the answer is 200.
pub async fn until_ok(address: SocketAddr, path: &str) -> Result<(), BenchError> {
    let ok = async {
        while !matches!(get(address, path).await, Ok(200)) {
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    in_time(&format!("a 200 of {address}{path}"), ok).await
}

/// What a server did under load.
pub struct Load {
    /// Requests a second that were answered 200.
    pub per_second: f64,
    /// How long each took.
    pub times: Vec<Duration>,
}

/// `connections` kept connections ask one request after the other for `duration`.
pub async fn run(address: SocketAddr, connections: usize, duration: Duration) -> Result<Load, BenchError> {
    let started = Instant::now();
    let clients = (0..connections).map(|_| {
        tokio::spawn(async move {
            let mut connection = connect(address).await?;
            let mut times = Vec::new();
            while started.elapsed() < duration {
                let before = Instant::now();
                let code = ask(&mut connection, address, "/").await?;
                if code != 200 {
                    return Err(io::Error::other(format!("answered {code}")));
                }
                times.push(before.elapsed());
            }
            Ok(times)
        })
    });
    let mut times = Vec::new();
    for client in futures::future::join_all(clients).await {
        let client = client.map_err(|error| BenchError::Other(error.to_string()))?;
        times.extend(client.map_err(BenchError::file(address.to_string()))?);
    }
    Ok(Load { per_second: times.len() as f64 / started.elapsed().as_secs_f64(), times })
}
