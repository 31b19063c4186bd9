//! The keys of one namespace on the Redis servers. Owns how keys are named; the port adapters share it.

use std::sync::Arc;

use super::servers::Servers;

/// A namespace on the Redis servers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Keyspace {
    pub(super) servers: Arc<Servers>,
    pub(super) namespace: Arc<str>,
}

impl Keyspace {
    /// The key of `what` in the slot that all keys of this `tag` share.
    pub(super) fn key(&self, tag: &str, what: &str) -> String {
        format!("{{{}:{tag}}}:{what}", self.namespace)
    }
}
