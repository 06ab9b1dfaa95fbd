//! Randomness as a dependency.

use std::{fmt::Debug, sync::Arc};

use parking_lot::Mutex;
use rand::{RngCore, SeedableRng, rngs::StdRng};

/// What Kubernetes draws generated name suffixes from: no vowels, so no words; no 0, 1 or 3, which are misread.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A source of random bytes.
pub trait Entropy: Debug + Send + Sync + 'static {
    /// Fills `buffer` with random bytes.
    fn fill(&self, buffer: &mut [u8]);

    /// A random (version 4) UUID in its usual text form.
    fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// A suffix of `length` characters for a generated name.
    fn suffix(&self, length: usize) -> String {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes.iter().map(|byte| char::from(SUFFIX_ALPHABET[usize::from(*byte) % SUFFIX_ALPHABET.len()])).collect()
    }
}

/// Entropy that many components share.
pub type SharedEntropy = Arc<dyn Entropy>;

/// The operating system's random source. Only roles construct it.
#[derive(Debug, Default, Clone, Copy)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        rand::rng().fill_bytes(buffer);
    }
}

/// Reproducible entropy, for tests and simulation; never for keys.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    /// Entropy that is the same for the same `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().fill_bytes(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_names_again() {
        let draw = || {
            let entropy = SeededEntropy::new(7);
            (entropy.uuid(), entropy.suffix(5))
        };
        assert_eq!(draw(), draw());
        assert!(draw().1.bytes().all(|byte| SUFFIX_ALPHABET.contains(&byte)));
    }
}
