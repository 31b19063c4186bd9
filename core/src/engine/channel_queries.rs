//! What a client asks of its channels besides sending: pages of history, and the commands `typing` and
//! `read`. Synchronisation is in `channel_sync`.

use std::sync::Arc;

use super::limits::Limits;
use super::membership_cache::MembershipCache;
use super::publisher::Publisher;
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
        let audience = Audience::Channel { channel_id, except: Some(user_id) };
        let event = event::typing(channel_id, user_id);
        self.publisher.publish(Delivery::Event { audience, event }).await;
        Ok(())
    }

    /// See [`Engine::read`](super::Engine::read).
    pub(super) async fn mark_read(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> Result<(), Problem> {
        self.memberships.require(user_id, channel_id).await?;
        let heads = self.history.heads(&[channel_id]).await?;
        if message_id > heads.first().copied().unwrap_or_default() {
            return Err(Problem::invalid("message_id", "is beyond the newest message"));
        }
        if !self.directory.mark_read(channel_id, user_id, message_id).await? {
            return Ok(());
        }
        let event = event::read(channel_id, user_id, message_id);
        let audience = if self.directory.settings(user_id).await?.share_read {
            Audience::Channel { channel_id, except: None }
        } else {
            Audience::Users(vec![user_id])
        };
        self.publisher.publish(Delivery::Event { audience, event }).await;
        Ok(())
    }
}
