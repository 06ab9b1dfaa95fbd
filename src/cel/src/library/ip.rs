//! Addresses and their ranges.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::{Outcome, fail, no_overload};
use crate::{
    functions::Declaration,
    value::{Opaque, Value},
};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("ip", ip, &["(string) net.IP", "net.CIDR.() net.IP"]),
    ("isIP", |args| test(args, |text| parse(text).is_ok()), &["(string) bool"]),
    ("ip.isCanonical", is_canonical, &["(string) bool"]),
    ("family", |args| of_ip(args, |ip| Value::Int(if ip.is_ipv4() { 4 } else { 6 })), &["net.IP.() int"]),
    ("isUnspecified", |args| of_ip(args, |ip| Value::Bool(ip.is_unspecified())), &["net.IP.() bool"]),
    ("isLoopback", |args| of_ip(args, |ip| Value::Bool(ip.is_loopback())), &["net.IP.() bool"]),
    ("isLinkLocalMulticast", |args| of_ip(args, |ip| Value::Bool(is_link_local_multicast(ip))), &["net.IP.() bool"]),
    ("isLinkLocalUnicast", |args| of_ip(args, |ip| Value::Bool(is_link_local(ip))), &["net.IP.() bool"]),
    ("isGlobalUnicast", |args| of_ip(args, |ip| Value::Bool(is_global(ip))), &["net.IP.() bool"]),
    ("cidr", cidr, &["(string) net.CIDR"]),
    ("isCIDR", |args| test(args, |text| text.parse::<Cidr>().is_ok()), &["(string) bool"]),
    ("containsIP", contains_ip, &["net.CIDR.(string) bool", "net.CIDR.(net.IP) bool"]),
    ("containsCIDR", contains_cidr, &["net.CIDR.(string) bool", "net.CIDR.(net.CIDR) bool"]),
    ("masked", |args| of_cidr(args, |cidr| Opaque::Cidr(cidr.masked()).into()), &["net.CIDR.() net.CIDR"]),
    ("prefixLength", |args| of_cidr(args, |cidr| Value::Int(cidr.length.into())), &["net.CIDR.() int"]),
];

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    pub(crate) address: IpAddr,
    pub(crate) length: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("network address parse error during conversion from string: netip.ParsePrefix({text:?}): no '/'")
        };
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address = parse(address)?;
        let canonical = length == "0" || !length.starts_with(['0', '+']);
        let length: u8 = length.parse().ok().filter(|length| canonical && *length <= bits(address)).ok_or_else(|| {
            format!("network address parse error during conversion from string: netip.ParsePrefix({text:?}): bad bits after slash: {length:?}")
        })?;
        Ok(Self { address, length })
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            Ipv4Addr::from_bits(ip.to_bits() & u32::MAX.checked_shl(u32::from(32 - length)).unwrap_or(0)).into()
        }
        IpAddr::V6(ip) => {
            Ipv6Addr::from_bits(ip.to_bits() & u128::MAX.checked_shl(u32::from(128 - length)).unwrap_or(0)).into()
        }
    }
}

impl Cidr {
    fn masked(&self) -> Self {
        Self { address: mask(self.address, self.length), length: self.length }
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && mask(self.address, self.length) == mask(address, self.length)
    }
}

fn parse(text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr = text.parse().map_err(|_| {
        format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        )
    })?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        ip => Ok(ip),
    }
}

fn test(args: &[Value], holds: fn(&str) -> bool) -> Outcome {
    match args {
        [Value::String(text)] => Ok(Value::Bool(holds(text))),
        _ => no_overload(),
    }
}

fn ip(args: &[Value]) -> Outcome {
    match args {
        [Value::String(text)] => match parse(text) {
            Ok(ip) => Ok(Opaque::Ip(ip).into()),
            Err(why) => fail(why),
        },
        _ => of_cidr(args, |cidr| Opaque::Ip(cidr.address).into()),
    }
}

fn cidr(args: &[Value]) -> Outcome {
    match args {
        [Value::String(text)] => match text.parse() {
            Ok(cidr) => Ok(Opaque::Cidr(cidr).into()),
            Err(why) => fail(why),
        },
        _ => no_overload(),
    }
}

fn is_canonical(args: &[Value]) -> Outcome {
    match args {
        [Value::String(text)] => match parse(text) {
            Ok(ip) => Ok(Value::Bool(ip.to_string() == **text)),
            Err(why) => fail(why),
        },
        _ => no_overload(),
    }
}

fn of_ip(args: &[Value], take: fn(IpAddr) -> Value) -> Outcome {
    match args {
        [Value::Opaque(opaque)] => match &**opaque {
            Opaque::Ip(ip) => Ok(take(*ip)),
            _ => no_overload(),
        },
        _ => no_overload(),
    }
}

fn range(value: Option<&Value>) -> Option<Cidr> {
    match value {
        Some(Value::Opaque(opaque)) => match &**opaque {
            Opaque::Cidr(cidr) => Some(*cidr),
            _ => None,
        },
        _ => None,
    }
}

fn of_cidr(args: &[Value], take: fn(&Cidr) -> Value) -> Outcome {
    range(args.first()).map_or_else(no_overload, |cidr| Ok(take(&cidr)))
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_global(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !broadcast && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !is_link_local(ip)
}

fn contains_ip(args: &[Value]) -> Outcome {
    let Some(cidr) = range(args.first()) else { return no_overload() };
    let address = match args.get(1) {
        Some(Value::String(text)) => match parse(text) {
            Ok(ip) => ip,
            Err(why) => return fail(why),
        },
        Some(Value::Opaque(opaque)) => match &**opaque {
            Opaque::Ip(ip) => *ip,
            _ => return no_overload(),
        },
        _ => return no_overload(),
    };
    Ok(Value::Bool(cidr.contains(address)))
}

fn contains_cidr(args: &[Value]) -> Outcome {
    let Some(cidr) = range(args.first()) else { return no_overload() };
    let other = match args.get(1) {
        Some(Value::String(text)) => match text.parse::<Cidr>() {
            Ok(cidr) => cidr,
            Err(why) => return fail(why),
        },
        other => match range(other) {
            Some(cidr) => cidr,
            None => return no_overload(),
        },
    };
    Ok(Value::Bool(cidr.length <= other.length && cidr.contains(other.address)))
}
