//! The sends of one channel: one in flight at a time, the others in order after it. A repeat therefore
//! never takes effect after a message that was sent later.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::connect::backoff::{Backoff, BackoffState};
use crate::error::Error;
use crate::ids::{ChannelId, MessageId};

/// A message that is not confirmed yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) channel_id: ChannelId,
    pub(crate) client_message_id: String,
    pub(crate) content: String,
    pub(crate) deadline: Instant,
    pub(crate) confirm: oneshot::Sender<Result<MessageId, Error>>,
    /// Its share of the sends that may wait; returned when it is dropped.
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Pending {
    pub(crate) fn finish(self, outcome: Result<MessageId, Error>) {
        // An error means that the caller has dropped the handle.
        let _ = self.confirm.send(outcome);
    }
}

/// The sends of one channel, the oldest first.
#[derive(Debug)]
pub(super) struct ChannelQueue {
    waiting: VecDeque<Pending>,
    /// The `client_message_id` of the first one, while it is in flight.
    in_flight: Option<String>,
    backoff: BackoffState,
    not_before: Instant,
    /// Whether the server named `not_before`.
    named_by_server: bool,
}

impl ChannelQueue {
    pub(super) fn new(backoff: Backoff, now: Instant) -> Self {
        Self {
            waiting: VecDeque::new(),
            in_flight: None,
            backoff: BackoffState::new(backoff),
            not_before: now,
            named_by_server: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, pending: Pending) {
        self.waiting.push_back(pending);
    }

    /// Fails the sends whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) {
        // Every send has the same time limit, so the deadlines are in the order of the queue.
        while let Some(first) = self.waiting.front()
            && first.deadline <= now
        {
            if let Some(first) = self.waiting.pop_front() {
                first.finish(Err(Error::NotConfirmed));
            }
            self.in_flight = None;
        }
    }

    /// Another route exists: a send that failed on the old one is due, unless the server named its wait.
    pub(super) fn hurry(&mut self, now: Instant) {
        if !self.named_by_server {
            self.not_before = now;
        }
    }

    /// When there is something to do again: the next attempt and the first deadline.
    pub(super) fn wake(&self) -> [Option<Instant>; 2] {
        let attempt = self.in_flight.is_none().then_some(self.not_before);
        [attempt, self.waiting.front().map(|first| first.deadline)]
    }

    /// The first send, if it is due. It is in flight from now on.
    pub(super) fn start(&mut self, now: Instant) -> Option<&Pending> {
        let first = self.waiting.front()?;
        if self.in_flight.is_some() || self.not_before > now {
            return None;
        }
        self.in_flight = Some(first.client_message_id.clone());
        Some(first)
    }

    /// Whether this send is in flight. A send whose deadline has passed no longer is.
    pub(super) fn is_in_flight(&self, client_message_id: &str) -> bool {
        self.in_flight.as_deref() == Some(client_message_id)
    }

    /// The send in flight failed and is to be repeated.
    pub(super) fn retry(&mut self, retry_after: Option<Duration>, now: Instant) {
        self.in_flight = None;
        self.not_before = now + self.backoff.next_wait(retry_after);
        self.named_by_server = retry_after.is_some();
    }

    /// The send in flight has succeeded, or failed permanently.
    pub(super) fn finish(&mut self, outcome: Result<MessageId, Error>, now: Instant) {
        self.in_flight = None;
        self.backoff.reset();
        self.not_before = now;
        if let Some(pending) = self.waiting.pop_front() {
            pending.finish(outcome);
        }
    }

    /// Fails every send.
    pub(super) fn fail(self, error: &Error) {
        for pending in self.waiting {
            pending.finish(Err(error.clone()));
        }
    }
}
