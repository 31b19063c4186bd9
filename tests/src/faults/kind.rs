//! The faults: each one is injected into a cluster and ended.

use std::fmt;
use std::time::Duration;

use futures::future::join_all;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::{sleep, timeout};

use crate::cluster::{Cluster, LEASE, NODES, Queue};
use crate::node::Port;
use crate::proxy::FaultProxy;

/// How long a failover waits for a replica that can be promoted.
const REPLICA_WITHIN: Duration = Duration::from_secs(30);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `kill -9` of a node, and its restart.
    Kill,
    /// SIGSTOP of a node for longer than its lease, then SIGCONT: it continues as an owner although other nodes
    /// own its partitions.
    Pause,
    /// SIGTERM and restart of all nodes, one after another.
    RollingRestart,
    /// The wall clock of a node is an hour off for a while.
    ClockStep,
    /// `kill -9` of Redis, and its restart with its data.
    RedisRestart,
    /// `kill -9` of the primary Redis: its replica is promoted.
    RedisFailover,
    /// Connections between nodes and Redis break repeatedly.
    RedisCut,
    /// A node cannot reach Redis for longer than its lease; it reaches everything else.
    RedisAway,
    /// Calls between nodes and Redis are delayed.
    RedisSlow,
    /// Connections between clients and nodes break repeatedly and are slow.
    Clients,
    /// No fault, for the time that one takes.
    Nothing,
}

impl Kind {
    /// The faults of a cluster on one Redis.
    pub const ALONE: [Self; 10] = [
        Self::Kill,
        Self::Pause,
        Self::RollingRestart,
        Self::ClockStep,
        Self::RedisRestart,
        Self::RedisCut,
        Self::RedisAway,
        Self::RedisSlow,
        Self::Clients,
        Self::Nothing,
    ];
    /// The faults of a cluster on a Redis that fails over.
    pub const WATCHED: [Self; 2] = [Self::RedisFailover, Self::Kill];

    /// Injects the fault and ends it. Returns a description; `None` if it is impossible here and now.
    pub(super) async fn inflict(self, cluster: &Cluster, random: &mut StdRng) -> Option<String> {
        let node = random.random_range(0..NODES);
        let name = format!("n{}", node + 1);
        let mut time =
            |range: std::ops::Range<u64>| Duration::from_millis(random.random_range(range));
        match self {
            Self::Kill => {
                cluster.nodes[node].kill();
                sleep(time(0..2_000)).await;
                cluster.nodes[node].restart(Port::Same).await;
                Some(name)
            }
            Self::Pause => {
                cluster.nodes[node].pause();
                sleep(LEASE + time(500..2_000)).await;
                cluster.nodes[node].resume();
                Some(name)
            }
            Self::RollingRestart => {
                for node in &cluster.nodes {
                    node.ask_to_stop();
                    let status = node.ended().await;
                    assert!(status.success(), "a clean exit: {status}");
                    node.restart(Port::Same).await;
                    cluster.partitions_assigned().await;
                }
                Some("all".to_owned())
            }
            Self::ClockStep => {
                let offset = if time(0..2).is_zero() { 3_600 } else { -3_600 };
                if !cluster.set_clock(node, offset) {
                    return None;
                }
                sleep(time(3_000..5_000)).await;
                cluster.set_clock(node, 0);
                // The node reads the file of its clock once a second.
                sleep(Duration::from_secs(1)).await;
                Some(format!("{name} {}", if offset > 0 { "ahead" } else { "behind" }))
            }
            Self::RedisRestart => {
                let Queue::Alone(redis) = &cluster.queue else { return None };
                redis.kill();
                sleep(time(0..1_500)).await;
                redis.restart().await;
                Some("redis".to_owned())
            }
            Self::RedisFailover => {
                let Queue::Watched(servers) = &cluster.queue else { return None };
                // The server that failed last time may not be ready yet.
                let primary = timeout(REPLICA_WITHIN, servers.settled()).await.ok()?;
                servers.servers[primary].kill();
                servers.failed_over_to(1 - primary).await;
                // It considers itself primary until the Sentinel reconfigures it.
                servers.servers[primary].restart().await;
                Some("the primary".to_owned())
            }
            Self::RedisCut => {
                let (lines, whose) = some(&cluster.lines, node, time(0..2).is_zero());
                for _ in 0..5 {
                    lines.iter().for_each(|line| line.cut());
                    sleep(time(50..500)).await;
                }
                Some(whose)
            }
            Self::RedisAway => {
                cluster.lines[node].block(true);
                sleep(LEASE + time(500..2_000)).await;
                cluster.lines[node].block(false);
                Some(name)
            }
            Self::RedisSlow => {
                let (lines, whose) = some(&cluster.lines, node, time(0..2).is_zero());
                let delay = time(20..100);
                lines.iter().for_each(|line| line.delay(delay));
                sleep(time(2_000..4_000)).await;
                lines.iter().for_each(|line| line.delay(Duration::ZERO));
                Some(format!("{whose} by {delay:?}"))
            }
            Self::Clients => {
                let delay = time(5..50);
                let pauses: Vec<_> = (0..NODES * 6).map(|_| time(50..400)).collect();
                let each =
                    cluster.doors.iter().zip(pauses.chunks(6)).map(async |(door, pauses)| {
                        door.delay(delay);
                        for pause in pauses {
                            door.cut();
                            sleep(*pause).await;
                        }
                        door.delay(Duration::ZERO);
                    });
                join_all(each).await;
                Some(format!("all doors, {delay:?}"))
            }
            Self::Nothing => {
                sleep(time(2_000..3_000)).await;
                Some("none".to_owned())
            }
        }
    }
}

/// One of them or all of them, with a description.
fn some(lines: &[FaultProxy], node: usize, all: bool) -> (Vec<&FaultProxy>, String) {
    if all {
        return (lines.iter().collect(), "all".to_owned());
    }
    (vec![&lines[node]], format!("n{}", node + 1))
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kill => "kill -9 of a node",
            Self::Pause => "a node stops beyond its lease",
            Self::RollingRestart => "rolling restart",
            Self::ClockStep => "a clock an hour off",
            Self::RedisRestart => "kill -9 of Redis",
            Self::RedisFailover => "failover of Redis",
            Self::RedisCut => "connections to Redis cut",
            Self::RedisAway => "Redis unavailable beyond a lease",
            Self::RedisSlow => "connections to Redis slow",
            Self::Clients => "connections of clients cut",
            Self::Nothing => "no fault",
        })
    }
}
