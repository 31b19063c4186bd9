//! From history to live without gap or repeat (invariant I6).
//!
//! While a channel is read from history, live messages of it are only noted by the session. When a
//! page has been handed over and a later message was noted meanwhile, that one is in history too,
//! for nothing is routed before it is durable: reading goes on until nothing is left between.

use std::sync::Arc;

use super::Engine;
use super::deliver::message_event;
use super::mailbox::Event;
use super::session::{MessageEvent, Session};
use crate::model::{ChannelId, MessageId};
use crate::ports::PageFrom;
use crate::protocol::{Cursors, Problem, ProblemCode, event};

/// As many messages as are read from history at a time.
const PAGE: usize = 256;

impl Engine {
    /// Hands a session what its channels hold beyond `cursors`, as ordinary events. A channel with
    /// more than the mailbox holds gets one `resync` instead, and so does one of which the session
    /// was handed later messages already, or that history cannot give now.
    pub async fn catch_up(&self, session: &Arc<Session>, cursors: Cursors) {
        for (channel_id, cursor) in cursors {
            match self.membership(session.user_id(), channel_id).await {
                Ok(_) => self.catch_up_channel(session, channel_id, cursor).await,
                Err(problem) if problem.code == ProblemCode::NotAMember => {
                    let payload = event::member(channel_id, session.user_id(), false, None);
                    let accepted_at = self.inner.ports.clock.now();
                    session.push_event(
                        Event {
                            payload,
                            accepted_at,
                        },
                        None,
                    );
                }
                Err(_) => session.resync(channel_id, cursor),
            }
        }
    }

    async fn catch_up_channel(
        &self,
        session: &Arc<Session>,
        channel_id: ChannelId,
        cursor: MessageId,
    ) {
        if !session.begin_catch_up(channel_id, cursor) {
            session.resync(channel_id, self.head(channel_id).await.unwrap_or_default());
            return;
        }
        let mut from = cursor;
        loop {
            match self.backlog(channel_id, from, session.free_slots()).await {
                Ok(Backlog::Fits(page)) => {
                    from = page.last().map_or(from, |message| message.message_id);
                    if !session.push_catch_up(channel_id, &page) {
                        return;
                    }
                }
                Ok(Backlog::TooMuch { head }) => return session.resync(channel_id, head),
                Err(problem) => {
                    tracing::warn!(code = problem.code.as_str(), "catch-up was cut short");
                    return session.resync(channel_id, from);
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
            let page = history
                .page(channel_id, PageFrom::After(from), PAGE)
                .await?;
            from = page
                .messages
                .last()
                .map_or(from, |message| message.message_id);
            found.extend(
                page.messages
                    .iter()
                    .map(|message| message_event(message, message.created_at())),
            );
            if found.len() > room {
                return Ok(Backlog::TooMuch {
                    head: self.head(channel_id).await?,
                });
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

enum Backlog {
    Fits(Vec<MessageEvent>),
    TooMuch { head: MessageId },
}
