//! Ours, alone: the store and its etcd door.

use std::{fs, path::Path, sync::Arc};

use component_base::{OsEntropy, Tasks};
use etcd::{Alone, Door, Standing};
use raft::{NoPeers, Options, RaftStore, Server};
use tokio::net::TcpListener;

use crate::error::BenchError;

/// Serves the store in `folder` until the process is ended, with the certificates that lie there. Prints the port.
#[expect(clippy::print_stdout, reason = "it is how the port is told")]
pub async fn serve(folder: &Path) -> Result<(), BenchError> {
    let other = |error: &dyn std::error::Error| BenchError::Other(error.to_string());
    let read = |name: &str| fs::read_to_string(folder.join(name)).map_err(BenchError::file(folder.join(name)));
    let tls = etcd::server_config(&read("cert")?, &read("key")?, &read("ca")?).map_err(|error| other(&error))?;
    let server = Server { name: "ours".to_owned(), ..Server::default() };
    let options = Options { id: 1, cluster: "bench".to_owned(), server, connect: Arc::new(NoPeers), begin: true };
    let store = RaftStore::open(&folder.join("ours"), options).await.map_err(|error| other(&error))?;
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(BenchError::file("127.0.0.1"))?;
    let port = listener.local_addr().map_err(BenchError::file("127.0.0.1"))?.port();
    let standing = {
        let store = store.clone();
        move || {
            let progress = store.progress();
            let (id, term, index, applied) = (store.id(), progress.term, progress.committed, progress.applied);
            Standing { cluster: 1, id, leader: id, term, index, applied }
        }
    };
    let members = Arc::new(Alone::new("ours", &format!("https://127.0.0.1:{port}"), standing));
    let (keyspace, tasks) = (store.keyspace().clone(), Tasks::new());
    let door = Door::new(Arc::new(store), keyspace, members, Arc::new(OsEntropy), None, tasks.clone());
    println!("{port}");
    etcd::serve(listener, tls, door, tasks).await;
    Ok(())
}
