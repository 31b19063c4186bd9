//! Where something listens: a cell, because a node may come back on another port while clients run.

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
    /// An address that is this for now.
    pub fn new(at: SocketAddr) -> Self {
        Self { at: Arc::new(Mutex::new(at)) }
    }

    /// A port of the loopback interface.
    pub fn on(port: u16) -> Self {
        Self::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// What it is now.
    pub fn get(&self) -> SocketAddr {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves everybody who looks from now on.
    pub fn set(&self, at: SocketAddr) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}
