//! What a client asks of its channels besides sending: pages of history, synchronisation by cursor,
//! and the commands `typing` and `read`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::limits::Limits;
use super::membership_cache::MembershipCache;
use super::publisher::Publisher;
use crate::model::{ChannelId, Message, MessageId, UserId};
use crate::ports::{Audience, Delivery, Directory, HistoryStore, Page, PageFrom};
use crate::protocol::{Cursors, Problem, event};

/// The result of a synchronisation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// The messages above the cursors, and the newest message of each channel without a cursor.
    pub channels: Vec<(ChannelId, ChannelSync)>,
    /// The channels with a cursor of which the user is not a member: left, deleted or never joined.
    pub gone: Vec<ChannelId>,
}

/// A channel's part of a synchronisation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelSync {
    /// The messages above the cursor, oldest first.
    pub messages: Vec<Message>,
    /// The cursor to continue from.
    pub cur_max_message_id: MessageId,
    /// Whether there are messages above `cur_max_message_id`.
    pub has_more: bool,
}

/// How many bytes of content one synchronisation returns, about. What exceeds it has `has_more`.
const SYNC_BYTES: usize = 4 * 1024 * 1024;

impl ChannelSync {
    /// As much of a page as the remaining bytes of the whole result allow.
    fn from_page(cursor: MessageId, page: Page, remaining_bytes: &mut usize) -> Self {
        let Page { mut messages, has_more } = page;
        let fit = messages.iter().take_while(|message| {
            let fits = *remaining_bytes > 0;
            *remaining_bytes = remaining_bytes.saturating_sub(message.content.len());
            fits
        });
        let fit = fit.count();
        let has_more = has_more || fit < messages.len();
        messages.truncate(fit);
        let cur_max_message_id = messages.last().map_or(cursor, |message| message.message_id);
        Self { messages, cur_max_message_id, has_more }
    }
}

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
        let page = self.history.page(channel_id, from, limit).await?;
        debug_assert!(page.messages.len() <= limit, "history keeps to the limit of a page");
        Ok(page)
    }

    /// See [`Engine::sync`](super::Engine::sync).
    pub(super) async fn sync(
        &self,
        user_id: UserId,
        cursors: &Cursors,
        limit: usize,
    ) -> Result<Synced, Problem> {
        self.limits.check_channel_count(cursors.len())?;
        let memberships = self.directory.memberships(user_id).await?;
        let mine: BTreeSet<_> = memberships.iter().map(|it| it.channel.channel_id).collect();
        let mut synced = Synced::default();
        let mut remaining_bytes = SYNC_BYTES;
        for (&channel_id, &cursor) in cursors {
            if !mine.contains(&channel_id) {
                synced.gone.push(channel_id);
                continue;
            }
            let page = self.history.page(channel_id, PageFrom::After(cursor), limit).await?;
            let channel = ChannelSync::from_page(cursor, page, &mut remaining_bytes);
            synced.channels.push((channel_id, channel));
        }
        for channel_id in mine.into_iter().filter(|id| !cursors.contains_key(id)) {
            let page = self.history.page(channel_id, PageFrom::Newest, 1).await?;
            if let Some(newest) = page.messages.into_iter().next() {
                let cur_max_message_id = newest.message_id;
                let messages = vec![newest];
                let head = ChannelSync { messages, cur_max_message_id, has_more: false };
                synced.channels.push((channel_id, head));
            }
        }
        Ok(synced)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UserId;

    fn page(count: u64, bytes: usize) -> Page {
        let message = |id| Message {
            message_id: MessageId::new(id),
            channel_id: ChannelId::new(1),
            message_from: UserId::new(1),
            message_to: None,
            content: "x".repeat(bytes).into(),
            client_message_id: None,
        };
        Page { messages: (1..=count).map(message).collect(), has_more: false }
    }

    #[test]
    fn a_synchronisation_ends_at_its_limit_of_bytes_and_reports_that_there_is_more() {
        let mut remaining = 25;
        let first = ChannelSync::from_page(MessageId::new(0), page(2, 10), &mut remaining);
        assert_eq!((first.messages.len(), first.has_more), (2, false));
        let second = ChannelSync::from_page(MessageId::new(0), page(2, 10), &mut remaining);
        assert_eq!((second.messages.len(), second.has_more), (1, true));
        assert_eq!(second.cur_max_message_id, MessageId::new(1));
        let third = ChannelSync::from_page(MessageId::new(7), page(1, 10), &mut remaining);
        assert_eq!((third.messages.len(), third.has_more), (0, true));
        assert_eq!(third.cur_max_message_id, MessageId::new(7));
    }
}
