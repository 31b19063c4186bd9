//! From history to live without gap or repeat (invariant I6).
//!
//! While a channel is read from history, live messages of it are only noted by the session. When a
//! page has been handed over and a later message was noted meanwhile, that one is in history too,
//! for nothing is routed before it is durable: reading goes on until nothing is left between.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Engine;
use super::deliver::message_event;
use super::mailbox::Event;
use super::places::{CatchUp, MessageEvent};
use super::session::Session;
use crate::model::{ChannelId, MessageId};
use crate::ports::PageFrom;
use crate::protocol::{Cursors, Problem, event};

/// As many messages as are read from history at a time.
const PAGE: usize = 256;

impl Engine {
    /// Hands a session what its channels hold beyond `cursors`, as ordinary events. A channel with
    /// more than the mailbox holds gets one `resync` instead, and so does one of which the session
    /// was handed later messages already, or that history cannot give now.
    ///
    /// If the caller does not wait for the end, because its connection is gone, it goes on: until
    /// then the live messages of these channels wait.
    pub async fn catch_up(&self, session: &Arc<Session>, cursors: Cursors) {
        self.finish_catch_up(session, begin_catch_up(session, cursors)).await;
    }

    /// See [`catch_up`](Self::catch_up).
    pub(super) async fn finish_catch_up(&self, session: &Arc<Session>, catch_ups: Vec<CatchUp>) {
        let (engine, session) = (self.clone(), Arc::clone(session));
        self.complete(async move { engine.catch_up_all(&session, catch_ups).await }).await;
    }

    async fn catch_up_all(&self, session: &Arc<Session>, catch_ups: Vec<CatchUp>) {
        // What was believed a moment ago will not do: a client that is told that it lost a channel
        // here is told the same by a synchronisation.
        let memberships = match self.inner.ports.directory.memberships(session.user_id()).await {
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
            let accepted_at = self.inner.ports.clock.now();
            session.push_event(Event { payload, accepted_at }, None);
        }
        // One question tells which channels have nothing new: most, when a device comes back.
        let channels: Vec<_> = allowed.iter().map(|catch_up| catch_up.channel_id).collect();
        match self.inner.ports.history.heads(&channels).await {
            Ok(heads) => {
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

    /// Catches up with one channel, whose newest message was `head` after it began to wait.
    async fn catch_up_channel(&self, session: &Session, catch_up: &CatchUp, head: MessageId) {
        if !catch_up.began() {
            return session.resync(catch_up, head);
        }
        if head <= catch_up.cursor {
            session.lower_cursor(catch_up, head);
            if !session.push_catch_up(catch_up, &[]) {
                return;
            }
        }
        let mut from = catch_up.cursor.min(head);
        loop {
            match self.backlog(catch_up.channel_id, from, session.free_slots()).await {
                Ok(Backlog::Fits(page)) => {
                    from = page.last().map_or(from, |message| message.message_id);
                    if !session.push_catch_up(catch_up, &page) {
                        return;
                    }
                }
                Ok(Backlog::TooMuch { head }) => return session.resync(catch_up, head),
                Err(problem) => {
                    tracing::warn!(code = problem.code.as_str(), "catch-up was cut short");
                    return session.resync(catch_up, head.max(from));
                }
            }
        }
    }

    /// What a channel holds beyond `from`, if it fits into `room` events.
    async fn backlog(
        &self,
        channel_id: ChannelId,
        from: MessageId,
        room: usize,
    ) -> Result<Backlog, Problem> {
        let mut found: Vec<MessageEvent> = Vec::new();
        let mut from = from;
        loop {
            let history = &self.inner.ports.history;
            let page = history.page(channel_id, PageFrom::After(from), PAGE).await?;
            from = page.messages.last().map_or(from, |message| message.message_id);
            found.extend(
                page.messages.iter().map(|message| message_event(message, message.created_at())),
            );
            if found.len() > room {
                return Ok(Backlog::TooMuch { head: self.head(channel_id).await? });
            }
            if !page.has_more {
                return Ok(Backlog::Fits(found));
            }
        }
    }

    /// The newest message id of a channel.
    pub(super) async fn head(&self, channel_id: ChannelId) -> Result<MessageId, Problem> {
        let heads = self.inner.ports.history.heads(&[channel_id]).await?;
        Ok(heads.first().copied().unwrap_or_default())
    }
}

/// From now on the live messages of these channels wait for catch-up.
pub(super) fn begin_catch_up(session: &Session, cursors: Cursors) -> Vec<CatchUp> {
    let cursors = cursors.into_iter();
    cursors.map(|(channel_id, cursor)| session.begin_catch_up(channel_id, cursor)).collect()
}

enum Backlog {
    Fits(Vec<MessageEvent>),
    TooMuch { head: MessageId },
}
