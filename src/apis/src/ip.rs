//! Addresses and ranges of IP: what Kubernetes takes, and what it warns of.

use std::net::{IpAddr, Ipv4Addr};

use apimachinery::{
    addresses::is_cluster_address,
    field::{ErrorList, FieldError, Path},
    gotext,
};

const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NO_RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address as Kubernetes has always read it: leading zeros are decimal, an IPv4 address may be written as IPv6.
pub(crate) fn parse(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let mut parts = [0u8; 4];
    let mut rest = text.split('.');
    for part in &mut parts {
        let digits = rest.next().filter(|digits| !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()))?;
        *part = digits
            .trim_start_matches('0')
            .parse::<u8>()
            .or_else(|error| if digits.bytes().all(|c| c == b'0') { Ok(0) } else { Err(error) })
            .ok()?;
    }
    rest.next().is_none().then(|| IpAddr::from(parts))
}

/// A range as Kubernetes has always read it: an address and the number of bits that are fixed.
pub(crate) fn parse_range(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let address = parse(address)?;
    if bits.is_empty() || !bits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let bits = bits.parse::<u8>().ok()?;
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

/// The IPv4 address that an IPv6 address stands for.
fn mapped(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => address.to_ipv4_mapped(),
    }
}

fn has_leading_zeros(text: &str) -> bool {
    text.split('.').any(|part| part.len() > 1 && part.starts_with('0')) && !text.contains(':')
}

/// The first address of a range.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::from((u32::from(address) & mask).to_be_bytes())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::from((u128::from(address) & mask).to_be_bytes())
        }
    }
}

/// An address in a field that is older than the strict rules: what was stored already is taken as it is.
pub(crate) fn check_legacy(errors: &mut ErrorList, path: &Path, value: &str, stored: &[&str]) {
    if stored.contains(&value) {
        return;
    }
    let Some(address) = parse(value) else {
        errors.push(FieldError::invalid(path, value, NO_ADDRESS));
        return;
    };
    if has_leading_zeros(value) {
        errors.push(FieldError::invalid(path, value, "must not have leading 0s"));
    }
    if mapped(address).is_some() {
        errors.push(FieldError::invalid(path, value, "must not be an IPv4-mapped IPv6 address"));
    }
}

/// An address in its canonical form.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, value: &str) {
    let Some(address) = parse(value) else {
        errors.push(FieldError::invalid(path, value, NO_ADDRESS));
        return;
    };
    let before = errors.len();
    check_legacy(errors, path, value, &[]);
    let canonical = address.to_string();
    if errors.len() == before && canonical != value {
        let detail = format!("must be in canonical form ({})", gotext::quote(&canonical));
        errors.push(FieldError::invalid(path, value, detail));
    }
}

/// A range in a field that is older than the strict rules: what was stored already is taken as it is.
pub(crate) fn check_range_legacy(errors: &mut ErrorList, path: &Path, value: &str, stored: &[&str]) {
    if stored.contains(&value) {
        return;
    }
    let Some((address, bits)) = parse_range(value) else {
        errors.push(FieldError::invalid(path, value, NO_RANGE));
        return;
    };
    let (text, digits) = value.split_once('/').unwrap_or_default();
    if has_leading_zeros(text) || (digits.len() > 1 && digits.starts_with('0')) {
        errors.push(FieldError::invalid(path, value, "must not have leading 0s in IP or prefix length"));
    }
    if mapped(address).is_some() {
        errors.push(FieldError::invalid(path, value, "must not have an IPv4-mapped IPv6 address"));
    }
    if masked(address, bits) != address {
        errors.push(FieldError::invalid(path, value, "must not have bits set beyond the prefix length"));
    }
}

/// A range in its canonical form.
pub(crate) fn check_range(errors: &mut ErrorList, path: &Path, value: &str) {
    let before = errors.len();
    check_range_legacy(errors, path, value, &[]);
    if errors.len() > before {
        return;
    }
    if let Some((address, bits)) = parse_range(value) {
        let canonical = format!("{}/{bits}", masked(address, bits));
        if canonical != value {
            let detail = format!("must be in canonical form ({})", gotext::quote(&canonical));
            errors.push(FieldError::invalid(path, value, detail));
        }
    }
}

/// An address with the size of its network: `10.9.8.7/24`.
pub(crate) fn check_interface(errors: &mut ErrorList, path: &Path, value: &str) {
    let Some((address, bits)) = parse_range(value) else {
        let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        errors.push(FieldError::invalid(path, value, detail));
        return;
    };
    let canonical = format!("{address}/{bits}");
    if canonical != value {
        let detail = format!("must be in canonical form ({})", gotext::quote(&canonical));
        errors.push(FieldError::invalid(path, value, detail));
    }
}

/// An address that traffic can be sent to: none of this host's or this link's.
pub(crate) fn check_not_special(errors: &mut ErrorList, path: &Path, value: &str) {
    let Some(address) = parse(value) else {
        errors.push(FieldError::invalid(path, value, "must be a valid IP address"));
        return;
    };
    let address = mapped(address).map_or(address, IpAddr::from);
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(address) => (address.is_link_local(), address.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(address) => (address.is_unicast_link_local(), address.segments()[0] & 0xff0f == 0xff02),
    };
    let mut refuse = |detail: &str| errors.push(FieldError::invalid(path, value, detail));
    if address.is_unspecified() {
        refuse("may not be unspecified (0.0.0.0 or ::)");
    }
    if address.is_loopback() && !is_cluster_address(address) {
        refuse("may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        refuse("may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_local_multicast {
        refuse("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// What is said of an address that is taken and yet not written as it should be.
pub(crate) fn warn(path: &Path, value: &str, warnings: &mut Vec<String>) {
    let Some(address) = parse(value) else { return };
    if has_leading_zeros(value) || mapped(address).is_some() {
        let canonical = mapped(address).map_or(address, IpAddr::from);
        warnings.push(format!(
            "{path}: non-standard IP address {} will be considered invalid in a future Kubernetes release: use {}",
            gotext::quote(value),
            gotext::quote(&canonical.to_string())
        ));
    } else if address.to_string() != value && address.is_ipv6() {
        warnings.push(format!(
            "{path}: IPv6 address {} should be in RFC 5952 canonical format ({})",
            gotext::quote(value),
            gotext::quote(&address.to_string())
        ));
    }
}

/// What is said of a range that is taken and yet not written as it should be.
pub(crate) fn warn_range(path: &Path, value: &str, warnings: &mut Vec<String>) {
    let Some((address, bits)) = parse_range(value) else { return };
    let (text, digits) = value.split_once('/').unwrap_or_default();
    let odd = has_leading_zeros(text) || mapped(address).is_some() || (digits.len() > 1 && digits.starts_with('0'));
    let first = masked(address, bits);
    if odd || first != address {
        let (address, bits) = match mapped(address) {
            Some(address) => (IpAddr::from(address), bits.saturating_sub(96)),
            None => (address, bits),
        };
        let canonical = format!("{}/{bits}", masked(address, bits));
        let mut message = format!(
            "{path}: non-standard CIDR value {} will be considered invalid in a future Kubernetes release: use {}",
            gotext::quote(value),
            gotext::quote(&canonical)
        );
        if !odd {
            message = format!(
                "{path}: CIDR value {} is ambiguous in this context (should be {} or {}?)",
                gotext::quote(value),
                gotext::quote(&canonical),
                gotext::quote(&format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }))
            );
        }
        warnings.push(message);
    } else if first.is_ipv6() && format!("{first}/{bits}") != value {
        warnings.push(format!(
            "{path}: IPv6 CIDR value {} should be in RFC 5952 canonical format ({})",
            gotext::quote(value),
            gotext::quote(&format!("{first}/{bits}"))
        ));
    }
}

/// Whether the range `inner` lies in `outer` and is smaller.
pub(crate) fn contains_strictly(outer: &str, inner: &str) -> bool {
    match (parse_range(outer), parse_range(inner)) {
        (Some((outer, bits)), Some((inner, inner_bits))) => {
            outer.is_ipv4() == inner.is_ipv4() && inner_bits > bits && masked(inner, bits) == masked(outer, bits)
        }
        _ => false,
    }
}

/// Whether it is an IPv6 address.
pub(crate) fn is_v6(value: &str) -> bool {
    value.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&mut ErrorList, &Path, &str);

    fn said(check: Check, value: &str) -> Vec<String> {
        let mut errors = ErrorList::new();
        check(&mut errors, &Path::new("f"), value);
        errors.into_iter().map(|error| error.detail).collect()
    }

    #[test]
    fn addresses_and_ranges_are_told_apart_from_what_only_looks_like_them() {
        let legacy: Check = |errors, path, value| check_legacy(errors, path, value, &[]);
        let range: Check = |errors, path, value| check_range_legacy(errors, path, value, &[]);
        let cases: &[(Check, &str, &[&str])] = &[
            (legacy, "10.9.8.7", &[]),
            (legacy, "2001:db8::ffff", &[]),
            (legacy, "300.1.1.1", &[NO_ADDRESS]),
            (legacy, "", &[NO_ADDRESS]),
            (legacy, "10.9.8.007", &["must not have leading 0s"]),
            (legacy, "::ffff:1.2.3.4", &["must not be an IPv4-mapped IPv6 address"]),
            (check, "2001:db8:0::1", &["must be in canonical form (\"2001:db8::1\")"]),
            (range, "10.0.0.0/8", &[]),
            (range, "10.0.0.0", &[NO_RANGE]),
            (range, "10.0.0.0/33", &[NO_RANGE]),
            (range, "0.0.0.0/0", &[]),
            (range, "10.0.0.1/8", &["must not have bits set beyond the prefix length"]),
            (check_not_special, "fe80::1", &["may not be in the link-local range (169.254.0.0/16, fe80::/10)"]),
            (check_not_special, "127.64.0.2", &[]),
            (check_not_special, "127.0.0.1", &["may not be in the loopback range (127.0.0.0/8, ::1/128)"]),
            (check_not_special, "8.8.8.8", &[]),
        ];
        for (check, value, expected) in cases {
            assert_eq!(said(*check, value), *expected, "of {value}");
        }
    }

    #[test]
    fn what_was_stored_before_the_strict_rules_is_taken() {
        let mut errors = ErrorList::new();
        check_legacy(&mut errors, &Path::new("f"), "10.9.8.007", &["10.9.8.007"]);
        assert!(errors.is_empty());
    }
}
