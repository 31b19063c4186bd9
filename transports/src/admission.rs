//! Admission: a limit on all connections of a node and one on those of an address. A connection holds
//! its permit until it ends, also after it has become a WebSocket.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::requests::network;

/// The limits of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// The most connections of the node.
    pub connections: usize,
    /// The most connections from one address, or from one /64 of IPv6.
    pub per_address: usize,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self { connections: 100_000, per_address: 4_096 }
    }
}

/// Counts connections and refuses those beyond the limits. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
    refused: RefusedSoFar,
}

/// How many connections have been refused, by the limit that was reached. Both only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusedSoFar {
    /// As [`Refused::Full`].
    pub full: u64,
    /// As [`Refused::AddressFull`].
    pub address_full: u64,
}

/// Why a connection was refused. A retry may succeed once others have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The node is at its connection limit.
    #[error("too many connections")]
    Full,
    /// The address is at its connection limit.
    #[error("too many connections from one address")]
    AddressFull,
}

impl Admission {
    /// Admission with these limits and no connections.
    pub fn new(limits: AdmissionLimits) -> Self {
        Self { limits, held: Arc::default() }
    }

    /// Admits a connection. Without an address, as for a proxy that many clients share, only the limit of
    /// the node applies.
    ///
    /// # Errors
    /// [`Refused`], at a limit. The caller may retry when a permit has been dropped.
    pub fn admit(&self, address: Option<IpAddr>) -> Result<Permit, Refused> {
        let (address, mut held) = (address.map(network), self.lock());
        if held.all >= self.limits.connections {
            held.refused.full += 1;
            return Err(Refused::Full);
        }
        if let Some(address) = address {
            let here = held.by_address.entry(address).or_default();
            if *here >= self.limits.per_address {
                held.refused.address_full += 1;
                return Err(Refused::AddressFull);
            }
            *here += 1;
        }
        held.all += 1;
        Ok(Permit { admission: self.clone(), address })
    }

    /// How many connections have been refused since the start.
    pub fn refused(&self) -> RefusedSoFar {
        self.lock().refused
    }

    /// How many connections are held now.
    pub fn held(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to hold a connection. Dropping it gives the capacity back.
#[derive(Debug)]
pub struct Permit {
    admission: Admission,
    address: Option<IpAddr>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut held = self.admission.lock();
        held.all -= 1;
        if let Some(address) = self.address
            && let Some(here) = held.by_address.get_mut(&address)
        {
            *here -= 1;
            if *here == 0 {
                held.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_dropped_permits_give_capacity_back() {
        let admission = Admission::new(AdmissionLimits { connections: 2, per_address: 1 });
        let [a, b, c] =
            [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]].map(|address| Some(address.into()));
        let first = admission.admit(a).unwrap();
        assert_eq!(admission.admit(a).unwrap_err(), Refused::AddressFull);
        let second = admission.admit(b).unwrap();
        assert_eq!(admission.admit(c).unwrap_err(), Refused::Full);
        drop(first);
        assert!(admission.admit(a).is_ok());
        drop(second);
        assert_eq!(admission.held(), 0);
        assert_eq!(admission.refused(), RefusedSoFar { full: 1, address_full: 1 });
        let proxy = [admission.admit(None).unwrap(), admission.admit(None).unwrap()];
        assert_eq!(admission.admit(None).unwrap_err(), Refused::Full);
        drop(proxy);
        assert_eq!(admission.held(), 0);
        assert!(admission.lock().by_address.is_empty());
    }
}
