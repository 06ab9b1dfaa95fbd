//! The ranges that addresses inside the cluster come from.

use std::net::{IpAddr, Ipv4Addr};

/// Addresses and names inside the cluster.
#[derive(Debug, Clone)]
pub struct Network {
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
    fn ranges_have_addresses() {
        assert_eq!(nth_address("127.96.0.0/16", 10).expect("a range").to_string(), "127.96.0.10");
    }

    #[test]
    fn what_is_no_range_is_named() {
        for cidr in ["", "127.0.0.1", "x/8", "1.2.3.4/40", "1.2.3.4/31"] {
            assert!(nth_address(cidr, 1).expect_err("refused").to_string().contains(cidr), "{cidr}");
        }
    }
}
