//! Which range of pod addresses a node gets.

use std::{collections::BTreeSet, net::Ipv4Addr};

/// The first range of `node_bits` in `cluster` (as `127.64.0.0/12`) that none of `taken` overlaps; `None` when there is none, or
/// `cluster` is no range.
pub fn allocate<'a>(cluster: &str, node_bits: u8, taken: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let (first, bits) = parse(cluster)?;
    if node_bits < bits || node_bits > 32 {
        return None;
    }
    let size = 1u64 << (32 - node_bits);
    let count = 1u64 << (node_bits - bits);
    let mut used = BTreeSet::new();
    for (start, bits) in taken.into_iter().filter_map(parse) {
        let length = 1u64 << (32 - bits);
        let Some(offset) = u64::from(start).checked_sub(u64::from(first)) else { continue };
        let (low, high) = (offset / size, (offset + length - 1) / size);
        used.extend((low..=high).take_while(|index| *index < count));
    }
    let free = (0..count).find(|index| !used.contains(index))?;
    let address = u32::try_from(u64::from(first) + free * size).ok()?;
    Some(format!("{}/{node_bits}", Ipv4Addr::from(address)))
}

fn parse(range: &str) -> Option<(u32, u8)> {
    let (address, bits) = range.split_once('/')?;
    let (address, bits): (Ipv4Addr, u8) = (address.parse().ok()?, bits.parse().ok()?);
    let mask = u32::MAX.checked_shl(32u32.checked_sub(bits.into())?).unwrap_or_default();
    Some((u32::from(address) & mask, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_given_in_order_and_once() {
        let allocate = |taken: &[&str]| allocate("10.0.0.0/22", 24, taken.iter().copied());
        assert_eq!(allocate(&[]).as_deref(), Some("10.0.0.0/24"));
        assert_eq!(allocate(&["10.0.0.0/24", "10.0.2.0/24"]).as_deref(), Some("10.0.1.0/24"));
        assert_eq!(allocate(&["10.0.0.0/23"]).as_deref(), Some("10.0.2.0/24"), "a larger one takes all of its own");
        assert_eq!(allocate(&["192.168.0.0/24"]).as_deref(), Some("10.0.0.0/24"), "another's does not matter");
        assert_eq!(allocate(&["10.0.0.0/22"]), None);
        assert_eq!(super::allocate("nonsense", 24, []), None);
    }
}
