//! Which users are present on this node: those with a session. The friends of a user are notified
//! when the user comes online or goes offline.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use tokio::sync::{Mutex, MutexGuard};

use super::session::Session;
use super::session_table::SessionTable;
use crate::engine::publisher::Publisher;
use crate::engine::tasks::Tasks;
use crate::model::{FriendState, NodeId, UserId};
use crate::ports::{Audience, Delivery, Directory, DirectoryError, Presence, PresenceError};
use crate::protocol::{Problem, event};

/// How long the node waits before it retries to end a presence.
const RETRY: Duration = Duration::from_millis(500);
/// How many locks the users share.
const LOCKS: usize = 64;

/// Keeps the presence that other nodes see equal to the users of the session table.
pub(in crate::engine) struct UserPresence {
    pub(in crate::engine) node: NodeId,
    pub(in crate::engine) presence: Arc<dyn Presence>,
    pub(in crate::engine) directory: Arc<dyn Directory>,
    pub(in crate::engine) publisher: Arc<Publisher>,
    pub(in crate::engine) table: Arc<SessionTable>,
    pub(in crate::engine) lock: PresenceLock,
    pub(in crate::engine) tasks: Tasks,
}

/// Serialises the presence calls about one user, by hash: a leave must not overtake a join.
#[derive(Debug)]
pub(in crate::engine) struct PresenceLock(Box<[Mutex<()>]>);

impl Default for PresenceLock {
    fn default() -> Self {
        Self((0..LOCKS).map(|_| Mutex::default()).collect())
    }
}

impl PresenceLock {
    async fn lock(&self, user_id: UserId) -> MutexGuard<'_, ()> {
        let hash = FixedState::default().hash_one(user_id);
        self.0[hash as usize % LOCKS].lock().await
    }
}

impl UserPresence {
    /// The user of a session is present on this node.
    ///
    /// # Errors
    /// Why the session ended, if it did before this call had its turn. `unavailable`; retry.
    pub(super) async fn join(self: &Arc<Self>, session: &Session) -> Result<(), Problem> {
        let user_id = session.user_id();
        let came_online = {
            let _turn = self.lock.lock(user_id).await;
            if let Some(ended) = session.ended() {
                // The session was removed already, so its presence would never end.
                return Err(ended.into());
            }
            self.presence.join(&self.node, user_id).await?
        };
        if came_online {
            self.announce(user_id, true);
        }
        Ok(())
    }

    /// The last session of a user on this node ended. If presence is unavailable, retries in the
    /// background: the lease of a living node never ends.
    pub(super) async fn leave(self: &Arc<Self>, user_id: UserId) {
        if self.try_leave(user_id).await.is_err() {
            let presence = Arc::clone(self);
            self.tasks.spawn(async move {
                while presence.try_leave(user_id).await.is_err() {
                    tokio::time::sleep(RETRY).await;
                }
            });
        }
    }

    /// Ends the presence of a user, unless the user has a new session by now.
    async fn try_leave(self: &Arc<Self>, user_id: UserId) -> Result<(), PresenceError> {
        let _turn = self.lock.lock(user_id).await;
        if !self.table.of_user(user_id).is_empty() {
            return Ok(());
        }
        let left = self.presence.leave(&self.node, user_id).await;
        match &left {
            Ok(true) => self.announce(user_id, false),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "presence unavailable"),
        }
        left.map(drop)
    }

    /// Extends the lease. Returns false if it had ended.
    pub(super) async fn renew(&self, lease: Duration) -> Result<bool, PresenceError> {
        self.presence.renew(&self.node, lease).await
    }

    /// Takes a new lease after the old one ended, and registers the users of the table.
    pub(super) async fn begin_again(&self, lease: Duration) -> Result<(), PresenceError> {
        self.presence.begin(&self.node, lease).await?;
        let users: HashSet<_> = self.table.all().iter().map(|it| it.user_id()).collect();
        for user_id in users {
            let _turn = self.lock.lock(user_id).await;
            if !self.table.of_user(user_id).is_empty() {
                self.presence.join(&self.node, user_id).await?;
            }
        }
        Ok(())
    }

    /// Notifies the friends of a user, in a task of its own.
    fn announce(self: &Arc<Self>, user_id: UserId, online: bool) {
        let presence = Arc::clone(self);
        self.tasks.spawn(async move {
            let friends = match presence.friends_to_notify(user_id).await {
                Ok(friends) => friends,
                Err(error) => return tracing::warn!(%error, "presence was not announced"),
            };
            // An outdated state is not announced: the change that made it so announces the new one,
            // so the last event that a friend receives is true.
            let is_online = presence.presence.online(&[user_id]).await;
            if friends.is_empty() || is_online.is_ok_and(|is_online| is_online != [online]) {
                return;
            }
            let event = event::presence(user_id, online);
            let audience = Audience::Users(friends);
            presence.publisher.publish(Delivery::Event { audience, event }).await;
        });
    }

    /// The friends of a user; none if the user does not share presence.
    async fn friends_to_notify(&self, user_id: UserId) -> Result<Vec<UserId>, DirectoryError> {
        if !self.directory.settings(user_id).await?.share_presence {
            return Ok(Vec::new());
        }
        let friends = self.directory.friends(user_id).await?;
        let friends = friends.iter().filter(|friend| friend.state == FriendState::Friends);
        Ok(friends.map(|friend| friend.user_id).collect())
    }
}
