//! Tokens with which machines join a cluster: `coracle1.ID.SECRET.CAHASH`.
//!
//! `CAHASH` is the SHA-256 of the cluster authority's certificate (DER, in hex), so that the machine that joins knows on
//! its first contact whom it speaks to, and gives its secret to nobody else. The cluster keeps a [`TokenRecord`] in a
//! Secret of `kube-system`, of which the token cannot be made: only a salted hash of `SECRET` stands in it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::Entropy;

/// The namespace of the Secrets.
pub const NAMESPACE: &str = "kube-system";
/// The type of the Secrets.
pub const SECRET_TYPE: &str = "coracle.dev/token";
/// What the names of the Secrets begin with; the token's ID follows.
pub const SECRET_PREFIX: &str = "coracle-token-";

const VERSION: &str = "coracle1";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 32;
const SECRET_LENGTH_MAX: usize = 256;
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// A text that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no token: {0}; a token reads coracle1.ID.SECRET.CAHASH, as `coracle token create` printed it")]
pub struct NotAToken(&'static str);

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    id: String,
    secret: String,
    authority: [u8; 32],
}

impl JoinToken {
    /// A new one, for the cluster whose authority has this certificate (DER).
    pub fn generate(entropy: &dyn Entropy, authority: &[u8]) -> Self {
        Self {
            id: word(entropy, ID_LENGTH),
            secret: word(entropy, SECRET_LENGTH),
            authority: Sha256::digest(authority).into(),
        }
    }

    /// Whether a text is meant to be such a token.
    pub fn is_meant(text: &str) -> bool {
        text.strip_prefix(VERSION).is_some_and(|rest| rest.starts_with('.'))
    }

    /// What it is called by; no secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// SHA-256 of the certificate of the cluster's authority.
    pub fn authority(&self) -> [u8; 32] {
        self.authority
    }

    /// Whether it is a token of the cluster whose authority has this certificate (DER).
    pub fn is_of(&self, authority: &[u8]) -> bool {
        self.authority == <[u8; 32]>::from(Sha256::digest(authority))
    }

    fn hashed(&self, salt: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(salt);
        hash.update(&self.secret);
        hex::encode(hash.finalize())
    }
}

impl FromStr for JoinToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let [version, id, secret, authority] = parts[..] else {
            return Err(NotAToken("it does not have four parts"));
        };
        let spelled = |text: &str| text.bytes().all(|byte| ALPHABET.contains(&byte));
        if version != VERSION {
            return Err(NotAToken("it does not begin with coracle1"));
        }
        if id.len() != ID_LENGTH || !spelled(id) {
            return Err(NotAToken("its ID is not six of a-z and 0-9"));
        }
        if !(SECRET_LENGTH..=SECRET_LENGTH_MAX).contains(&secret.len()) || !spelled(secret) {
            return Err(NotAToken("its secret is not 32 or more of a-z and 0-9"));
        }
        let mut hash = [0; 32];
        if !spelled(authority) || hex::decode_to_slice(authority, &mut hash).is_err() {
            return Err(NotAToken("its last part is not a SHA-256 in hex"));
        }
        Ok(Self { id: id.to_owned(), secret: secret.to_owned(), authority: hash })
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}.{}.{}.{}", self.id, self.secret, hex::encode(self.authority))
    }
}

// Logs must not hold the secret.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", self.id)
    }
}

/// As what a machine joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinRole {
    /// A server: a member of the store.
    Server,
    /// A node.
    Agent,
}

impl JoinRole {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
        }
    }
}

impl FromStr for JoinRole {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        match text {
            "server" => Ok(Self::Server),
            "agent" => Ok(Self::Agent),
            _ => Err(RecordError("role")),
        }
    }
}

/// A Secret that does not hold what a token's should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token's Secret has no usable {0:?}")]
pub struct RecordError(&'static str);

/// Why a token is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has the ID of one, and another secret.
    #[error("its secret is wrong")]
    Secret,
    /// Its time is over.
    #[error("it expired at {0}")]
    Expired(Timestamp),
}

/// What the cluster knows of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// What it lets in.
    pub role: JoinRole,
    /// Until when; `None` for ever.
    pub expiration: Option<Timestamp>,
    /// What it is for, in the words of who made it.
    pub description: String,
    salt: String,
    hash: String,
}

impl TokenRecord {
    /// The record of a new token.
    pub fn new(
        token: &JoinToken,
        role: JoinRole,
        expiration: Option<Timestamp>,
        description: String,
        entropy: &dyn Entropy,
    ) -> Self {
        let salt = word(entropy, SECRET_LENGTH);
        Self { role, expiration, description, hash: token.hashed(&salt), salt }
    }

    /// What its Secret holds.
    pub fn data(&self) -> BTreeMap<String, String> {
        let mut data = vec![("role", self.role.as_str().to_owned())];
        data.extend([("salt", self.salt.clone()), ("token-hash", self.hash.clone())]);
        data.extend(self.expiration.map(|at| ("expiration", at.to_string())));
        data.extend(Some(("description", self.description.clone())).filter(|(_, text)| !text.is_empty()));
        data.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Reads the data of a Secret, whose values `field` gives.
    ///
    /// # Errors
    /// When one is missing or malformed.
    pub fn read(field: impl Fn(&str) -> Option<String>) -> Result<Self, RecordError> {
        let must = |name: &'static str| field(name).ok_or(RecordError(name));
        let expiration = field("expiration").map(|at| at.parse().map_err(|_| RecordError("expiration")));
        Ok(Self {
            role: must("role")?.parse()?,
            expiration: expiration.transpose()?,
            description: field("description").unwrap_or_default(),
            salt: must("salt")?,
            hash: must("token-hash")?,
        })
    }

    /// Whether it is this token's, and good at `now`.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, token: &JoinToken, now: Timestamp) -> Result<(), Refusal> {
        // The secret first: what is known of a token is not for those who do not have it.
        if !same_secret(self.hash.as_bytes(), token.hashed(&self.salt).as_bytes()) {
            return Err(Refusal::Secret);
        }
        match self.expiration.filter(|at| now >= *at) {
            Some(at) => Err(Refusal::Expired(at)),
            None => Ok(()),
        }
    }
}

/// Compares in a time that does not tell where they differ.
pub fn same_secret(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
}

/// So many characters, each as likely as any other.
fn word(entropy: &dyn Entropy, length: usize) -> String {
    let mut word = String::with_capacity(length);
    let mut bytes = [0; 64];
    while word.len() < length {
        entropy.fill(&mut bytes);
        // 252 is the largest multiple of 36 that a byte holds: what is above would favour some letters.
        let fair = bytes.iter().filter(|byte| **byte < 252).map(|byte| char::from(ALPHABET[usize::from(*byte) % 36]));
        word.extend(fair.take(length - word.len()));
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn a_token_reads_as_it_was_written_and_knows_its_cluster() {
        let token = JoinToken::generate(&SeededEntropy::new(1), b"authority");
        let text = token.to_string();
        assert_eq!(text.parse::<JoinToken>().as_ref(), Ok(&token));
        assert_eq!(format!("\n{text}\n").parse::<JoinToken>(), Ok(token.clone()), "as a file holds it");
        assert!(token.is_of(b"authority") && !token.is_of(b"another"));
        assert!(!format!("{token:?}").contains(&token.secret), "logs do not tell");
    }

    #[test]
    fn what_is_no_token_is_told_why() {
        let (secret, hash) = ("s".repeat(32), "0".repeat(64));
        for (text, why) in [
            (String::new(), "four parts"),
            (format!("coracle2.abcdef.{secret}.{hash}"), "coracle1"),
            (format!("coracle1.abcde.{secret}.{hash}"), "ID"),
            (format!("coracle1.abcde_.{secret}.{hash}"), "ID"),
            (format!("coracle1.abcdef.short.{hash}"), "secret"),
            (format!("coracle1.abcdef.{}.{hash}", "S".repeat(32)), "secret"),
            (format!("coracle1.abcdef.{secret}.{}", &hash[1..]), "SHA-256"),
            (format!("coracle1.abcdef.{secret}.{}", "F".repeat(64)), "SHA-256"),
        ] {
            let error = text.parse::<JoinToken>().expect_err("no token").to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_record_admits_its_own_token_for_its_time_and_does_not_hold_it() {
        let entropy = SeededEntropy::new(2);
        let (token, other) = (JoinToken::generate(&entropy, b"a"), JoinToken::generate(&entropy, b"a"));
        let record = TokenRecord::new(&token, JoinRole::Agent, Some(at(100)), "rack 7".into(), &entropy);
        let data = record.data();
        assert!(data.values().all(|value| !value.contains(&token.secret)));
        let read = TokenRecord::read(|field| data.get(field).cloned()).expect("as it was written");
        assert_eq!(read, record);
        assert_eq!(read.admits(&token, at(99)), Ok(()));
        assert_eq!(read.admits(&token, at(100)), Err(Refusal::Expired(at(100))));
        assert_eq!(read.admits(&other, at(99)), Err(Refusal::Secret));
        let eternal = TokenRecord::new(&token, JoinRole::Server, None, String::new(), &entropy);
        assert_eq!(eternal.admits(&token, Timestamp::MAX), Ok(()));
        for field in ["role", "salt", "token-hash"] {
            let lacking = TokenRecord::read(|asked| data.get(asked).filter(|_| asked != field).cloned());
            assert_eq!(lacking, Err(RecordError(field)));
        }
    }
}
