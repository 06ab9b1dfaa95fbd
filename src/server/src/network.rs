//! The ranges that addresses inside the cluster come from.

use std::net::{IpAddr, Ipv4Addr};

/// Addresses and names inside the cluster.
#[derive(Debug, Clone)]
pub struct Network {
    /// Pods' addresses, CIDR.
    pub cluster_cidr: String,
    /// How many bits of a pod's address name its node.
    pub node_mask: u8,
    /// Services' addresses, CIDR.
    pub service_cidr: String,
    /// The cluster's domain.
    pub domain: String,
}

/// A range that is none.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// It does not parse, or is too small.
    #[error("{cidr:?} is no range of IPv4 addresses that has room for this: write it as 127.96.0.0/16")]
    Range {
        /// What was given.
        cidr: String,
    },
}

impl Network {
    /// The range of Services as the API server takes it.
    pub(crate) fn service_range(&self) -> Result<apiserver::ServiceRange, NetworkError> {
        let failed = || NetworkError::Range { cidr: self.service_cidr.clone() };
        apiserver::ServiceRange::parse(&self.service_cidr).ok_or_else(failed)
    }

    /// The range of pods of node number `index`.
    pub(crate) fn node_range(&self, index: u32) -> Result<String, NetworkError> {
        let failed = || NetworkError::Range { cidr: self.cluster_cidr.clone() };
        let (first, bits) = parse(&self.cluster_cidr).ok_or_else(failed)?;
        let nodes = self.node_mask.checked_sub(bits).filter(|_| self.node_mask <= 30).ok_or_else(failed)?;
        if u64::from(index) >= 1_u64 << nodes {
            return Err(failed());
        }
        let offset = index << (32 - u32::from(self.node_mask));
        Ok(format!("{}/{}", Ipv4Addr::from(first | offset), self.node_mask))
    }
}

/// The `n`th address of a range.
///
/// # Errors
/// When the range is none or too small.
pub fn nth_address(cidr: &str, n: u32) -> Result<IpAddr, NetworkError> {
    let failed = || NetworkError::Range { cidr: cidr.to_owned() };
    let (first, bits) = parse(cidr).ok_or_else(failed)?;
    let room = 1_u64 << (32 - u32::from(bits));
    if u64::from(n) >= room { Err(failed()) } else { Ok(Ipv4Addr::from(first | n).into()) }
}

/// The first address and the length of the prefix.
fn parse(cidr: &str) -> Option<(u32, u8)> {
    let (address, bits) = cidr.split_once('/')?;
    let bits = bits.parse::<u8>().ok().filter(|bits| *bits <= 30)?;
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
    Some((u32::from(address.parse::<Ipv4Addr>().ok()?) & mask, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_addresses_and_nodes() {
        assert_eq!(nth_address("127.96.0.0/16", 10).expect("a range").to_string(), "127.96.0.10");
        let network = Network {
            cluster_cidr: "127.64.0.0/12".into(),
            node_mask: 18,
            service_cidr: "127.96.0.0/16".into(),
            domain: "cluster.local".into(),
        };
        assert_eq!(network.node_range(1).expect("room"), "127.64.64.0/18");
        assert!(network.node_range(64).is_err());
    }

    #[test]
    fn what_is_no_range_is_named() {
        for cidr in ["", "127.0.0.1", "x/8", "1.2.3.4/40", "1.2.3.4/31"] {
            assert!(nth_address(cidr, 1).expect_err("refused").to_string().contains(cidr), "{cidr}");
        }
    }
}
