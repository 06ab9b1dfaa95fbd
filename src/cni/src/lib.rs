//! Pod addresses and links.
//!
//! Every pod has an address of its own. Without privileges these are addresses of 127.0.0.0/8, which Linux lets every
//! process bind: [`ipam`] gives them out, and [`ports`] says where a port below 1024 really listens when this process
//! may not bind it. The same rule is used by whoever listens for a pod or a Service and by whoever dials one, so both
//! meet without speaking to each other.

pub mod ipam;
pub mod ports;

pub use ipam::{Ipam, IpamError};
pub use ports::{dial_address, is_cluster_address, listen_port, shown_port};
