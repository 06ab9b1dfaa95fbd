//! The keyspace as a snapshot of Raft.
//!
//! The keyspace is durable by itself, so a snapshot is not needed to restart, only to bring a peer up to date and to say
//! what the log need not hold any more. For both it is enough to pin the keyspace: nothing is written, nobody waits. Its
//! bytes, with a checksum at the end, come about when a peer reads them.

use std::{
    fs::File,
    io::{self, Read, Write},
    sync::Arc,
    thread,
};

use storage::keyspace::{ImageError, PinnedImage};

/// A snapshot: the keyspace as it was after a certain log entry.
#[derive(Debug)]
pub enum Image {
    /// This server's own keyspace.
    Pinned(Arc<PinnedImage>),
    /// What another server sent.
    Received(File),
}

impl Image {
    /// Writes the bytes of the image out.
    ///
    /// # Errors
    /// When they cannot be read or the other side does not take them.
    pub fn write_to(self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Received(mut file) => io::copy(&mut file, to).map(drop),
            Self::Pinned(pinned) => pinned.write_to(to).map_err(|error| match error {
                ImageError::Transfer(error) => error,
                other => io::Error::other(other.to_string()),
            }),
        }
    }

    /// The bytes of the image.
    ///
    /// # Errors
    /// When the system has no pipe or thread to spare.
    pub(crate) fn into_reader(self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Received(file) => Ok(Box::new(io::BufReader::new(file))),
            pinned @ Self::Pinned(_) => {
                let (reader, writer) = io::pipe()?;
                thread::Builder::new().name("raft-image".to_owned()).spawn(move || {
                    // The reader sees an image that ends too early, which its checksum tells apart from a whole one.
                    if let Err(error) = pinned.write_to(&mut io::BufWriter::new(writer)) {
                        tracing::warn!(%error, "an image of the keyspace was not written to its end");
                    }
                })?;
                Ok(Box::new(io::BufReader::new(reader)))
            }
        }
    }
}
