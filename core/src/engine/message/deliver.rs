//! Stage deliver: from this node's inbox into the mailboxes of its sessions.
//!
//! Consecutive messages of one channel are delivered together: each message is serialised once, and
//! each session is locked and woken once.

use std::sync::Arc;
use std::time::Duration;

use tracing::Span;

use super::acknowledge::Acknowledger;
use super::sequence::Sequencer;
use crate::engine::membership_cache::MembershipCache;
use crate::engine::sessions::{
    EndReason, Event, MessageEvent, NodeInterest, Session, SessionLifecycle, SessionTable,
};
use crate::engine::stats::Stats;
use crate::model::{ChannelId, NodeId};
use crate::ports::{
    Audience, Clock, Delivery, InboxEntry, InboxError, InboxPosition, NodeInbox, Stage, Trace,
};

/// How long the deliverer waits before it calls an inbox again that failed.
const RETRY: Duration = Duration::from_millis(100);
/// After how many sessions other tasks may run. Not after each message: the events of several
/// channels should leave a session in one write.
const YIELD_AFTER: usize = 256;

/// Delivers what arrives in this node's inbox.
pub(in crate::engine) struct Deliverer {
    pub(in crate::engine) node: NodeId,
    pub(in crate::engine) inbox: Arc<dyn NodeInbox>,
    pub(in crate::engine) clock: Arc<dyn Clock>,
    /// How many deliveries are taken from the inbox at a time.
    pub(in crate::engine) batch: usize,
    pub(in crate::engine) sequencer: Arc<Sequencer>,
    pub(in crate::engine) acknowledger: Arc<Acknowledger>,
    pub(in crate::engine) memberships: Arc<MembershipCache>,
    pub(in crate::engine) table: Arc<SessionTable>,
    pub(in crate::engine) interest: Arc<NodeInterest>,
    pub(in crate::engine) sessions: Arc<SessionLifecycle>,
    pub(in crate::engine) stats: Arc<Stats>,
}

impl Deliverer {
    /// Waits for deliveries after `position`, and moves it to the last of them.
    pub(super) async fn receive(&self, position: &mut InboxPosition) -> Vec<InboxEntry> {
        loop {
            match self.inbox.receive(&self.node, *position, self.batch).await {
                Ok(entries) => {
                    if let Some(last) = entries.last() {
                        debug_assert!(last.position > *position, "an inbox is read forward");
                        *position = last.position;
                    }
                    return entries;
                }
                Err(InboxError::UnknownNode(_)) => *position = self.reopen_inbox().await,
                Err(error) => tracing::warn!(%error, "inbox of this node unavailable"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The other nodes removed the inbox of this node, because it seemed dead. Its sessions end:
    /// messages for them were dropped. Returns the position at which the new inbox starts.
    async fn reopen_inbox(&self) -> InboxPosition {
        tracing::error!("the inbox of this node was removed: its sessions end");
        let mut ended = self.sessions.end_all(EndReason::Draining);
        while let Err(error) = self.inbox.open(&self.node).await {
            tracing::warn!(%error, "the inbox of this node was not opened");
            tokio::time::sleep(RETRY).await;
        }
        // Sessions that opened meanwhile end too. They missed what was routed before the inbox was
        // open, and the next message would hide that from their clients.
        ended.extend(self.sessions.end_all(EndReason::Draining));
        // Delivery must not wait for the removal.
        self.sessions.remove_in_background(ended);
        InboxPosition::default()
    }

    /// Delivers to the sessions concerned. Never waits for a session: a session whose mailbox is
    /// full gets a `resync`.
    pub(super) async fn deliver(&self, entries: Vec<InboxEntry>) {
        let mut entries = entries.into_iter().map(|entry| entry.delivery).peekable();
        let mut run: Vec<MessageEvent> = Vec::new();
        // Each span lasts until its message was delivered to all sessions.
        let mut spans: Vec<Span> = Vec::new();
        let mut since_yield = 0;
        while let Some(delivery) = entries.next() {
            match delivery {
                Delivery::Message { message, accepted_at, trace } => {
                    let channel_id = message.channel_id;
                    run.push(MessageEvent::new(&message, accepted_at));
                    spans.extend(Trace::stages(std::iter::once(&trace), Stage::Deliver));
                    let continues = matches!(
                        entries.peek(),
                        Some(Delivery::Message { message, .. }) if message.channel_id == channel_id
                    );
                    if !continues {
                        self.sequencer.raise_floor(message.message_id);
                        self.fan_out(channel_id, &run, &mut since_yield).await;
                        run.clear();
                        spans.clear();
                    }
                }
                Delivery::Event { audience, event } => self.deliver_event(&audience, event),
                Delivery::Membership { channel_id, user_id, joined } => {
                    self.memberships.invalidate(user_id, channel_id).await;
                    self.interest.change_membership(channel_id, user_id, joined).await;
                }
                Delivery::ChannelEnded { channel_id } => {
                    self.interest.end_channel(channel_id).await;
                }
                Delivery::EndSessions { user_id, revoked } => {
                    self.sessions.revoke(user_id, revoked).await;
                }
                Delivery::Stored { message_id, first_id } => {
                    self.acknowledger.acknowledged(message_id, first_id);
                }
            }
        }
    }

    /// Appends messages of one channel to the mailboxes of all its sessions here. `since_yield`
    /// counts the sessions since other tasks could run.
    async fn fan_out(
        &self,
        channel_id: ChannelId,
        messages: &[MessageEvent],
        since_yield: &mut usize,
    ) {
        let Some(sessions) = self.table.of_channel(channel_id) else {
            return;
        };
        for session in sessions.iter() {
            session.append_messages(channel_id, messages);
            *since_yield += 1;
            if *since_yield == YIELD_AFTER {
                *since_yield = 0;
                tokio::task::yield_now().await;
            }
        }
        self.stats.deliveries.add((sessions.len() * messages.len()) as u64);
    }

    /// Events that are no messages are few, so they are delivered without a pause.
    fn deliver_event(&self, audience: &Audience, payload: bytes::Bytes) {
        let event = Event { payload, accepted_at: self.clock.now() };
        let mut delivered = 0;
        let mut append = |session: &Arc<Session>, channel_id| {
            session.append_event(event.clone(), channel_id);
            delivered += 1;
        };
        match audience {
            Audience::Channel { channel_id, except } => {
                let sessions = self.table.of_channel(*channel_id);
                let others = sessions.iter().flat_map(|sessions| sessions.iter());
                for session in others.filter(|session| Some(session.user_id()) != *except) {
                    append(session, except.is_none().then_some(*channel_id));
                }
            }
            Audience::Users(users) => {
                for session in users.iter().flat_map(|&user| self.table.of_user(user)) {
                    append(&session, None);
                }
            }
        }
        self.stats.deliveries.add(delivered);
    }
}
