//! The memory of all mailboxes of the node: events are counted here before sessions hold them. Owns what
//! happens at the limit: the largest mailboxes are emptied, until there is room again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use foldhash::fast::FixedState;

use super::channel_gates::MessageEvent;
use super::mailbox::Event;
use super::session_table::SessionTable;
use crate::engine::budget::{Budget, Pool};
use crate::model::{Message, MessageId, Timestamp};
use crate::protocol::event;

/// Which part of the pool is free after mailboxes were emptied, and which part the events take that
/// catch-ups share. Looking for the largest mailboxes costs a lock a session, so it must be rare.
const PART: usize = 8;
/// The most bytes of events that are kept for other catch-ups.
const RECENT_BYTES: usize = 4 << 20;

/// Counts the events of mailboxes.
#[derive(Debug)]
pub(in crate::engine) struct MailboxBudget {
    budget: Budget,
    table: Arc<SessionTable>,
    recent: Mutex<Recent>,
}

/// Events that catch-ups have read lately: devices that return at the same time share them.
#[derive(Debug, Default)]
struct Recent {
    events: HashMap<MessageId, Bytes, FixedState>,
    in_order: VecDeque<MessageId>,
    bytes: usize,
}

impl MailboxBudget {
    pub(in crate::engine) fn new(budget: Budget, table: Arc<SessionTable>) -> Self {
        Self { budget, table, recent: Mutex::default() }
    }

    /// What the slots of mailboxes are counted in.
    pub(super) fn pool(&self) -> &Arc<Pool> {
        self.budget.mailboxes()
    }

    /// Serialises a stored message, once for all sessions that receive it.
    pub(in crate::engine) fn message(
        &self,
        message: &Message,
        accepted_at: Timestamp,
    ) -> MessageEvent {
        let event = self.event(event::message(message), accepted_at);
        MessageEvent { message_id: message.message_id, event }
    }

    /// An event that sessions may hold. Absent if there is no memory for it.
    pub(in crate::engine) fn event(&self, payload: Bytes, accepted_at: Timestamp) -> Option<Event> {
        Some(Event { payload: self.hold(payload)?, accepted_at })
    }

    /// As [`message`](Self::message), for a message that was read from history.
    pub(super) fn caught_up(&self, message: &Message) -> MessageEvent {
        let (message_id, payload) = (message.message_id, event::message(message));
        let shared = self.recent().events.get(&message_id).filter(|it| **it == payload).cloned();
        let payload = shared.or_else(|| {
            let payload = self.hold(payload)?;
            let limit = RECENT_BYTES.min(self.pool().limit() / PART);
            self.recent().keep(message_id, &payload, limit);
            Some(payload)
        });
        let accepted_at = message.created_at();
        let event = payload.map(|payload| Event { payload, accepted_at });
        MessageEvent { message_id, event }
    }

    fn hold(&self, payload: Bytes) -> Option<Bytes> {
        let (pool, bytes) = (self.pool(), payload.len());
        match pool.hold(payload) {
            Ok(held) => Some(held),
            Err(payload) => {
                self.make_room(bytes);
                pool.hold(payload).ok()
            }
        }
    }

    /// Empties the largest mailboxes, until an eighth of the pool is free.
    fn make_room(&self, bytes: usize) {
        *self.recent() = Recent::default();
        let pool = self.pool();
        let free = bytes.max(pool.limit() / PART);
        let enough = || pool.used().saturating_add(free) <= pool.limit();
        // A mailbox first loses what it keeps for a reconnection, and only then what is unread.
        for _ in 0..2 {
            let sessions = self.table.all().into_iter();
            let sessions = sessions.map(|session| (session.held_bytes(), session));
            let mut sessions: Vec<_> = sessions.filter(|(bytes, _)| *bytes > 0).collect();
            sessions.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
            for (_, session) in sessions {
                if enough() {
                    return;
                }
                session.shed();
                self.budget.count_shed();
            }
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn keep(&mut self, message_id: MessageId, payload: &Bytes, limit: usize) {
        if self.events.insert(message_id, payload.clone()).is_none() {
            self.in_order.push_back(message_id);
            self.bytes += payload.len();
        }
        while self.bytes > limit
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.bytes -= self.events.remove(&oldest).map_or(0, |payload| payload.len());
        }
    }
}
