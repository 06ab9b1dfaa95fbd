//! Where a port of the loopback network really listens.
//!
//! An ordinary user may not bind a port below 1024. Such a port of a pod or of a Service is then listened on at
//! 64512 above it (64512..=65535, the top of the range, which the kernel's ephemeral ports leave alone), and whoever
//! dials a cluster address applies the same rule.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::OnceLock,
};

pub use apimachinery::addresses::is_cluster_address;

/// The first port that an ordinary user may bind, and the distance to the top of the range that stands in for them.
const PRIVILEGED_PORTS_END: u16 = 1024;
const MOVED_BY: u16 = u16::MAX - PRIVILEGED_PORTS_END + 1;

/// Where `port` of a cluster address is listened on in this process's privileges: `port` itself, or `64512 + port`
/// for a privileged port that may not be bound.
pub fn listen_port(port: u16) -> u16 {
    moved(port, may_bind_privileged())
}

/// The number a guest sees for a port that is really listened on at `port`: the inverse of [`listen_port`].
pub fn shown_port(port: u16) -> u16 {
    if port >= MOVED_BY && !may_bind_privileged() { port - MOVED_BY } else { port }
}

/// Where to dial in order to reach `address`: only ports of cluster addresses are moved.
pub fn dial_address(address: SocketAddr) -> SocketAddr {
    if is_cluster_address(address.ip()) { SocketAddr::new(address.ip(), listen_port(address.port())) } else { address }
}

/// Zero means "any port" and is never moved.
fn moved(port: u16, may_bind: bool) -> u16 {
    if may_bind || port == 0 || port >= PRIVILEGED_PORTS_END { port } else { MOVED_BY + port }
}

/// Found once in a process, by trying: it covers root, capabilities and a lowered limit alike.
fn may_bind_privileged() -> bool {
    static MAY_BIND: OnceLock<bool> = OnceLock::new();
    *MAY_BIND.get_or_init(|| {
        // An address of the range that neither pods nor Services use, so the port is free.
        let probe = Ipv4Addr::new(127, 127, 255, 254);
        match TcpListener::bind((probe, PRIVILEGED_PORTS_END - 1)) {
            Ok(_) => true,
            // Another process that probes at this moment, or holds the port everywhere, was allowed to.
            Err(error) => error.kind() != std::io::ErrorKind::PermissionDenied,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileged_ports_move_to_the_top_only_when_they_may_not_be_bound() {
        assert_eq!(moved(80, false), 64_592);
        assert_eq!(moved(1023, false), 65_535);
        assert_eq!(moved(1024, false), 1024);
        assert_eq!(moved(0, false), 0);
        assert_eq!(moved(80, true), 80);
    }

    #[test]
    fn a_guest_sees_the_port_it_asked_for() {
        for port in [0, 1, 80, 443, 1023, 1024, 8080, 30_000] {
            assert_eq!(shown_port(listen_port(port)), port);
        }
    }

    #[test]
    fn only_cluster_addresses_are_moved() {
        let outside: SocketAddr = "10.1.2.3:80".parse().expect("an address");
        assert_eq!(dial_address(outside), outside);
        let host: SocketAddr = "127.0.0.1:80".parse().expect("an address");
        assert_eq!(dial_address(host), host);
        let service: SocketAddr = "127.96.0.10:53".parse().expect("an address");
        assert_eq!(dial_address(service).port(), listen_port(53));
    }
}
