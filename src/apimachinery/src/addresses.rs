//! The loopback addresses that stand for pods and Services.
//!
//! Linux lets any process bind any address of 127.0.0.0/8, so a cluster needs no privileges to give each pod and Service
//! one of its own. The part that is theirs is 127.64.0.0/10; the rest is the host's, and is refused where Kubernetes refuses loopback
//! addresses.

use std::net::IpAddr;

/// Whether `address` belongs to the loopback network's pods or Services (127.64.0.0/10).
pub fn is_cluster_address(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if matches!(address.octets(), [127, 64..=127, _, _]))
}
