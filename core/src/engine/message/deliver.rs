//! Stage deliver: from this node's inbox into the mailboxes of its sessions.
//!
//! Messages of one channel are delivered together: each message is serialised once, and each session is
//! locked and woken once. Channels take [turns](super::turns).

use std::sync::Arc;
use std::time::Duration;

use futures::future::poll_immediate;
use tracing::Span;

use super::acknowledge::Acknowledger;
use super::sequence::Sequencer;
use super::turns::Turns;
use crate::engine::membership_cache::MembershipCache;
use crate::engine::sessions::{
    EndReason, MailboxBudget, MessageEvent, NodeInterest, Session, SessionLifecycle, SessionTable,
};
use crate::engine::stats::Stats;
use crate::model::{ChannelId, NodeId};
use crate::ports::{
    Audience, Clock, Delivery, InboxEntry, InboxError, InboxPosition, NodeInbox, Stage, Trace,
};
use crate::protocol::event;

/// How long the deliverer waits before it calls an inbox again that failed.
const RETRY: Duration = Duration::from_millis(100);
/// After how many sessions other tasks may run. Not after each message: the events of several
/// channels should leave a session in one write.
const YIELD_AFTER: usize = 256;
/// How many messages a turn delivers, one for each session, while other channels wait; one message at
/// least.
const TURN: usize = 1_024;
/// How many batches of the inbox may be taken and not delivered.
const TAKEN: usize = 4;

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
    pub(in crate::engine) mailboxes: Arc<MailboxBudget>,
    pub(in crate::engine) interest: Arc<NodeInterest>,
    pub(in crate::engine) sessions: Arc<SessionLifecycle>,
    pub(in crate::engine) stats: Arc<Stats>,
}

impl Deliverer {
    /// Delivers what arrives in the inbox. Never returns.
    ///
    /// Entries are taken from the inbox before those that were taken earlier are delivered, up to a
    /// limit: else a busy channel would hide the others. A crash loses none that matters, because the
    /// sessions of a process end with it.
    pub(super) async fn run(&self) {
        let (mut turns, mut since_yield) = (Turns::default(), 0);
        let mut receiving = Box::pin(self.receive(InboxPosition::default()));
        loop {
            if turns.waiting() < TAKEN * self.batch {
                let received = match turns.is_empty() {
                    true => Some(receiving.as_mut().await),
                    false => poll_immediate(receiving.as_mut()).await,
                };
                if let Some((entries, position)) = received {
                    receiving = Box::pin(self.receive(position));
                    self.take(entries, &mut turns).await;
                }
            }
            self.deliver(&mut turns, &mut since_yield).await;
        }
    }

    /// Waits for deliveries after `position`. Returns them with the position of the last.
    async fn receive(&self, mut position: InboxPosition) -> (Vec<InboxEntry>, InboxPosition) {
        loop {
            match self.inbox.receive(&self.node, position, self.batch).await {
                Ok(entries) => {
                    if let Some(last) = entries.last() {
                        debug_assert!(last.position > position, "an inbox is read forward");
                        position = last.position;
                    }
                    return (entries, position);
                }
                Err(InboxError::UnknownNode(_)) => position = self.reopen_inbox().await,
                Err(error) => tracing::warn!(%error, "inbox of this node unavailable"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Does at once what concerns no channel, and gives the rest its turn.
    async fn take(&self, entries: Vec<InboxEntry>, turns: &mut Turns) {
        for delivery in entries.into_iter().map(|entry| entry.delivery) {
            match delivery {
                Delivery::EndSessions { user_id, token } => {
                    self.sessions.end_sessions(user_id, token).await;
                }
                Delivery::Stored { message_id, first_id } => {
                    self.acknowledger.acknowledged(message_id, first_id);
                }
                delivery => {
                    if let Delivery::Message { message, .. } = &delivery {
                        self.sequencer.raise_floor(message.message_id);
                    }
                    if turns.push(delivery) {
                        self.stats.events_dropped.add(1);
                    }
                }
            }
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

    /// Delivers one turn to the sessions concerned. Never waits for a session: a session whose mailbox
    /// is full gets a `resync`. `since_yield` counts the sessions since other tasks could run.
    async fn deliver(&self, turns: &mut Turns, since_yield: &mut usize) {
        let sessions = |channel_id| self.table.of_channel(channel_id).map_or(1, |all| all.len());
        let turn = turns.next(|channel_id| TURN / sessions(channel_id).max(1));
        let mut messages: Vec<MessageEvent> = Vec::with_capacity(turn.len());
        // Each span lasts until its message was delivered to all sessions.
        let mut spans: Vec<Span> = Vec::new();
        let mut channel = None;
        for delivery in turn {
            match delivery {
                Delivery::Message { message, accepted_at, trace } => {
                    channel = Some(message.channel_id);
                    messages.push(self.mailboxes.message(&message, accepted_at));
                    spans.extend(Trace::stages(std::iter::once(&trace), Stage::Deliver));
                }
                Delivery::Event { audience, event } => self.deliver_event(&audience, event),
                Delivery::Membership { channel_id, user_id, joined } => {
                    self.memberships.invalidate(user_id, channel_id).await;
                    self.interest.change_membership(channel_id, user_id, joined).await;
                }
                Delivery::ChannelEnded { channel_id } => {
                    self.interest.end_channel(channel_id).await;
                }
                Delivery::EndSessions { .. } | Delivery::Stored { .. } => {
                    debug_assert!(false, "what concerns no channel has no turn");
                }
            }
        }
        if let Some(channel_id) = channel {
            self.fan_out(channel_id, &messages, since_yield).await;
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
        let is_moment = event::moment(&payload).is_some();
        let event = self.mailboxes.event(payload, self.clock.now());
        let mut delivered = 0;
        let mut append = |session: &Session, channel_id| {
            match &event {
                Some(event) if is_moment => session.append_moment(event.clone()),
                // It is only of use at its moment.
                None if is_moment => {}
                _ => session.append_event(event.clone(), channel_id),
            }
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
