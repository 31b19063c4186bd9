//! A Redis Cluster of three servers, each with a third of the slots.

use super::Redis;
use crate::{Missing, ready};

/// Slots of a server: first and last.
const SHARDS: [(&str, &str); 3] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];

/// A Redis Cluster.
#[derive(Debug)]
pub struct RedisCluster {
    /// Its servers, in the order of their slots.
    pub shards: Vec<Redis>,
}

impl RedisCluster {
    /// Starts the servers, joins them to a cluster and waits until each of them reports it complete.
    ///
    /// # Errors
    /// [`Missing`].
    ///
    /// # Panics
    /// If the cluster does not become complete.
    pub async fn start() -> Result<Self, Missing> {
        let mut shards = Vec::new();
        let mut buses = Vec::new();
        for _ in SHARDS {
            let settings = [("cluster-enabled", "yes"), ("cluster-node-timeout", "2000")];
            let shard =
                Redis::start_on(&settings, |bus| vec![("cluster-port", bus.to_string())]).await?;
            buses.push(shard.command(&["CONFIG", "GET", "cluster-port"]).await);
            shards.push(shard);
        }
        for (number, (shard, (first, last))) in shards.iter().zip(SHARDS).enumerate() {
            let epoch = (number + 1).to_string();
            expect_ok(shard, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
            expect_ok(shard, &["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
        }
        for (shard, bus) in shards.iter().zip(&buses).skip(1) {
            let port = shard.port().to_string();
            let bus = bus.lines().last().expect("a port");
            expect_ok(&shards[0], &["CLUSTER", "MEET", "127.0.0.1", &port, bus]).await;
        }
        let cluster = Self { shards };
        cluster.whole().await;
        Ok(cluster)
    }

    /// Waits until every server reports that all slots are served.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn whole(&self) {
        ready::until("the cluster is complete", async || {
            for shard in &self.shards {
                let info = shard.command(&["CLUSTER", "INFO"]).await;
                let nodes = shard.command(&["CLUSTER", "NODES"]).await;
                if !info.contains("cluster_state:ok")
                    || !info.contains("cluster_slots_ok:16384")
                    || nodes.lines().count() != self.shards.len()
                {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// The slot of a key.
    ///
    /// # Panics
    /// If the first server does not respond.
    pub async fn slot_of(&self, key: &str) -> u16 {
        let slot = self.shards[0].command(&["CLUSTER", "KEYSLOT", key]).await;
        slot.parse().expect("a slot")
    }

    /// Begins to move a slot from a server to another one. The first server then redirects each call for a key
    /// that it does not have to the other one (ASK).
    ///
    /// # Panics
    /// If one of them refuses.
    pub async fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let [from, to] = [&self.shards[from], &self.shards[to]];
        let (slot, from_id) = (slot.to_string(), from.command(&["CLUSTER", "MYID"]).await);
        let to_id = to.command(&["CLUSTER", "MYID"]).await;
        expect_ok(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await;
        expect_ok(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await;
    }

    /// Moves every key of a slot that is being moved.
    ///
    /// # Panics
    /// If the server refuses.
    pub async fn move_keys(&self, slot: u16, from: usize, to: usize) {
        let (slot, port) = (slot.to_string(), self.shards[to].port().to_string());
        let from = &self.shards[from];
        loop {
            let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"]).await;
            if keys.is_empty() {
                return;
            }
            let moved = from.command(&["MIGRATE", "127.0.0.1", &port, &keys, "0", "5000"]).await;
            assert!(moved == "OK" || moved == "NOKEY", "{keys} moves: {moved}");
        }
    }

    /// Ends a move: the other server owns the slot.
    ///
    /// # Panics
    /// If a server refuses.
    pub async fn end_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, id) = (slot.to_string(), self.shards[to].command(&["CLUSTER", "MYID"]).await);
        for shard in [to, from] {
            expect_ok(&self.shards[shard], &["CLUSTER", "SETSLOT", &slot, "NODE", &id]).await;
        }
    }

    /// The URL of the cluster. It names every server; some of them may be down.
    pub fn url(&self) -> String {
        let hosts: Vec<_> =
            self.shards.iter().map(|shard| format!("127.0.0.1:{}", shard.port())).collect();
        format!("redis://{}", hosts.join(","))
    }
}

async fn expect_ok(shard: &Redis, words: &[&str]) {
    let response = shard.command(words).await;
    assert_eq!(response, "OK", "{words:?}");
}
