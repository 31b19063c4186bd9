//! What other nodes believe of this one, by lease: that it lives, whom it has and what it wants.

use std::collections::HashSet;
use std::sync::Arc;

use super::Engine;
use super::session::{EndReason, Session};
use super::sessions::RETRY;
use crate::ports::{InterestError, PresenceError};

/// Keeps the leases of this node, for ever. A node that was paused beyond one begins again.
pub(super) async fn keep(engine: Engine) {
    let inner = &engine.inner;
    let lease = inner.limits.lease;
    loop {
        let present = inner.ports.presence.renew(&inner.node, lease).await;
        let present = present.inspect_err(|error| tracing::warn!(%error, "presence is away"));
        let interested = inner.ports.interest.renew(&inner.node, lease).await;
        let interested = interested.inspect_err(|error| tracing::warn!(%error, "interest is away"));
        if matches!(present, Ok(false)) || matches!(interested, Ok(false)) {
            // Messages, and the end of tokens, passed its sessions by. They catch up from history.
            tracing::error!("this node's lease had ended: ending its sessions");
            let mut ended = Vec::new();
            while let Err(error) = engine.begin_again(&mut ended).await {
                tracing::warn!(%error, "the node cannot begin again");
                tokio::time::sleep(RETRY).await;
            }
            // Beside the leases, which must not wait for it.
            let clearing = engine.clone();
            engine.spawn(async move { clearing.clear_away(&ended).await });
        }
        tokio::time::sleep(lease / 3).await;
    }
}

/// Why a node could not begin again.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum Away {
    Presence(#[from] PresenceError),
    Interest(#[from] InterestError),
}

impl Engine {
    /// Takes new leases, and joins with them what is here now: sessions that open while the others
    /// are being cleared away rely on it. The others go to `ended`.
    async fn begin_again(&self, ended: &mut Vec<Arc<Session>>) -> Result<(), Away> {
        let (ports, node, lease) = (&self.inner.ports, &self.inner.node, self.inner.limits.lease);
        {
            let _one_at_a_time = self.inner.interest.lock().await;
            // Before this node wants anything again: the next message would hide from their clients
            // that there were others before it.
            ended.extend(self.tell_all(EndReason::Draining));
            ports.interest.begin(node, lease).await?;
            ports.interest.join(node, &self.inner.local.wanted()).await?;
        }
        ports.presence.begin(node, lease).await?;
        let users: HashSet<_> =
            self.inner.local.all().iter().map(|session| session.user_id()).collect();
        for user_id in users {
            let _turn = self.inner.present.turn(user_id).await;
            if !self.inner.local.of_user(user_id).is_empty() {
                ports.presence.join(node, user_id).await?;
            }
        }
        Ok(())
    }
}
