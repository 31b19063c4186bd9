//! The address of a listener, which may change: a node may restart on another port while clients run.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// An address that may change. Clones share it.
#[derive(Clone, Debug)]
pub struct Address {
    at: Arc<Mutex<SocketAddr>>,
}

impl Default for Address {
    fn default() -> Self {
        Self::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }
}

impl Address {
    /// An address with this value.
    pub fn new(at: SocketAddr) -> Self {
        Self { at: Arc::new(Mutex::new(at)) }
    }

    /// A port of the loopback interface.
    pub fn on(port: u16) -> Self {
        Self::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// The current value.
    pub fn get(&self) -> SocketAddr {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the address for all clones.
    pub fn set(&self, at: SocketAddr) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}
