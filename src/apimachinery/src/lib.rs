//! The words of the API, as pure functions: which kinds there are and what they look like, how objects are named, selected, compared,
//! patched, decoded and printed, and how the API says no. Nothing here does I/O, and objects are plain JSON ([`serde_json::Value`]).

pub mod addresses;
pub mod duration;
pub mod field;
pub mod gotext;
pub mod intstr;
pub mod kinds;
pub mod meta;
pub mod names;
pub mod openapi;
pub mod pod_resources;
pub mod quantity;
pub mod quota_scopes;
pub mod quota_usage;
pub mod schema;
pub mod selectors;
pub mod status;
pub mod structured;
pub mod tables;

/// What this build calls itself: the Kubernetes version whose API it serves, and its own.
pub const VERSION: &str = "v1.36.0+coracle.1";
