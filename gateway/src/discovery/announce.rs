//! Keeps this node in the registry, with how full it is.

use std::time::Duration;

use pabal_core::engine::Engine;
use pabal_core::ports::{NodeInfo, RegistryError};
use tokio_util::sync::CancellationToken;

use crate::config::{self, PublicUrl};

/// What does not change of a node while it runs.
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

/// Announces the node now, so that it is found once this has returned.
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

/// Announces the node again and again, well within its lease, until `stop`. Says that it drains as
/// soon as it does.
pub async fn keep_announced(
    engine: Engine,
    info: NodeInfo,
    draining: CancellationToken,
    stop: CancellationToken,
) {
    let mut told = false;
    loop {
        let outcome = announce(&engine, info.clone(), draining.is_cancelled()).await;
        if let Err(error) = &outcome {
            tracing::warn!(%error, "this node could not be announced");
        }
        told |= outcome.is_ok() && draining.is_cancelled();
        tokio::select! {
            () = stop.cancelled() => return,
            () = draining.cancelled(), if outcome.is_ok() && !told => {}
            () = tokio::time::sleep(pause(engine.limits().lease, outcome.is_ok())) => {}
        }
    }
}

fn pause(lease: Duration, succeeded: bool) -> Duration {
    if succeeded { lease / 3 } else { lease / 10 }
}
