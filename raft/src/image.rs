//! The keyspace as a snapshot of Raft.
//!
//! The keyspace is durable by itself, so a snapshot is not needed to restart, only to bring a peer up to date and to say
//! what the log need not hold any more. For both it is enough to pin the keyspace: nothing is written, nobody waits. Its
//! bytes, with a checksum at the end, come about when a peer reads them.

use std::{
    fs::File,
    io::{self, Read},
    sync::Arc,
    thread,
};

use storage::keyspace::PinnedImage;

/// A snapshot: the keyspace as it was after a certain log entry.
#[derive(Debug)]
pub enum Image {
    /// This server's own keyspace.
    Pinned(Arc<PinnedImage>),
    /// What another server sent.
    Received(File),
}

impl Image {
    /// The bytes of the image.
    ///
    /// # Errors
    /// When the system has no pipe or thread to spare.
    pub fn into_reader(self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Received(file) => Ok(Box::new(io::BufReader::new(file))),
            Self::Pinned(pinned) => {
                let (reader, writer) = io::pipe()?;
                thread::Builder::new().name("raft-image".to_owned()).spawn(move || {
                    // The reader sees an image that ends too early, which its checksum tells apart from a whole one.
                    if let Err(error) = pinned.write_to(io::BufWriter::new(writer)) {
                        tracing::warn!(%error, "an image of the keyspace was not written to its end");
                    }
                })?;
                Ok(Box::new(io::BufReader::new(reader)))
            }
        }
    }
}
