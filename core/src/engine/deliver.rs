//! Stage 5, deliver: from this node's inbox into the mailboxes of its sessions.
//!
//! Messages of one channel that wait together are handed over together: each is serialised once,
//! and each session is locked and woken once, however many there are.

use std::sync::Arc;
use std::time::Duration;

use tracing::Span;

use super::mailbox::Event;
use super::places::MessageEvent;
use super::session::{EndReason, Session};
use super::{Engine, sessions};
use crate::model::{ChannelId, Message, Timestamp};
use crate::ports::{Audience, Delivery, InboxEntry, InboxError, InboxPosition, Stage, Trace};
use crate::protocol::event;

/// How long delivery waits before it asks an inbox again that failed.
const RETRY: Duration = Duration::from_millis(100);
/// After how many sessions delivery lets other tasks run. Not after each message: what a session
/// gets of several channels should leave in one write.
const YIELD_AFTER: usize = 256;

/// Takes up what waits in the inbox, for ever. It never waits for a session: one that is full gets
/// a `resync`.
pub(super) async fn run(engine: Engine) {
    let mut position = InboxPosition::default();
    loop {
        let Inner { inbox, node, batch } = Inner::of(&engine);
        match inbox.receive(node, position, batch).await {
            Ok(entries) => {
                position = entries.last().map_or(position, |entry| entry.position);
                engine.deliver(entries).await;
            }
            Err(InboxError::UnknownNode(_)) => {
                // Others believe that this node died. Its sessions must not stay behind unheard.
                tracing::error!("this node's inbox is gone: ending its sessions");
                let mut ended = engine.tell_all(EndReason::Draining);
                while let Err(error) = inbox.open(node).await {
                    tracing::warn!(%error, "the inbox cannot be opened");
                    tokio::time::sleep(RETRY).await;
                }
                // Those as well that came meanwhile: what was routed before the inbox was there
                // passed them by, and the next message would hide it from their clients.
                ended.extend(engine.tell_all(EndReason::Draining));
                // Beside the deliveries, which must not wait for it.
                let clearing = engine.clone();
                engine.spawn(async move { clearing.clear_away(&ended).await });
                position = InboxPosition::default();
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => {
                tracing::warn!(%error, "the inbox cannot be read");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

struct Inner<'a> {
    inbox: &'a Arc<dyn crate::ports::NodeInbox>,
    node: &'a crate::model::NodeId,
    batch: usize,
}

impl<'a> Inner<'a> {
    fn of(engine: &'a Engine) -> Self {
        let inner = &engine.inner;
        Self { inbox: &inner.ports.inbox, node: &inner.node, batch: inner.limits.batch }
    }
}

impl Engine {
    async fn deliver(&self, entries: Vec<InboxEntry>) {
        let mut entries = entries.into_iter().map(|entry| entry.delivery).peekable();
        let mut run: Vec<MessageEvent> = Vec::new();
        // Each until its message was handed to all.
        let mut spans: Vec<Span> = Vec::new();
        let mut handed = 0;
        while let Some(delivery) = entries.next() {
            match delivery {
                Delivery::Message { message, accepted_at, trace } => {
                    let channel_id = message.channel_id;
                    run.push(message_event(&message, accepted_at));
                    spans.extend(Trace::stages(std::iter::once(&trace), Stage::Deliver));
                    let continues = matches!(
                        entries.peek(),
                        Some(Delivery::Message { message, .. }) if message.channel_id == channel_id
                    );
                    if !continues {
                        self.inner.sequencer.raise_floor(message.message_id);
                        self.fan_out(channel_id, &run, &mut handed).await;
                        run.clear();
                        spans.clear();
                    }
                }
                Delivery::Event { audience, event } => self.hand_event(&audience, event),
                Delivery::Membership { channel_id, user_id, joined } => {
                    self.forget_membership(user_id, channel_id).await;
                    sessions::change_membership(self, channel_id, user_id, joined).await;
                }
                Delivery::ChannelEnded { channel_id } => {
                    sessions::end_channel(self, channel_id).await;
                }
                Delivery::EndSessions { user_id, token } => {
                    self.end_sessions(user_id, token).await;
                }
                Delivery::Stored { message_id, first_id } => {
                    self.inner.sequencer.stored(std::iter::once((message_id, first_id)));
                }
            }
        }
    }

    /// Lets other tasks run after every [`YIELD_AFTER`] sessions, of which `handed` had theirs.
    async fn fan_out(&self, channel_id: ChannelId, messages: &[MessageEvent], handed: &mut usize) {
        let Some(sessions) = self.inner.local.of_channel(channel_id) else {
            return;
        };
        for session in sessions.iter() {
            session.push_messages(channel_id, messages);
            *handed += 1;
            if *handed == YIELD_AFTER {
                *handed = 0;
                tokio::task::yield_now().await;
            }
        }
        self.inner.stats.deliveries.add((sessions.len() * messages.len()) as u64);
    }

    /// Events that are no messages are few, so they are handed over without a pause.
    fn hand_event(&self, audience: &Audience, payload: bytes::Bytes) {
        let event = Event { payload, accepted_at: self.inner.ports.clock.now() };
        let mut handed = 0;
        let mut hand = |session: &Arc<Session>, about| {
            session.push_event(event.clone(), about);
            handed += 1;
        };
        match audience {
            Audience::Channel { channel_id, except } => {
                let sessions = self.inner.local.of_channel(*channel_id);
                let others = sessions.iter().flat_map(|sessions| sessions.iter());
                for session in others.filter(|session| Some(session.user_id()) != *except) {
                    hand(session, except.is_none().then_some(*channel_id));
                }
            }
            Audience::Users(users) => {
                for session in users.iter().flat_map(|&user| self.inner.local.of_user(user)) {
                    hand(&session, None);
                }
            }
        }
        self.inner.stats.deliveries.add(handed);
    }
}

/// A stored message as mailboxes hold it.
pub(super) fn message_event(message: &Message, accepted_at: Timestamp) -> MessageEvent {
    let event = Event { payload: event::message(message), accepted_at };
    MessageEvent { message_id: message.message_id, event }
}
