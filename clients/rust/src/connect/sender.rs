//! The sending side of a connection, which several tasks may hold.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::outbox::{Job, Pending};
use crate::error::Error;
use crate::ids::{ChannelId, MessageId};

/// How many typing and read notices may wait besides the sends.
const NOTICES: usize = 64;

/// Sends on a [`Connection`](crate::Connection). Cheap to clone. It does not keep the connection alive: once
/// that is dropped, sends fail with [`Error::Closed`].
#[derive(Clone, Debug)]
pub struct Sender {
    jobs: mpsc::Sender<Job>,
    permits: Arc<Semaphore>,
    deadline: Duration,
}

impl Sender {
    /// A sender with at most `sends` unconfirmed sends, and the queue that its jobs go to.
    pub(crate) fn new(sends: usize, deadline: Duration) -> (Self, mpsc::Receiver<Job>) {
        let sends = sends.min(Semaphore::MAX_PERMITS);
        let (jobs, queue) = mpsc::channel(sends + NOTICES);
        (Self { jobs, permits: Arc::new(Semaphore::new(sends)), deadline }, queue)
    }

    /// Sends a message. Guarantees and limits are those of
    /// [`Connection::send`](crate::Connection::send). Returns at once.
    pub fn send(&self, channel_id: ChannelId, content: impl Into<String>) -> SendHandle {
        let client_message_id = format!("{:032x}", rand::random::<u128>());
        let (confirm, confirmed) = oneshot::channel();
        let handle = SendHandle { client_message_id: client_message_id.clone(), confirmed };
        match Arc::clone(&self.permits).try_acquire_owned() {
            Err(_) => {
                // The handle is the other end, so this cannot fail.
                let _ = confirm.send(Err(Error::TooManySends));
            }
            Ok(permit) => {
                let pending = Pending {
                    channel_id,
                    client_message_id,
                    content: content.into(),
                    deadline: Instant::now() + self.deadline,
                    confirm,
                    _permit: permit,
                };
                // A closed queue drops the job, and the handle returns `Closed`.
                if let Err(mpsc::error::TrySendError::Full(Job::Send(pending))) =
                    self.jobs.try_send(Job::Send(pending))
                {
                    pending.finish(Err(Error::TooManySends));
                }
            }
        }
        handle
    }

    /// Announces that the user is typing. See [`Connection::typing`](crate::Connection::typing).
    pub fn typing(&self, channel_id: ChannelId) {
        // Dropped while the queue is full: it would be sent too late to be true.
        let _ = self.jobs.try_send(Job::Typing(channel_id));
    }

    /// Reports how far the user has read. See [`Connection::read`](crate::Connection::read).
    pub fn read(&self, channel_id: ChannelId, message_id: MessageId) {
        // Dropped while the queue is full: a later position includes it.
        let _ = self.jobs.try_send(Job::Read(channel_id, message_id));
    }
}

/// A send that is not confirmed yet: a future of its message id, which resolves once the message is
/// durable. Dropping it does not cancel the send.
///
/// # Errors
/// - [`Error::Problem`] if the server refuses the message permanently (`not_a_member`, `blocked`,
///   `too_large`, `invalid`): do not retry.
/// - [`Error::NotConfirmed`] at the deadline: the channel may hold the message. A retry with
///   [`Account::post_message`](crate::Account::post_message) and the same
///   [`client_message_id`](Self::client_message_id) is safe for 24 hours.
/// - [`Error::TooManySends`]: the message was not sent. Retry when other sends have finished.
/// - [`Error::Closed`]: the connection has ended; the channel may hold the message. Do not retry on it.
#[derive(Debug)]
pub struct SendHandle {
    client_message_id: String,
    confirmed: oneshot::Receiver<Result<MessageId, Error>>,
}

impl SendHandle {
    /// The sender's name for the message: 32 hexadecimal digits, random, known at once. The message
    /// carries it when it is yielded as an event.
    pub fn client_message_id(&self) -> &str {
        &self.client_message_id
    }
}

impl Future for SendHandle {
    type Output = Result<MessageId, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.confirmed).poll(cx).map(|outcome| outcome.unwrap_or(Err(Error::Closed)))
    }
}
