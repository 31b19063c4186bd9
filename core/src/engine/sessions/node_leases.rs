//! The leases under which other nodes see this node's presence and interest.

use std::sync::Arc;
use std::time::Duration;

use super::end_reason::EndReason;
use super::lifecycle::SessionLifecycle;
use super::node_interest::NodeInterest;
use super::session::Session;
use super::user_presence::UserPresence;
use crate::ports::{InterestError, PresenceError};

/// How long the node waits before it tries again to take new leases.
const RETRY: Duration = Duration::from_millis(500);

/// Renews the leases of this node.
pub(in crate::engine) struct NodeLeases {
    pub(in crate::engine) lease: Duration,
    pub(in crate::engine) presence: Arc<UserPresence>,
    pub(in crate::engine) interest: Arc<NodeInterest>,
    pub(in crate::engine) sessions: Arc<SessionLifecycle>,
}

/// Why a node could not take new leases.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum LeaseError {
    Presence(#[from] PresenceError),
    Interest(#[from] InterestError),
}

impl NodeLeases {
    /// Renews the leases three times in the length of one. A node that was paused for longer than a
    /// lease ends its sessions and takes new leases. Never returns.
    pub(in crate::engine) async fn keep(self) {
        loop {
            let present = self.presence.renew(self.lease).await;
            let present =
                present.inspect_err(|error| tracing::warn!(%error, "presence unavailable"));
            let interested = self.interest.renew(self.lease).await;
            let interested =
                interested.inspect_err(|error| tracing::warn!(%error, "interest unavailable"));
            if matches!(present, Ok(false)) || matches!(interested, Ok(false)) {
                // The sessions missed messages, and perhaps the end of their tokens. Their clients
                // catch up from history.
                tracing::error!("the lease of this node had ended: its sessions end");
                let mut ended = Vec::new();
                while let Err(error) = self.begin_again(&mut ended).await {
                    tracing::warn!(%error, "no new lease");
                    tokio::time::sleep(RETRY).await;
                }
                // The renewal of the leases must not wait for it.
                self.sessions.remove_in_background(ended);
            }
            tokio::time::sleep(self.lease / 3).await;
        }
    }

    /// Takes new leases, and registers under them what the session table holds: a session that opens
    /// while ended ones are being removed relies on that. The ended sessions go to `ended`.
    async fn begin_again(&self, ended: &mut Vec<Arc<Session>>) -> Result<(), LeaseError> {
        let end_sessions = || ended.extend(self.sessions.end_all(EndReason::Draining));
        self.interest.begin_again(self.lease, end_sessions).await?;
        self.presence.begin_again(self.lease).await?;
        Ok(())
    }
}
