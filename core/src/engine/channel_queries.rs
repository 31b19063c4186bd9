//! What a client asks of its channels besides sending: pages of history, and the commands `typing` and
//! `read`. Synchronisation is in `channel_sync`.

use std::sync::Arc;

use tokio::time::sleep_until;

use super::limits::Limits;
use super::membership_cache::MembershipCache;
use super::moment_pace::{MomentPace, Turn};
use super::publisher::Publisher;
use super::read_marks::ReadMarks;
use super::sessions::SessionTable;
use super::stats::Stats;
use super::tasks::Tasks;
use crate::model::{ChannelId, MessageId, UserId};
use crate::ports::{Audience, Delivery, Directory, HistoryStore, Page, PageFrom, PageLimit};
use crate::protocol::{Problem, event};

/// Runs these queries and commands for members of channels.
pub(super) struct ChannelQueries {
    pub(super) limits: Limits,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) history: Arc<dyn HistoryStore>,
    pub(super) memberships: Arc<MembershipCache>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) table: Arc<SessionTable>,
    pub(super) pace: Arc<MomentPace>,
    pub(super) marks: Arc<ReadMarks>,
    pub(super) stats: Arc<Stats>,
    pub(super) tasks: Tasks,
}

impl ChannelQueries {
    /// See [`Engine::page`](super::Engine::page).
    pub(super) async fn page(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
        from: PageFrom,
        limit: usize,
    ) -> Result<Page, Problem> {
        self.memberships.require(user_id, channel_id).await?;
        let limit = PageLimit { messages: limit, bytes: self.limits.page_bytes };
        let page = self.history.page(channel_id, from, limit).await?;
        debug_assert!(
            page.messages.len() <= limit.messages,
            "history keeps to the limit of a page"
        );
        Ok(page)
    }

    /// See [`Engine::typing`](super::Engine::typing).
    pub(super) async fn typing(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
    ) -> Result<(), Problem> {
        self.memberships.require(user_id, channel_id).await?;
        let place = (user_id, channel_id);
        if !self.pace.typing(place) {
            return Ok(());
        }
        self.pace.spend(place, self.reach(channel_id))?;
        let audience = Audience::Channel { channel_id, except: Some(user_id) };
        let event = event::typing(channel_id, user_id);
        self.publisher.publish(Delivery::Event { audience, event }).await;
        Ok(())
    }

    /// See [`Engine::read`](super::Engine::read).
    pub(super) async fn mark_read(
        self: &Arc<Self>,
        user_id: UserId,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> Result<(), Problem> {
        self.memberships.require(user_id, channel_id).await?;
        // The newest is recorded, also if others never learn of it.
        let place = (user_id, channel_id);
        self.pace.spend(place, 1)?;
        let heads = self.history.heads(&[channel_id]).await?;
        if message_id > heads.first().copied().unwrap_or_default() {
            return Err(Problem::invalid("message_id", "is beyond the newest message"));
        }
        let write = |newest| self.directory.mark_read(channel_id, user_id, newest);
        let Some(message_id) = self.marks.write(place, message_id, write).await? else {
            return Ok(());
        };
        match self.pace.read(place, message_id) {
            Turn::Now => self.announce_read(place, message_id).await,
            Turn::At(moment) => {
                let queries = Arc::clone(self);
                self.tasks.spawn(async move {
                    sleep_until(moment).await;
                    if let Some(newest) = queries.pace.due(place)
                        && let Err(problem) = queries.announce_read(place, newest).await
                    {
                        tracing::debug!(detail = problem.detail, "read position not announced");
                    }
                });
                Ok(())
            }
            Turn::Merged => Ok(()),
        }
    }

    /// Notifies those who may know how far a user has read. It is recorded by now.
    async fn announce_read(
        &self,
        (user_id, channel_id): (UserId, ChannelId),
        message_id: MessageId,
    ) -> Result<(), Problem> {
        let event = event::read(channel_id, user_id, message_id);
        let audience = if self.directory.settings(user_id).await?.share_read {
            if self.pace.spend((user_id, channel_id), self.reach(channel_id)).is_err() {
                self.stats.events_dropped.add(1);
                return Ok(());
            }
            Audience::Channel { channel_id, except: None }
        } else {
            Audience::Users(vec![user_id])
        };
        self.publisher.publish(Delivery::Event { audience, event }).await;
        Ok(())
    }

    /// How many sessions an event of a channel reaches: those of this node, as an estimate for the
    /// others.
    fn reach(&self, channel_id: ChannelId) -> usize {
        self.table.of_channel(channel_id).map_or(1, |sessions| sessions.len())
    }
}
