//! Which server of which cluster this is: a file beside the store, written once.

use std::{fs, path::Path};

use auth::pki;
use component_base::Entropy;
use serde::{Deserialize, Serialize};

use crate::ServerError;

const FILE: &str = "identity.json";
/// The number of the server that begins a cluster.
const FIRST: u64 = 1;

/// A server's identity. It goes with the store: a server that lost its store gets a new one by joining again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// Which cluster, made at random when it began.
    pub cluster: String,
    /// The server's number in it.
    pub id: u64,
    /// Whether this server began the cluster.
    pub began: bool,
    /// Whether its store was ever opened: from then on it has promised others, or users, to keep what it took.
    #[serde(default)]
    pub promised: bool,
}

impl Identity {
    /// The identity of a server that begins a cluster.
    pub fn first(entropy: &dyn Entropy) -> Self {
        Self { cluster: entropy.uuid(), id: FIRST, began: true, promised: false }
    }

    /// What an earlier run wrote into `folder`, if there was one.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn read(folder: &Path) -> Result<Option<Self>, ServerError> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ServerError::File { path, source }),
        };
        match serde_json::from_str(&text) {
            Ok(identity) => Ok(Some(identity)),
            Err(error) => Err(ServerError::File { path, source: error.into() }),
        }
    }

    /// Refuses to go on without the store: what it voted and took is in there, and a server that has forgotten it may take
    /// part in losing what others were told is kept.
    ///
    /// # Errors
    /// When there was a store, and there is none in `path` any more.
    pub fn check_store(&self, path: &Path) -> Result<(), ServerError> {
        if !self.promised || path.join("CURRENT").exists() {
            return Ok(());
        }
        Err(ServerError::StoreLost { path: path.to_owned(), id: self.id })
    }

    /// Notes that the store is open.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn promise(&mut self, folder: &Path) -> Result<(), ServerError> {
        if self.promised {
            return Ok(());
        }
        self.promised = true;
        self.write(folder)
    }

    /// Writes it into `folder`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, folder: &Path) -> Result<(), ServerError> {
        let text = serde_json::to_string_pretty(self).expect("text and numbers have a JSON form");
        Ok(pki::write_private(&folder.join(FILE), text.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use component_base::OsEntropy;

    use super::*;

    #[test]
    fn a_server_that_lost_its_store_says_so_and_one_that_never_had_one_begins() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("db");
        let mut identity = Identity::first(&OsEntropy);
        identity.write(folder.path()).unwrap();
        identity.check_store(&store).unwrap();
        fs::create_dir(&store).unwrap();
        fs::write(store.join("CURRENT"), "MANIFEST-000001").unwrap();
        identity.promise(folder.path()).unwrap();
        let read = Identity::read(folder.path()).unwrap().unwrap();
        assert_eq!(read, identity);
        read.check_store(&store).unwrap();
        fs::remove_dir_all(&store).unwrap();
        let error = read.check_store(&store).unwrap_err().to_string();
        assert!(error.contains("lost its store") && error.contains("coracle member remove 1"), "{error}");
    }
}
