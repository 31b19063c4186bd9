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
    /// Starts the servers, makes them a cluster and waits until each of them says that it is whole.
    ///
    /// # Errors
    /// [`Missing`].
    ///
    /// # Panics
    /// If they do not become one.
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

    /// Waits until every server says that all slots are served.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn whole(&self) {
        ready::until("the servers are a cluster", async || {
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

    /// Its address as a URL: all servers, any of which may be down.
    pub fn url(&self) -> String {
        let hosts: Vec<_> =
            self.shards.iter().map(|shard| format!("127.0.0.1:{}", shard.port())).collect();
        format!("redis://{}", hosts.join(","))
    }
}

async fn expect_ok(shard: &Redis, words: &[&str]) {
    let answer = shard.command(words).await;
    assert_eq!(answer, "OK", "{words:?}");
}
