//! Spare loopback ports.

use std::net::{Ipv4Addr, TcpListener};

/// Below the ephemeral ports of Linux, and above the ports of most services: the port of a server that is
/// restarted stays free, although other connections are opened meanwhile.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// `count` different ports without a listener. A port may be taken before it is used: the caller then tries again
/// with other ports, see [`Process::start_until`](crate::Process::start_until).
///
/// # Panics
/// If there are not enough ports.
pub fn spare_ports(count: usize) -> Vec<u16> {
    let mut held = Vec::new();
    for _ in 0..1_000 {
        if held.len() == count {
            break;
        }
        let port = rand::random_range(RANGE);
        held.extend(
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(|listener| (port, listener)),
        );
    }
    assert_eq!(held.len(), count, "no spare ports");
    held.into_iter().map(|(port, _)| port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_ports_differ_and_can_be_bound() {
        let ports = spare_ports(8);
        let listeners: Vec<_> =
            ports.iter().map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port))).collect();
        assert!(listeners.iter().all(Result::is_ok), "{listeners:?}");
    }
}
