//! In which channels this node is interested: those to which one of its sessions subscribes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::session::Session;
use super::session_table::SessionTable;
use crate::model::{ChannelId, NodeId, UserId};
use crate::ports::{Interest, InterestError};

/// Keeps the interest that other nodes see equal to the channels of the session table.
pub(in crate::engine) struct NodeInterest {
    node: NodeId,
    interest: Arc<dyn Interest>,
    table: Arc<SessionTable>,
    /// Serialises changes of the table with the calls that publish them: a leave must not overtake a
    /// join.
    turn: Mutex<()>,
}

impl NodeInterest {
    pub(in crate::engine) fn new(
        node: NodeId,
        interest: Arc<dyn Interest>,
        table: Arc<SessionTable>,
    ) -> Self {
        Self { node, interest, table, turn: Mutex::default() }
    }

    /// Subscribes a session to `channels`.
    ///
    /// # Errors
    /// If interest is unavailable: the session is subscribed to nothing. Retry.
    pub(super) async fn subscribe(
        &self,
        session: &Arc<Session>,
        channels: impl Iterator<Item = ChannelId>,
    ) -> Result<(), InterestError> {
        let _turn = self.turn.lock().await;
        let first = self.table.subscribe(session, channels);
        if first.is_empty() {
            return Ok(());
        }
        let joined = self.interest.join(&self.node, &first).await;
        if joined.is_err() {
            // The next session that subscribes to these channels must be the first again.
            self.table.unsubscribe(session);
        }
        joined
    }

    /// Removes a session from the table. Returns whether its user has no other session here.
    pub(super) async fn remove(&self, session: &Arc<Session>) -> bool {
        let _turn = self.turn.lock().await;
        let removed = self.table.remove(session);
        if !removed.unsubscribed.is_empty() {
            self.leave(&removed.unsubscribed).await;
        }
        removed.user_gone
    }

    /// A user joined or left a channel.
    pub(in crate::engine) async fn change_membership(
        &self,
        channel_id: ChannelId,
        user_id: UserId,
        joined: bool,
    ) {
        let _turn = self.turn.lock().await;
        let subscribed = if joined {
            self.table.join(user_id, channel_id)
        } else {
            self.table.leave(user_id, channel_id)
        };
        // The publisher of the membership registered the interest of this node, even if the session
        // of the user has ended since.
        if !subscribed {
            self.leave(&[channel_id]).await;
        } else if let Err(error) = self.interest.join(&self.node, &[channel_id]).await {
            tracing::warn!(%error, "interest unavailable");
        }
    }

    /// A channel was deleted.
    pub(in crate::engine) async fn end_channel(&self, channel_id: ChannelId) {
        let _turn = self.turn.lock().await;
        self.table.end_channel(channel_id);
        self.leave(&[channel_id]).await;
    }

    /// Extends the lease. Returns false if it had ended.
    pub(super) async fn renew(&self, lease: Duration) -> Result<bool, InterestError> {
        self.interest.renew(&self.node, lease).await
    }

    /// Takes a new lease after the old one ended, and registers the channels of the table.
    ///
    /// `end_sessions` runs before this node is interested in anything again: the next message would
    /// hide from the clients of these sessions that there were others before it.
    pub(super) async fn begin_again(
        &self,
        lease: Duration,
        end_sessions: impl FnOnce(),
    ) -> Result<(), InterestError> {
        let _turn = self.turn.lock().await;
        end_sessions();
        self.interest.begin(&self.node, lease).await?;
        self.interest.join(&self.node, &self.table.channels()).await
    }

    /// A failure costs needless copies until the next leave or the end of the lease, nothing else.
    async fn leave(&self, channels: &[ChannelId]) {
        if let Err(error) = self.interest.leave(&self.node, channels).await {
            tracing::warn!(%error, "interest unavailable");
        }
    }
}
