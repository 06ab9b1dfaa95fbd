//! The words of the API: kinds, metadata, selectors, quantities, schemas, patches and errors, as pure functions.

pub mod field;
pub mod quantity;
pub mod status;

/// This version of Coracle, behind the version of the Kubernetes API that it serves.
pub const VERSION: &str = "v1.36.0+coracle.1";
