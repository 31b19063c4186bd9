//! Synchronisation by cursor: what all channels of a user hold beyond what a client has, in as many
//! answers as it takes. Owns what one answer holds.

use std::collections::btree_map::Range;
use std::iter::Peekable;
use std::ops::Bound;

use super::channel_queries::ChannelQueries;
use crate::model::{ChannelId, Message, MessageId, UserId};
use crate::ports::{HistoryError, PageFrom, PageLimit};
use crate::protocol::{Cursors, MessageView, Problem};

/// The result of a synchronisation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// The messages above the cursors, and the newest message of each channel without a cursor. In
    /// the order of channel ids.
    pub channels: Vec<(ChannelId, ChannelSync)>,
    /// The channels with a cursor of which the user is not a member: left, deleted or never joined.
    pub gone: Vec<ChannelId>,
    /// The last channel of this answer, if not all fit: the `after` of the next one.
    pub next: Option<ChannelId>,
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

/// How many memberships are read at a time. An answer that ends early reads few that it does not use.
const MEMBERSHIPS: usize = 256;
/// How many bytes of JSON a channel takes beside its messages.
const CHANNEL_BYTES: usize = 96;

impl ChannelQueries {
    /// See [`Engine::sync`](super::Engine::sync).
    pub(super) async fn sync(
        &self,
        user_id: UserId,
        cursors: &Cursors,
        after: Option<ChannelId>,
        limit: usize,
    ) -> Result<Synced, Problem> {
        self.limits.check_channel_count(cursors.len())?;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut named = cursors.range((start, Bound::Unbounded)).peekable();
        let (mut synced, mut done) = (Synced::default(), after);
        let mut left = PageLimit { messages: limit, bytes: self.limits.sync_bytes };
        loop {
            let page = self.directory.memberships_after(user_id, done, MEMBERSHIPS).await?;
            let is_last = page.len() < MEMBERSHIPS;
            for membership in page {
                if left.bytes == 0 {
                    synced.next = done;
                    return Ok(synced);
                }
                let channel_id = membership.channel.channel_id;
                synced.gone.extend(named_before(&mut named, channel_id));
                let cursor = named.next_if(|(id, _)| **id == channel_id).map(|(_, cursor)| *cursor);
                if let Some(channel) = self.sync_channel(channel_id, cursor, left).await? {
                    left.bytes = left.bytes.saturating_sub(channel.bytes());
                    synced.channels.push((channel_id, channel));
                }
                done = Some(channel_id);
            }
            if is_last {
                synced.gone.extend(named.map(|(channel_id, _)| *channel_id));
                return Ok(synced);
            }
        }
    }

    /// What a channel holds above a cursor, or its newest message; nothing of an empty channel that
    /// has no cursor.
    async fn sync_channel(
        &self,
        channel_id: ChannelId,
        cursor: Option<MessageId>,
        limit: PageLimit,
    ) -> Result<Option<ChannelSync>, HistoryError> {
        if let Some(cursor) = cursor {
            let page = self.history.page(channel_id, PageFrom::After(cursor), limit).await?;
            let cur_max_message_id = page.messages.last().map_or(cursor, |last| last.message_id);
            let (messages, has_more) = (page.messages, page.has_more);
            return Ok(Some(ChannelSync { messages, cur_max_message_id, has_more }));
        }
        let newest = PageLimit { messages: 1, ..limit };
        let messages = self.history.page(channel_id, PageFrom::Newest, newest).await?.messages;
        let newest = messages.last().map(|newest| newest.message_id);
        Ok(newest.map(|cur_max_message_id| ChannelSync {
            messages,
            cur_max_message_id,
            has_more: false,
        }))
    }
}

impl ChannelSync {
    /// At most so many bytes of JSON.
    fn bytes(&self) -> usize {
        let messages = self.messages.iter().map(|message| MessageView::from(message).max_bytes());
        CHANNEL_BYTES + messages.sum::<usize>()
    }
}

/// The named channels before `channel_id`, the next one of which the user is a member.
fn named_before(
    named: &mut Peekable<Range<'_, ChannelId, MessageId>>,
    channel_id: ChannelId,
) -> Vec<ChannelId> {
    let before = || named.next_if(|(id, _)| **id < channel_id).map(|(id, _)| *id);
    std::iter::from_fn(before).collect()
}
