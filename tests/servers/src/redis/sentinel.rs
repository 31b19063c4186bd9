//! A primary, its replica, and a Sentinel that promotes the replica when the primary fails.

use super::Redis;
use crate::{Missing, ready};

/// The Sentinel's name for the primary.
const MASTER: &str = "pabal";

/// A primary with a replica and a Sentinel.
#[derive(Debug)]
pub struct RedisSentinel {
    /// The two servers; the first was primary in the beginning.
    pub servers: [Redis; 2],
    /// The Sentinel that monitors them.
    pub sentinel: Redis,
}

impl RedisSentinel {
    /// Starts all three, and waits until the replica follows and the Sentinel knows it.
    ///
    /// # Errors
    /// [`Missing`].
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn start() -> Result<Self, Missing> {
        // By default a primary waits 5 s for more replicas before it synchronises the first one.
        let primary = Redis::start_with(&[("repl-diskless-sync-delay", "0")]).await?;
        let of = format!("127.0.0.1 {}", primary.port());
        let replica = Redis::start_with(&[("replicaof", &of)]).await?;
        let monitor = format!("monitor {MASTER} {of} 1");
        let sentinel = Redis::start_sentinel(&[
            &monitor,
            &format!("down-after-milliseconds {MASTER} 1000"),
            &format!("failover-timeout {MASTER} 4000"),
        ])
        .await?;
        let started = Self { servers: [primary, replica], sentinel };
        ready::until("the replica follows and the sentinel knows it", async || {
            let info = started.servers[1].command(&["INFO", "replication"]).await;
            let known = started.sentinel.command(&["SENTINEL", "MASTER", MASTER]).await;
            let known: Vec<_> = known.lines().collect();
            let slaves = known.windows(2).find(|pair| pair[0] == "num-slaves")?;
            (info.contains("master_link_status:up") && slaves[1] == "1").then_some(())
        })
        .await;
        Ok(started)
    }

    /// The URL of the Sentinel with the name of the primary.
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/{MASTER}", self.sentinel.port())
    }

    /// The number of the server that the Sentinel reports as primary.
    pub async fn primary(&self) -> Option<usize> {
        let response =
            self.sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]).await;
        let port: u16 = response.lines().nth(1)?.parse().ok()?;
        self.servers.iter().position(|server| server.port() == port)
    }

    /// Waits until the Sentinel and server `number` itself report it as primary.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn failed_over_to(&self, number: usize) {
        ready::until("the sentinel has failed over", async || {
            let info = self.servers[number].command(&["INFO", "replication"]).await;
            let is = self.primary().await == Some(number) && info.contains("role:master");
            is.then_some(())
        })
        .await;
    }

    /// Waits until one server replicates the other and the Sentinel monitors both. Returns which one is primary:
    /// on a busy machine the Sentinel may have replaced a primary that was only slow, so the caller cannot know.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn settled(&self) -> usize {
        ready::until("one server follows the other", async || {
            let primary = self.primary().await?;
            let replica = &self.servers[1 - primary];
            let info = replica.command(&["INFO", "replication"]).await;
            let known = self.sentinel.command(&["SENTINEL", "REPLICAS", MASTER]).await;
            let port = replica.port().to_string();
            let well = known.lines().any(|line| line == port)
                && known.lines().any(|line| line == "ok")
                && !known.contains("s_down");
            (info.contains("role:slave") && info.contains("master_link_status:up") && well)
                .then_some(primary)
        })
        .await
    }
}
