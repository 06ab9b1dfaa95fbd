//! What can go wrong with an image, as an operation and its subject.

use std::{io, path::PathBuf, time::Duration};

/// Why an image cannot be had, kept or run. The text is what a user reads in an event of the pod.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The name does not parse.
    #[error("invalid reference format: {reference:?}")]
    InvalidReference {
        /// The name as given.
        reference: String,
    },
    /// No image of that name is here.
    #[error("image {reference:?} is not on this node")]
    NotFound {
        /// The name as given.
        reference: String,
    },
    /// The registry said no, or something that is no registry's answer.
    #[error("pull {image}: {message}")]
    Registry {
        /// The image.
        image: String,
        /// What the registry said.
        message: String,
    },
    /// The registry stopped answering.
    #[error("pull {image}: registry {registry} sent nothing for {} s", waited.as_secs())]
    Stalled {
        /// The image.
        image: String,
        /// The registry's host.
        registry: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Content is not what its digest says.
    #[error("{subject}: digest is {actual}, expected {expected}")]
    WrongDigest {
        /// Whose content.
        subject: String,
        /// The digest asked for.
        expected: String,
        /// The content's digest.
        actual: String,
    },
    /// Content is larger than allowed.
    #[error("{subject} is larger than {limit} bytes")]
    TooLarge {
        /// Whose content.
        subject: String,
        /// The limit.
        limit: u64,
    },
    /// A digest of an unknown algorithm or form.
    #[error("{digest:?} is not a sha256 digest")]
    UnsupportedDigest {
        /// The digest as given.
        digest: String,
    },
    /// The artifact is not laid out in any known way.
    #[error("image {image}: {problem}")]
    Layout {
        /// The image.
        image: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The image holds a Linux program.
    #[error("image {image} is for {platform}: it needs the Linux container runtime, which this node does not have")]
    NeedsLinux {
        /// The image.
        image: String,
        /// The image's platform.
        platform: String,
    },
    /// The program is not WebAssembly that this engine takes.
    #[error("image {image} is not a valid WebAssembly program: {problem}")]
    BrokenWasm {
        /// The image.
        image: String,
        /// The compiler's words.
        problem: String,
    },
    /// The compiler itself could not run.
    #[error("compile {image}: {problem}")]
    Compile {
        /// The image.
        image: String,
        /// What happened.
        problem: String,
    },
    /// An archive that cannot be read.
    #[error("import {file}: {problem}")]
    Archive {
        /// The archive.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The operating system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl ImageError {
    /// A failed operation on `path`, to be used with `map_err`.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
