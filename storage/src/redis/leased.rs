//! Which nodes hold a key while their lease is valid: the common part of presence (keys are users)
//! and interest (keys are channels). Each node has one set, whose expiry is the lease, so when the
//! lease ends everything the node held is released at once.
//!
//! The sets of all nodes are in one slot. A script can therefore check in one atomic step whether
//! any other node holds a key.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pabal_core::model::NodeId;

use super::error::CallError;
use super::keyspace::Keyspace;
use super::script::{LEASED_BEGIN, LEASED_JOIN, LEASED_LEAVE, LEASED_LOCATE, LEASED_RENEW};
use super::stream;
use redis::Value;

/// The most keys in one call: a script blocks the server while it runs.
const MAX_KEYS: usize = 1_000;

/// Key → nodes.
pub(super) struct Leased {
    keyspace: Keyspace,
    tag: &'static str,
    /// The incarnation of each node that this process registered.
    registered: Mutex<HashMap<NodeId, Registered>>,
}

/// A node as this process registered it.
#[derive(Clone)]
struct Registered {
    /// A random value that distinguishes this process from others that register under the same node
    /// name.
    incarnation: String,
    /// The `run_id` of the server. A server with another one may have lost joins.
    run_id: String,
}

impl Leased {
    pub(super) fn new(keyspace: Keyspace, tag: &'static str) -> Self {
        Self { keyspace, tag, registered: Mutex::default() }
    }

    /// Registers `node` with an empty set and a lease of `lease` from now.
    pub(super) async fn begin(&self, node: &NodeId, lease: Duration) -> Result<(), CallError> {
        let incarnation = format!("{:032x}", rand::random::<u128>());
        let lease = stream::lease_ms(lease);
        let args = [node.as_str().as_bytes(), incarnation.as_bytes(), lease.as_bytes()];
        let keys = [&*self.set_of(node), &*self.nodes()];
        let reply = self.keyspace.servers.call(&LEASED_BEGIN, &keys, &args).await?;
        let run_id = reply.info.run_id.clone();
        self.registered().insert(node.clone(), Registered { incarnation, run_id });
        Ok(())
    }

    /// Extends the lease of `node` to `lease` from now. Returns false if the lease has ended,
    /// another process registered the node, or the server restarted and may have lost joins.
    pub(super) async fn renew(&self, node: &NodeId, lease: Duration) -> Result<bool, CallError> {
        let Some(registered) = self.registered().get(node).cloned() else {
            return Ok(false);
        };
        let lease = stream::lease_ms(lease);
        let args = [registered.incarnation.as_bytes(), lease.as_bytes()];
        let reply = self.keyspace.servers.call(&LEASED_RENEW, &[&self.set_of(node)], &args).await?;
        Ok(stream::number(&reply.value)? == 1 && reply.info.run_id == registered.run_id)
    }

    /// Adds `keys` to the set of `node`. For a single key, returns whether no live node held it
    /// before. Returns `None` if the lease of `node` has ended.
    pub(super) async fn join(
        &self,
        node: &NodeId,
        keys: &[String],
    ) -> Result<Option<bool>, CallError> {
        let (set, nodes, all) = (self.set_of(node), self.nodes(), self.sets());
        let incarnation = self.incarnation(node);
        let mut was_free = false;
        // With no keys the call is still made, because it detects an ended lease.
        for keys in chunks(keys) {
            let args = arguments([&incarnation, &all], keys);
            let reply = self.keyspace.servers.call(&LEASED_JOIN, &[&set, &nodes], &args).await?;
            match stream::number(&reply.value)? {
                -1 => return Ok(None),
                reply => was_free = reply == 1,
            }
        }
        Ok(Some(was_free))
    }

    /// Removes `keys` from the set of `node`. For a single key, returns whether no live node holds
    /// it now.
    pub(super) async fn leave(&self, node: &NodeId, keys: &[String]) -> Result<bool, CallError> {
        let (set, nodes, all) = (self.set_of(node), self.nodes(), self.sets());
        let incarnation = self.incarnation(node);
        let mut is_free = false;
        for keys in keys.chunks(MAX_KEYS) {
            let args = arguments([&incarnation, &all], keys);
            let reply = self.keyspace.servers.call(&LEASED_LEAVE, &[&set, &nodes], &args).await?;
            is_free = stream::number(&reply.value)? == 1;
        }
        Ok(is_free)
    }

    /// The live nodes that hold each of `keys`, in the order of `keys`.
    pub(super) async fn locate(&self, keys: &[String]) -> Result<Vec<Vec<NodeId>>, CallError> {
        let (nodes, all) = (self.nodes(), self.sets());
        let mut located = vec![Vec::new(); keys.len()];
        for (asked, located) in keys.chunks(MAX_KEYS).zip(located.chunks_mut(MAX_KEYS)) {
            let args = arguments([&all], asked);
            let reply = self.keyspace.servers.call(&LEASED_LOCATE, &[&nodes], &args).await?;
            let mut reply = stream::list(reply.value)?.into_iter();
            while let Some(name) = reply.next() {
                let unexpected = || CallError::UnexpectedReply("to leased_locate.lua".into());
                let node: NodeId = stream::text(name)?.parse().map_err(|_| unexpected())?;
                let holds = stream::list(reply.next().ok_or_else(unexpected)?)?;
                for (nodes, holds) in located.iter_mut().zip(holds) {
                    if holds == Value::Int(1) {
                        nodes.push(node.clone());
                    }
                }
            }
        }
        Ok(located)
    }

    /// The incarnation under which this process registered `node`; empty if it did not.
    fn incarnation(&self, node: &NodeId) -> String {
        self.registered().get(node).map(|it| it.incarnation.clone()).unwrap_or_default()
    }

    fn registered(&self) -> MutexGuard<'_, HashMap<NodeId, Registered>> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The common prefix of the sets of all nodes.
    fn sets(&self) -> String {
        self.keyspace.key(self.tag, "of:")
    }

    fn set_of(&self, node: &NodeId) -> String {
        format!("{}{node}", self.sets())
    }

    fn nodes(&self) -> String {
        self.keyspace.key(self.tag, "nodes")
    }
}

/// The keys in chunks; one empty chunk if there are no keys.
fn chunks(keys: &[String]) -> impl Iterator<Item = &[String]> {
    let none = keys.is_empty().then_some(keys);
    none.into_iter().chain(keys.chunks(MAX_KEYS))
}

fn arguments<'a, const N: usize>(first: [&'a str; N], keys: &'a [String]) -> Vec<&'a [u8]> {
    let keys = keys.iter().map(String::as_bytes);
    first.into_iter().map(str::as_bytes).chain(keys).collect()
}
