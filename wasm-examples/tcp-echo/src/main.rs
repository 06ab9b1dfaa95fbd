//! Sends back every byte it gets, one connection after another: `tcp-echo [PORT]`.

use std::{
    env,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
};

fn main() -> io::Result<()> {
    let port: u16 = env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(7000);
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    println!("listening on {}", listener.local_addr()?);
    for connection in listener.incoming() {
        match connection {
            // A peer that resets its connection ends that conversation only.
            Ok(stream) => {
                if let Err(error) = echo(stream) {
                    eprintln!("connection lost: {error}");
                }
            }
            Err(error) => eprintln!("cannot accept: {error}"),
        }
    }
    Ok(())
}

/// Copies until the peer closes its side.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 8192];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count])?,
        }
    }
}
