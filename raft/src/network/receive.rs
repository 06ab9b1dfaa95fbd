//! Taking a snapshot that the leader sends: into a file beside the store, and from there into the store only after all of it
//! has arrived and is right. One is taken at a time; a new one ends the one before, whose sender has most likely gone.

use std::{
    fs::{self, File},
    io::{self, BufReader, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Buf, Bytes};
use sha2::{Digest, Sha256};
use storage::keyspace::verify_image;

use super::{
    Answer, PeerError,
    hello::Local,
    message::{self},
    snapshot::{Begin, End},
};
use crate::{
    Image,
    machine::ImageMeta,
    types::{Raft, Snapshot, SnapshotMeta},
};

/// Forgets what arrived before this start.
pub(crate) fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A snapshot on its way.
pub(super) struct Receiving {
    /// The request that it belongs to.
    pub(super) number: u64,
    begin: Begin,
    path: PathBuf,
    file: File,
    sum: Sha256,
    length: u64,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        // When it stays, the next start removes it.
        let _ = fs::remove_file(&self.path);
    }
}

impl Receiving {
    /// Begins; `name` is one that no other has now.
    pub(super) fn begin(local: &Local, number: u64, body: &[u8], name: u64) -> Result<Self, PeerError> {
        let begin = message::from_json(body)?;
        fs::create_dir_all(&local.incoming)?;
        let path = local.incoming.join(format!("{name}.snapshot"));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Self { number, begin, path, file, sum: Sha256::new(), length: 0 })
    }

    /// Takes the next piece.
    pub(super) fn part(&mut self, mut body: Bytes) -> Result<(), PeerError> {
        let at = body.try_get_u64().map_err(|error| PeerError::Garbage(error.to_string()))?;
        if at != self.length {
            return Err(PeerError::Garbage(format!(
                "a piece of a snapshot belongs to {at}, {} bytes are there",
                self.length
            )));
        }
        self.sum.update(&body);
        self.length += body.len() as u64;
        Ok(self.file.write_all(&body)?)
    }

    /// Checks all of it, then lets Raft install it.
    pub(super) async fn end(self, raft: Raft, local: Arc<Local>, body: Bytes) -> Answer {
        // The file is open before this is dropped, and stays readable after.
        let verified = local.open.spawn_blocking(move || self.verify(&body)).await;
        let (vote, meta, file) = match verified {
            Ok(Ok(verified)) => verified,
            Ok(Err(why)) => {
                tracing::warn!(%why, "a snapshot from the leader is refused");
                return Answer::Unavailable(why);
            }
            Err(error) => return Answer::Unavailable(error.to_string()),
        };
        match raft.install_full_snapshot(vote, Snapshot { meta, snapshot: Image::Received(file) }).await {
            Ok(response) => Answer::json(&response.vote),
            Err(error) => Answer::Unavailable(error.to_string()),
        }
    }

    fn verify(mut self, body: &[u8]) -> Result<(crate::types::Vote, SnapshotMeta, File), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let End { length, sum } = message::from_json(body).map_err(|error| text(&error))?;
        if length != self.length {
            return Err(format!("{} of {length} bytes arrived", self.length));
        }
        if *self.sum.clone().finalize() != sum {
            return Err("its checksum is wrong".to_owned());
        }
        let mut file = self.file.try_clone().map_err(|error| text(&error))?;
        file.rewind().map_err(|error| text(&error))?;
        let meta = verify_image(BufReader::new(&file)).map_err(|error| text(&error))?;
        let meta: ImageMeta = serde_json::from_slice(&meta).map_err(|error| text(&error))?;
        if meta.raft != self.begin.meta {
            return Err(format!("it was taken at {}, not at {}", meta.raft, self.begin.meta));
        }
        self.file.rewind().map_err(|error| text(&error))?;
        Ok((self.begin.vote, meta.raft, file))
    }
}
