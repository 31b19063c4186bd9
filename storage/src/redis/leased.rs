//! Which nodes hold a key while their lease lives: what presence (users) and interest (channels) have
//! in common. Each node has one set, whose expiry is its lease; so when it ends, all that the node
//! held is gone at once.
//!
//! The sets of all nodes are in one slot, so that a script sees them together: which user was nowhere
//! else before, one step can tell.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pabal_core::model::NodeId;

use super::RedisStore;
use super::error::CallError;
use super::script::{LEASED_BEGIN, LEASED_JOIN, LEASED_LEAVE, LEASED_LOCATE, LEASED_RENEW};
use super::stream;
use redis::Value;

/// As many keys as one call names: it must not hold the server up.
const TOGETHER: usize = 1_000;

/// Key → nodes.
pub(super) struct Leased {
    store: RedisStore,
    tag: &'static str,
    /// As what this process began to be a node.
    begun: Mutex<HashMap<NodeId, Begun>>,
}

/// A node that this process is.
#[derive(Clone)]
struct Begun {
    /// Tells it from other processes that took its name.
    incarnation: String,
    /// The run of the server. Another one may not know of joins that this one knew.
    run: String,
}

impl Leased {
    pub(super) fn new(store: RedisStore, tag: &'static str) -> Self {
        Self { store, tag, begun: Mutex::default() }
    }

    /// `node` begins anew, alive for `lease` from now and holding nothing.
    pub(super) async fn begin(&self, node: &NodeId, lease: Duration) -> Result<(), CallError> {
        let incarnation = format!("{:032x}", rand::random::<u128>());
        let lease = stream::lease_ms(lease);
        let args = [node.as_str().as_bytes(), incarnation.as_bytes(), lease.as_bytes()];
        let keys = [&*self.set_of(node), &*self.nodes()];
        let answer = self.store.servers.call(&LEASED_BEGIN, &keys, &args).await?;
        let run = answer.about.run.clone();
        self.begun().insert(node.clone(), Begun { incarnation, run });
        Ok(())
    }

    /// `node` is alive for `lease` from now; false if it lapsed, or its server may have forgotten
    /// what it joined.
    pub(super) async fn renew(&self, node: &NodeId, lease: Duration) -> Result<bool, CallError> {
        let Some(begun) = self.begun().get(node).cloned() else {
            return Ok(false);
        };
        let lease = stream::lease_ms(lease);
        let args = [begun.incarnation.as_bytes(), lease.as_bytes()];
        let answer = self.store.servers.call(&LEASED_RENEW, &[&self.set_of(node)], &args).await?;
        Ok(stream::number(&answer.value)? == 1 && answer.about.run == begun.run)
    }

    /// `node` holds `keys` from now on. Answers, of a single key, whether no living node held it; or
    /// nothing if `node` does not live.
    pub(super) async fn join(
        &self,
        node: &NodeId,
        keys: &[String],
    ) -> Result<Option<bool>, CallError> {
        let (set, nodes, all) = (self.set_of(node), self.nodes(), self.sets());
        let incarnation = self.incarnation(node);
        let mut nobody_did = false;
        // Without keys too, for the lapse that it may tell.
        for keys in chunks(keys) {
            let args = arguments([&incarnation, &all], keys);
            let answer = self.store.servers.call(&LEASED_JOIN, &[&set, &nodes], &args).await?;
            match stream::number(&answer.value)? {
                -1 => return Ok(None),
                answer => nobody_did = answer == 1,
            }
        }
        Ok(Some(nobody_did))
    }

    /// `node` holds `keys` no more. Answers, of a single key, whether no living node does now.
    pub(super) async fn leave(&self, node: &NodeId, keys: &[String]) -> Result<bool, CallError> {
        let (set, nodes, all) = (self.set_of(node), self.nodes(), self.sets());
        let incarnation = self.incarnation(node);
        let mut nobody_does = false;
        for keys in keys.chunks(TOGETHER) {
            let args = arguments([&incarnation, &all], keys);
            let answer = self.store.servers.call(&LEASED_LEAVE, &[&set, &nodes], &args).await?;
            nobody_does = stream::number(&answer.value)? == 1;
        }
        Ok(nobody_does)
    }

    /// The living nodes that hold each of `keys`, in the order asked.
    pub(super) async fn locate(&self, keys: &[String]) -> Result<Vec<Vec<NodeId>>, CallError> {
        let (nodes, all) = (self.nodes(), self.sets());
        let mut located = vec![Vec::new(); keys.len()];
        for (asked, located) in keys.chunks(TOGETHER).zip(located.chunks_mut(TOGETHER)) {
            let args = arguments([&all], asked);
            let answer = self.store.servers.call(&LEASED_LOCATE, &[&nodes], &args).await?;
            let mut answer = stream::list(answer.value)?.into_iter();
            while let Some(name) = answer.next() {
                let nonsense = || CallError::Nonsense("to which nodes hold keys".into());
                let node: NodeId = stream::text(name)?.parse().map_err(|_| nonsense())?;
                let holds = stream::list(answer.next().ok_or_else(nonsense)?)?;
                for (nodes, holds) in located.iter_mut().zip(holds) {
                    if holds == Value::Int(1) {
                        nodes.push(node.clone());
                    }
                }
            }
        }
        Ok(located)
    }

    /// What this process began to be `node` as; nothing if another one did.
    fn incarnation(&self, node: &NodeId) -> String {
        self.begun().get(node).map(|begun| begun.incarnation.clone()).unwrap_or_default()
    }

    fn begun(&self) -> MutexGuard<'_, HashMap<NodeId, Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all sets of nodes begin with.
    fn sets(&self) -> String {
        self.store.key(self.tag, "of:")
    }

    fn set_of(&self, node: &NodeId) -> String {
        format!("{}{node}", self.sets())
    }

    fn nodes(&self) -> String {
        self.store.key(self.tag, "nodes")
    }
}

/// The keys in parts; one part without any if there are none.
fn chunks(keys: &[String]) -> impl Iterator<Item = &[String]> {
    let none = keys.is_empty().then_some(keys);
    none.into_iter().chain(keys.chunks(TOGETHER))
}

fn arguments<'a, const N: usize>(first: [&'a str; N], keys: &'a [String]) -> Vec<&'a [u8]> {
    let keys = keys.iter().map(String::as_bytes);
    first.into_iter().map(str::as_bytes).chain(keys).collect()
}
