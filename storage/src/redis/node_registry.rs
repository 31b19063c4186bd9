//! The registry of nodes and of partition owners, in Redis, timed by the server's clock. All keys
//! are in one slot.

use std::time::Duration;

use pabal_core::model::{NodeId, Partition};
use pabal_core::ports::{BoxFuture, Lease, NodeInfo, NodeRegistry, RegistryError};
use redis::Value;
use serde::{Deserialize, Serialize};

use super::error::CallError;
use super::keyspace::Keyspace;
use super::script::{REGISTRY_HEARTBEAT, REGISTRY_LEASE, REGISTRY_NODES};
use super::stream;

const TAG: &str = "registry";

/// A [`NodeRegistry`] in Redis.
///
/// An epoch is at least the server's clock in milliseconds, so it rises even if the server lost the
/// last epoch. A lease ends earlier or later by the amount that the server's clock is adjusted, or
/// by the difference to the clock of the server after a failover.
///
/// # Errors
/// [`RegistryError::Unavailable`]: retry; the call may have been executed, and every call is
/// idempotent.
pub struct RedisNodeRegistry {
    keyspace: Keyspace,
    ends: String,
    infos: String,
    owners: String,
}

impl RedisNodeRegistry {
    pub(super) fn new(keyspace: Keyspace) -> Self {
        let [ends, infos, owners] = ["ends", "nodes", "owners"].map(|what| keyspace.key(TAG, what));
        Self { keyspace, ends, infos, owners }
    }

    async fn lease(
        &self,
        what: &str,
        partition: Partition,
        node: &str,
        epoch: u64,
        lease: Duration,
    ) -> Result<Value, CallError> {
        let (partition, epoch) = (partition.get().to_string(), epoch.to_string());
        let lease = stream::lease_ms(lease);
        let args = [what, &partition, node, &epoch, &lease].map(str::as_bytes);
        Ok(self.keyspace.servers.call(&REGISTRY_LEASE, &[&self.owners], &args).await?.value)
    }
}

/// A node's announcement, as JSON. Coordinates are strings, so that no digit is lost.
#[derive(Serialize, Deserialize)]
struct Announced {
    node: NodeId,
    url: String,
    peer_url: String,
    websocket_url: String,
    region: String,
    location: Option<[String; 2]>,
    capacity: u32,
    load: u32,
    draining: bool,
}

impl From<NodeInfo> for Announced {
    fn from(info: NodeInfo) -> Self {
        let NodeInfo { node, url, peer_url, websocket_url, region, location, .. } = info;
        let NodeInfo { capacity, load, draining, .. } = info;
        let location = location.map(|(latitude, longitude)| [latitude, longitude].map(text));
        Self { node, url, peer_url, websocket_url, region, location, capacity, load, draining }
    }
}

fn text(number: f64) -> String {
    number.to_string()
}

impl Announced {
    fn info(self) -> Option<NodeInfo> {
        let Self { node, url, peer_url, websocket_url, region, location, .. } = self;
        let Self { capacity, load, draining, .. } = self;
        let location = match location {
            None => None,
            Some([latitude, longitude]) => Some((latitude.parse().ok()?, longitude.parse().ok()?)),
        };
        Some(NodeInfo {
            node,
            url,
            peer_url,
            websocket_url,
            region,
            location,
            capacity,
            load,
            draining,
        })
    }
}

impl NodeRegistry for RedisNodeRegistry {
    fn heartbeat(
        &self,
        info: NodeInfo,
        lease: Duration,
    ) -> BoxFuture<'_, Result<(), RegistryError>> {
        Box::pin(async move {
            let node = info.node.clone();
            let announced = serde_json::to_vec(&Announced::from(info))
                .map_err(|error| RegistryError::Unavailable(error.to_string()))?;
            let lease = stream::lease_ms(lease);
            let args = [node.as_str().as_bytes(), &announced, lease.as_bytes()];
            let keys = [&*self.ends, &*self.infos];
            self.keyspace.servers.call(&REGISTRY_HEARTBEAT, &keys, &args).await?;
            Ok(())
        })
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeInfo>, RegistryError>> {
        Box::pin(async move {
            let keys = [&*self.ends, &*self.infos];
            let reply = self.keyspace.servers.call(&REGISTRY_NODES, &keys, &[]).await?;
            let mut nodes = Vec::new();
            for value in stream::list(reply.value)? {
                let value = stream::text(value)?;
                let announced = serde_json::from_str::<Announced>(&value).ok();
                match announced.and_then(Announced::info) {
                    Some(info) => nodes.push(info),
                    // A node of a newer version. It is skipped, so that the other nodes stay
                    // visible.
                    None => {
                        tracing::warn!(value, "skipped a node whose announcement cannot be decoded")
                    }
                }
            }
            nodes.sort_unstable_by(|one, other| one.node.cmp(&other.node));
            Ok(nodes)
        })
    }

    fn acquire(
        &self,
        node: &NodeId,
        partition: Partition,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Option<Lease>, RegistryError>> {
        let node = node.clone();
        Box::pin(async move {
            let reply = self.lease("acquire", partition, node.as_str(), 0, lease).await?;
            let epoch = stream::text(reply)?;
            let epoch: u64 = epoch.parse().map_err(|_| CallError::UnexpectedReply(epoch))?;
            Ok((epoch > 0).then_some(Lease { partition, node, epoch }))
        })
    }

    fn renew(&self, held: &Lease, lease: Duration) -> BoxFuture<'_, Result<bool, RegistryError>> {
        let Lease { partition, node, epoch } = held.clone();
        Box::pin(async move {
            let reply = self.lease("renew", partition, node.as_str(), epoch, lease).await?;
            Ok(stream::text(reply)? == "1")
        })
    }

    fn release(&self, held: &Lease) -> BoxFuture<'_, Result<(), RegistryError>> {
        let Lease { partition, node, epoch } = held.clone();
        Box::pin(async move {
            self.lease("release", partition, node.as_str(), epoch, Duration::ZERO).await?;
            Ok(())
        })
    }

    fn owner(&self, partition: Partition) -> BoxFuture<'_, Result<Option<NodeId>, RegistryError>> {
        Box::pin(async move {
            match self.lease("owner", partition, "", 0, Duration::ZERO).await? {
                Value::Nil => Ok(None),
                name => {
                    let name = stream::text(name)?;
                    let node = name.parse().map_err(|_| CallError::UnexpectedReply(name))?;
                    Ok(Some(node))
                }
            }
        })
    }
}

impl From<CallError> for RegistryError {
    fn from(error: CallError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
