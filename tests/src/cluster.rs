//! Three nodes on one Redis, one PostgreSQL and one Cassandra, on loopback ports. Proxies inject faults on every
//! network path: between clients and each node, and between each node and Redis.
//!
//! ```text
//! clients → balancer → door of n1 → n1 → line of n1 → Redis
//!                    → door of n2 → n2 → line of n2 ↗
//! ```

use std::process::Command;
use std::time::Duration;

use pabal_servers::redis::RedisSentinel;
use pabal_servers::{Cassandra, Missing, Postgres, Redis, Shared, spare_ports};

use crate::address::Address;
use crate::balancer::Balancer;
use crate::binary;
use crate::clock::Clocks;
use crate::node::{Node, Port};
use crate::proxy::FaultProxy;
use crate::wait;

/// The number of nodes.
pub const NODES: usize = 3;
/// The lease of a node: short, so that tests wait less.
pub const LEASE: Duration = Duration::from_secs(3);
/// The number of partitions, which the nodes share.
pub const PARTITIONS: f64 = 16.0;

/// The servers that are slow to start, shared by every cluster of a process.
#[derive(Debug)]
pub struct Stores {
    postgres: &'static Postgres,
    cassandra: &'static Cassandra,
}

impl Stores {
    /// Starts them, or returns the running ones.
    ///
    /// # Errors
    /// [`Missing`].
    pub async fn shared() -> Result<Self, Missing> {
        static POSTGRES: Shared<Postgres> = Shared::new();
        static CASSANDRA: Shared<Cassandra> = Shared::new();
        let postgres = POSTGRES.get(Postgres::start, Postgres::folder);
        let cassandra = CASSANDRA.get(Cassandra::start, Cassandra::folder);
        let (postgres, cassandra) = futures::future::join(postgres, cassandra).await;
        Ok(Self { postgres: postgres?, cassandra: cassandra? })
    }
}

/// The queue of the nodes.
#[derive(Debug)]
pub enum Queue {
    /// One Redis, which each node reaches through a proxy of its own.
    Alone(Box<Redis>),
    /// A primary with a replica, which a Sentinel promotes when the primary fails. Nodes learn its address
    /// from the Sentinel, so there are no proxies.
    Watched(Box<RedisSentinel>),
}

/// Nodes `n1` to `n3`. All processes end when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// In front of all nodes.
    pub balancer: Balancer,
    /// In front of each node: the address for clients, to which other nodes redirect them as well.
    pub doors: Vec<FaultProxy>,
    /// The nodes. They reach each other without a proxy.
    pub nodes: Vec<Node>,
    /// Between each node and Redis; none with a Sentinel.
    pub lines: Vec<FaultProxy>,
    /// Their queue.
    pub queue: Queue,
    clocks: Option<Clocks>,
}

impl Cluster {
    /// Starts a cluster on a Redis of its own.
    ///
    /// # Errors
    /// [`Missing`].
    ///
    /// # Panics
    /// If the cluster does not become ready.
    pub async fn on_its_own() -> Result<Self, Missing> {
        Self::start(Queue::Alone(Box::new(Redis::start().await?))).await
    }

    /// Starts a cluster with stores of its own and waits until every node owns partitions.
    ///
    /// # Errors
    /// [`Missing`].
    ///
    /// # Panics
    /// If the cluster does not become ready.
    pub async fn start(queue: Queue) -> Result<Self, Missing> {
        let stores = Stores::shared().await?;
        let (directory, history) = (stores.postgres.database().await, stores.cassandra.keyspace());
        migrate(&directory, &history).await;
        let ports = spare_ports(NODES);
        let (mut doors, mut lines, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
        let clocks = Clocks::installed();
        for (number, port) in ports.into_iter().enumerate() {
            let url = match &queue {
                Queue::Alone(redis) => {
                    let line = FaultProxy::to(&Address::on(redis.port())).await;
                    let url = format!("redis://{}", line.address().get());
                    lines.push(line);
                    url
                }
                Queue::Watched(servers) => servers.url(),
            };
            let address = Address::on(port);
            let door = FaultProxy::to(&address).await;
            let mut settings = vec![
                ("PABAL_NODE_NAME", format!("n{}", number + 1)),
                ("PABAL_NODE_LEASE_MS", LEASE.as_millis().to_string()),
                ("PABAL_NODE_PEER_URL", format!("http://{}", address.get())),
                ("PABAL_SERVER_PUBLIC_URL", format!("http://{}", door.address().get())),
                ("PABAL_SERVER_TRUSTED_PROXIES", r#"["127.0.0.0/8"]"#.to_owned()),
                ("PABAL_SERVER_RECONNECT_AFTER_MS", "500".to_owned()),
                // Shorter than the deadline of senders, so that the node reports it.
                ("PABAL_LIMITS_CONFIRM_WITHIN_MS", "4000".to_owned()),
                ("PABAL_STORAGE_QUEUE", url),
                ("PABAL_STORAGE_HISTORY", history.clone()),
                ("PABAL_STORAGE_DIRECTORY", directory.clone()),
            ];
            if let Some(clocks) = &clocks {
                settings.extend(clocks.settings(number));
            }
            let settings: Vec<_> =
                settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
            nodes.push(Node::to_come(port, &settings));
            doors.push(door);
        }
        let balancer = Balancer::before(doors.iter().map(|it| it.address().clone()).collect());
        let cluster = Self { balancer: balancer.await, doors, nodes, lines, queue, clocks };
        let all = cluster.nodes.iter().map(|node| node.restart(Port::Same));
        futures::future::join_all(all).await;
        cluster.partitions_assigned().await;
        Ok(cluster)
    }

    /// Waits until every partition has an owner and every node owns at least one.
    pub async fn partitions_assigned(&self) {
        wait::until("all partitions have an owner", async || {
            let mut owned = Vec::new();
            for node in &self.nodes {
                owned.push(node.try_metrics().await?.get("pabal_partitions"));
            }
            let all = owned.iter().sum::<f64>();
            (owned.iter().all(|it| *it >= 1.0) && all == PARTITIONS).then_some(())
        })
        .await;
    }

    /// Shifts the wall clock of a running node. Returns false if this machine does not support it.
    pub fn set_clock(&self, node: usize, offset_seconds: i64) -> bool {
        let clocks = self.clocks.as_ref();
        clocks.inspect(|clocks| clocks.set(node, offset_seconds)).is_some()
    }
}

/// Creates the tables, as an operator does.
///
/// # Panics
/// If it fails.
pub async fn migrate(directory: &str, history: &str) {
    let mut command = Command::new(binary::path());
    command.arg("migrate").env("PABAL_STORAGE_HISTORY", history);
    command.env("PABAL_STORAGE_DIRECTORY", directory);
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.expect("the task ends").expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the migration failed: {said}");
}
