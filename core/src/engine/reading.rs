//! What clients ask of channels besides sending: pages of history, synchronisation by cursor, unread
//! counts, and the commands that only tell the others something.

use std::collections::BTreeSet;

use super::Engine;
use crate::model::{ChannelId, Message, MessageId, UserId};
use crate::ports::{Audience, Delivery, Page, PageFrom};
use crate::protocol::{Command, Cursors, Problem, event};

/// The answer to a synchronisation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// What lies beyond the cursors, and the heads of channels that were not named.
    pub channels: Vec<(ChannelId, ChannelSync)>,
    /// The named channels that the user is not in: left, deleted, or never theirs.
    pub gone: Vec<ChannelId>,
}

/// A channel's part of the answer to a synchronisation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelSync {
    /// What lies beyond the cursor, oldest first.
    pub messages: Vec<Message>,
    /// The cursor to continue from.
    pub cur_max_message_id: MessageId,
    /// Whether more lies beyond it.
    pub has_more: bool,
}

/// About as many bytes of content as one synchronisation answers; what does not fit has `has_more`.
const SYNC_BYTES: usize = 4 * 1024 * 1024;

impl ChannelSync {
    /// As much of a page as there is room for in the whole answer.
    fn from_page(cursor: MessageId, page: Page, room: &mut usize) -> Self {
        let Page { mut messages, has_more } = page;
        let fit = messages.iter().take_while(|message| {
            let fits = *room > 0;
            *room = room.saturating_sub(message.content.len());
            fits
        });
        let fit = fit.count();
        let has_more = has_more || fit < messages.len();
        messages.truncate(fit);
        let cur_max_message_id = messages.last().map_or(cursor, |message| message.message_id);
        Self { messages, cur_max_message_id, has_more }
    }
}

impl Engine {
    /// Part of a channel, for a member of it.
    ///
    /// # Errors
    /// `not_a_member`; `unavailable`.
    pub async fn page(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
        from: PageFrom,
        limit: usize,
    ) -> Result<Page, Problem> {
        self.membership(user_id, channel_id).await?;
        Ok(self.inner.ports.history.page(channel_id, from, limit).await?)
    }

    /// What the channels of a user hold beyond `cursors`, at most `limit` messages a channel and
    /// about 4 MiB in all. The user's channels that are not named come with their newest message,
    /// if they have one. Named channels that the user is not in any more hold nothing up: they are
    /// answered as gone.
    ///
    /// # Errors
    /// `invalid` for too many channels; `unavailable`.
    pub async fn sync(
        &self,
        user_id: UserId,
        cursors: &Cursors,
        limit: usize,
    ) -> Result<Synced, Problem> {
        self.check_channel_count(cursors.len())?;
        let memberships = self.inner.ports.directory.memberships(user_id).await?;
        let mine: BTreeSet<_> = memberships.iter().map(|it| it.channel.channel_id).collect();
        let history = &self.inner.ports.history;
        let mut synced = Synced::default();
        let mut room = SYNC_BYTES;
        for (&channel_id, &cursor) in cursors {
            if !mine.contains(&channel_id) {
                synced.gone.push(channel_id);
                continue;
            }
            let page = history.page(channel_id, PageFrom::After(cursor), limit).await?;
            let beyond = ChannelSync::from_page(cursor, page, &mut room);
            synced.channels.push((channel_id, beyond));
        }
        for channel_id in mine.into_iter().filter(|id| !cursors.contains_key(id)) {
            let page = history.page(channel_id, PageFrom::Newest, 1).await?;
            if let Some(newest) = page.messages.into_iter().next() {
                let cur_max_message_id = newest.message_id;
                let messages = vec![newest];
                let head = ChannelSync { messages, cur_max_message_id, has_more: false };
                synced.channels.push((channel_id, head));
            }
        }
        Ok(synced)
    }

    /// A member is writing: the others are told, if they listen now.
    ///
    /// # Errors
    /// `not_a_member`; `unavailable`.
    pub async fn typing(&self, user_id: UserId, channel_id: ChannelId) -> Result<(), Problem> {
        self.membership(user_id, channel_id).await?;
        let audience = Audience::Channel { channel_id, except: Some(user_id) };
        let event = event::typing(channel_id, user_id);
        self.publish(Delivery::Event { audience, event }).await;
        Ok(())
    }

    /// A member has read up to a message. It is kept, and all members are told, the user's own other
    /// devices among them; only these if the user does not share how far they read.
    ///
    /// # Errors
    /// `not_a_member`; `invalid` beyond the newest message; `unavailable`.
    pub async fn read(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> Result<(), Problem> {
        self.membership(user_id, channel_id).await?;
        if message_id > self.head(channel_id).await? {
            return Err(Problem::invalid("message_id", "is beyond the newest message"));
        }
        let directory = &self.inner.ports.directory;
        if !directory.mark_read(channel_id, user_id, message_id).await? {
            return Ok(());
        }
        let event = event::read(channel_id, user_id, message_id);
        let audience = if directory.settings(user_id).await?.share_read {
            Audience::Channel { channel_id, except: None }
        } else {
            Audience::Users(vec![user_id])
        };
        self.publish(Delivery::Event { audience, event }).await;
        Ok(())
    }

    /// Runs a command other than a send.
    ///
    /// # Errors
    /// Those of the command.
    pub async fn run_command(&self, user_id: UserId, command: Command) -> Result<(), Problem> {
        match command {
            Command::Typing { channel_id } => self.typing(user_id, channel_id).await,
            Command::Read { channel_id, message_id } => {
                self.read(user_id, channel_id, message_id).await
            }
            Command::Send { .. } => Err(Problem::invalid("type", "is a send")),
        }
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
    fn an_answer_ends_where_its_room_does_and_says_that_more_lies_beyond() {
        let mut room = 25;
        let first = ChannelSync::from_page(MessageId::new(0), page(2, 10), &mut room);
        assert_eq!((first.messages.len(), first.has_more), (2, false));
        let second = ChannelSync::from_page(MessageId::new(0), page(2, 10), &mut room);
        assert_eq!((second.messages.len(), second.has_more), (1, true));
        assert_eq!(second.cur_max_message_id, MessageId::new(1));
        let third = ChannelSync::from_page(MessageId::new(7), page(1, 10), &mut room);
        assert_eq!((third.messages.len(), third.has_more), (0, true));
        assert_eq!(third.cur_max_message_id, MessageId::new(7));
    }
}
