//! Logs: levels by `RUST_LOG` syntax, for people or as JSON, on standard error.

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// How a line of log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A log filter that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("log filter {filter:?} is not valid: {source}")]
pub struct InvalidFilter {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Sends logs that pass `filter` (for example `info` or `info,kubelet=debug`) to standard error.
///
/// # Errors
/// When `filter` does not parse. A second call in one process changes nothing.
pub fn init(format: Format, filter: &str) -> Result<(), InvalidFilter> {
    let parsed = EnvFilter::try_new(filter).map_err(|source| InvalidFilter { filter: filter.to_owned(), source })?;
    let registry = tracing_subscriber::registry().with(parsed);
    // A process that was already given a subscriber (a test) keeps it.
    let _ = match format {
        Format::Text => registry.with(fmt::layer().with_writer(std::io::stderr)).try_init(),
        Format::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init(),
    };
    Ok(())
}
