//! Keeps the entry of this node in the registry up to date.

use std::time::Duration;

use pabal_core::engine::Engine;
use pabal_core::ports::{NodeInfo, RegistryError};
use tokio_util::sync::CancellationToken;

use crate::config::{self, PublicUrl};

/// The part of a node's registry entry that does not change while the node runs.
pub fn node_info(
    engine: &Engine,
    node: &config::Node,
    url: &PublicUrl,
    peer_url: &PublicUrl,
) -> NodeInfo {
    NodeInfo {
        node: engine.node().clone(),
        url: url.http(),
        peer_url: peer_url.http(),
        websocket_url: format!("{}/v1/websocket", url.websocket()),
        region: node.region.clone(),
        location: node.latitude.zip(node.longitude),
        capacity: node.capacity,
        load: 0,
        draining: false,
    }
}

/// Writes the registry entry with the current load. On return other nodes and clients find the
/// node, until its lease ends.
///
/// # Errors
/// [`RegistryError`]; retry.
pub async fn announce(
    engine: &Engine,
    mut info: NodeInfo,
    draining: bool,
) -> Result<(), RegistryError> {
    info.load = u32::try_from(engine.stats().sessions).unwrap_or(u32::MAX);
    info.draining = draining;
    let lease = engine.limits().lease;
    engine.ports().registry.heartbeat(info, lease).await
}

/// Renews the registry entry well within the lease, until `stop`. When the node begins to drain,
/// the entry says so at once.
pub async fn keep_announced(
    engine: Engine,
    info: NodeInfo,
    draining: CancellationToken,
    stop: CancellationToken,
) {
    let mut draining_announced = false;
    loop {
        let outcome = announce(&engine, info.clone(), draining.is_cancelled()).await;
        if let Err(error) = &outcome {
            tracing::warn!(%error, "cannot announce this node in the registry; retrying");
        }
        draining_announced |= outcome.is_ok() && draining.is_cancelled();
        tokio::select! {
            () = stop.cancelled() => return,
            () = draining.cancelled(), if outcome.is_ok() && !draining_announced => {}
            () = tokio::time::sleep(pause(engine.limits().lease, outcome.is_ok())) => {}
        }
    }
}

fn pause(lease: Duration, succeeded: bool) -> Duration {
    if succeeded { lease / 3 } else { lease / 10 }
}
