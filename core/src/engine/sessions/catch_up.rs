//! From history to live messages without gap or repeat (invariant I6).
//!
//! While catch-up reads a channel from history, the session only records the ids of live messages of
//! that channel. If a later id was recorded when a page has been appended, that message is in history
//! too, because no message is routed before it is durable: catch-up then reads another page, until no
//! recorded message is left between history and live.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::channel_gates::{CatchUp, MessageEvent};
use super::mailbox::Event;
use super::session::Session;
use crate::engine::tasks::Tasks;
use crate::model::{ChannelId, MessageId};
use crate::ports::{Clock, Directory, HistoryError, HistoryStore, PageFrom};
use crate::protocol::{Cursors, event};

/// How many messages are read from history at a time.
const PAGE: usize = 256;

/// Reads from history what the channels of a session hold above the client's cursors.
pub(in crate::engine) struct CatchUpReader {
    pub(in crate::engine) directory: Arc<dyn Directory>,
    pub(in crate::engine) history: Arc<dyn HistoryStore>,
    pub(in crate::engine) clock: Arc<dyn Clock>,
    pub(in crate::engine) tasks: Tasks,
}

/// What a channel holds above a cursor.
enum Backlog {
    Fits(Vec<MessageEvent>),
    /// More than the mailbox has capacity for; `head` is the newest message id.
    TooLong {
        head: MessageId,
    },
}

/// Closes the gates of these channels: their live messages wait for catch-up.
pub(super) fn begin(session: &Session, cursors: Cursors) -> Vec<CatchUp> {
    let cursors = cursors.into_iter();
    cursors.map(|(channel_id, cursor)| session.begin_catch_up(channel_id, cursor)).collect()
}

impl CatchUpReader {
    /// Runs catch-ups that have [begun](begin), and waits for their end. They continue if the caller
    /// is dropped, because live messages of these channels wait for them.
    pub(super) async fn finish(self: &Arc<Self>, session: &Arc<Session>, catch_ups: Vec<CatchUp>) {
        let (reader, session) = (Arc::clone(self), Arc::clone(session));
        let done = async move { reader.catch_up_all(&session, catch_ups).await };
        self.tasks.complete(done).await;
    }

    async fn catch_up_all(&self, session: &Arc<Session>, catch_ups: Vec<CatchUp>) {
        // Read from the directory, not from the cache: a client that learns here that it is no
        // longer a member of a channel must learn the same from a synchronisation.
        let memberships = match self.directory.memberships(session.user_id()).await {
            Ok(memberships) => memberships,
            Err(error) => {
                tracing::warn!(%error, "catch-up was cut short");
                for catch_up in &catch_ups {
                    session.resync(catch_up, catch_up.cursor);
                }
                return;
            }
        };
        let mine: BTreeSet<_> = memberships.iter().map(|it| it.channel.channel_id).collect();
        let (allowed, gone): (Vec<_>, Vec<_>) =
            catch_ups.into_iter().partition(|catch_up| mine.contains(&catch_up.channel_id));
        for catch_up in gone {
            session.abandon_catch_up(&catch_up);
            let payload = event::member(catch_up.channel_id, session.user_id(), false, None);
            session.append_event(Event { payload, accepted_at: self.clock.now() }, None);
        }
        // One call finds the channels without a new message: most of them, when a device returns.
        let channels: Vec<_> = allowed.iter().map(|catch_up| catch_up.channel_id).collect();
        match self.history.heads(&channels).await {
            Ok(heads) => {
                debug_assert_eq!(heads.len(), channels.len(), "one head for each channel");
                for (catch_up, head) in allowed.iter().zip(heads) {
                    self.catch_up_channel(session, catch_up, head).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "catch-up was cut short");
                for catch_up in &allowed {
                    session.resync(catch_up, catch_up.cursor);
                }
            }
        }
    }

    /// Catches up with one channel, whose newest message was `head` after its gate closed.
    async fn catch_up_channel(&self, session: &Session, catch_up: &CatchUp, head: MessageId) {
        if !catch_up.began() {
            return session.resync(catch_up, head);
        }
        if head <= catch_up.cursor {
            session.lower_cursor(catch_up, head);
            if !session.append_catch_up(catch_up, &[]) {
                return;
            }
        }
        let mut from = catch_up.cursor.min(head);
        loop {
            match self.backlog(catch_up.channel_id, from, session.free_slots()).await {
                Ok(Backlog::Fits(page)) => {
                    from = page.last().map_or(from, |message| message.message_id);
                    if !session.append_catch_up(catch_up, &page) {
                        return;
                    }
                }
                Ok(Backlog::TooLong { head }) => return session.resync(catch_up, head),
                Err(error) => {
                    tracing::warn!(%error, "catch-up was cut short");
                    return session.resync(catch_up, head.max(from));
                }
            }
        }
    }

    /// What a channel holds above `from`, if it is at most `capacity` events.
    async fn backlog(
        &self,
        channel_id: ChannelId,
        from: MessageId,
        capacity: usize,
    ) -> Result<Backlog, HistoryError> {
        let mut found: Vec<MessageEvent> = Vec::new();
        let mut from = from;
        loop {
            let page = self.history.page(channel_id, PageFrom::After(from), PAGE.into()).await?;
            from = page.messages.last().map_or(from, |message| message.message_id);
            found.extend(
                page.messages
                    .iter()
                    .map(|message| MessageEvent::new(message, message.created_at())),
            );
            if found.len() > capacity {
                let heads = self.history.heads(&[channel_id]).await?;
                return Ok(Backlog::TooLong { head: heads.first().copied().unwrap_or_default() });
            }
            if !page.has_more {
                return Ok(Backlog::Fits(found));
            }
        }
    }
}
