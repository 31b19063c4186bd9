//! Spare loopback ports.

use std::net::{Ipv4Addr, TcpListener};

/// Below what Linux, and above what most services, take by themselves: a server that is restarted
/// finds its port free, although connections to others began meanwhile.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// `count` different ports that nothing listens on now. Something may by the time they are used:
/// whoever starts a server tries again with others, see
/// [`Process::start_until`](crate::Process::start_until).
///
/// # Panics
/// If there are none.
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
