//! The memberships that this node has read from the directory in the last moments.

use std::sync::Arc;

use moka::future::Cache;

use super::limits::Limits;
use crate::model::{ChannelId, Membership, UserId};
use crate::ports::{Directory, DirectoryError};
use crate::protocol::{Problem, ProblemCode};

/// Caches memberships of channels, also the fact that a user is not a member. An entry lives for
/// [`Limits::permission_ttl`], so that is how late a change on another node takes effect here.
pub(super) struct MembershipCache {
    directory: Arc<dyn Directory>,
    entries: Cache<(UserId, ChannelId), Option<Arc<Membership>>>,
}

impl MembershipCache {
    pub(super) fn new(directory: Arc<dyn Directory>, limits: &Limits) -> Self {
        let entries = Cache::builder()
            .max_capacity(limits.permissions)
            .time_to_live(limits.permission_ttl)
            .build();
        Self { directory, entries }
    }

    /// The membership of a user in a channel.
    ///
    /// # Errors
    /// `not_a_member`: do not retry. `unavailable`: retry.
    pub(super) async fn require(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
    ) -> Result<Arc<Membership>, Problem> {
        let load = self.directory.membership(user_id, channel_id);
        let cached = self.entries.try_get_with((user_id, channel_id), async {
            Ok::<_, DirectoryError>(load.await?.map(Arc::new))
        });
        match cached.await {
            Ok(Some(membership)) => Ok(membership),
            Ok(None) => Err(Problem::new(ProblemCode::NotAMember, "not a member of this channel")),
            Err(error) => Err(Problem::from(&*error)),
        }
    }

    /// A membership or block changed: the next call reads it from the directory.
    pub(super) async fn invalidate(&self, user_id: UserId, channel_id: ChannelId) {
        self.entries.invalidate(&(user_id, channel_id)).await;
    }
}
