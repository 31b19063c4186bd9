//! The queue of notifications to users who are offline.

use super::BoxFuture;
use crate::model::{Message, Timestamp, UserId};

/// A durable queue between the engine, which knows who is offline, and a sender, which talks to the
/// third party that reaches phones. At least once: a notification is forgotten only when the sender
/// has confirmed it, or when it is too old to be of use.
///
/// # Bounds
/// The queue holds a bounded number of notifications. At the bound [`PushError::Full`] tells the
/// engine, which counts it: a message is never held up by its notification, and never lost with it,
/// because it stands in history.
pub trait PushNotifier: Send + Sync + 'static {
    /// Puts notifications at the end of the queue; durable on return.
    ///
    /// # Errors
    /// [`PushError::Full`] and [`PushError::Unavailable`]; both are worth a retry.
    fn enqueue(&self, notifications: Vec<Notification>) -> BoxFuture<'_, Result<(), PushError>>;

    /// Up to `limit` notifications behind `after`, in order; waits until there is one. Consumes
    /// nothing. Cancel-safe.
    ///
    /// # Errors
    /// [`PushError::Unavailable`]; retry.
    fn pending(
        &self,
        after: PushPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<QueuedNotification>, PushError>>;

    /// These were delivered or given up; forget them. Idempotent.
    ///
    /// # Errors
    /// [`PushError::Unavailable`]; retry. If it is never retried they are delivered again.
    fn confirm(&self, positions: &[PushPosition]) -> BoxFuture<'_, Result<(), PushError>>;
}

/// A place in the push queue; 0 is before its first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PushPosition(pub u64);

/// A notification at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedNotification {
    /// Where it stands.
    pub position: PushPosition,
    /// What is to be delivered.
    pub notification: Notification,
}

/// A message that a user should hear of although no device of theirs is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Whom to tell.
    pub user_id: UserId,
    /// Of what.
    pub message: Message,
    /// When it was put into the queue.
    pub queued_at: Timestamp,
}

/// Why a push queue call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The queue is at its bound. Retry after a moment.
    #[error("the push queue is full")]
    Full,
    /// It cannot be reached. Retry.
    #[error("the push queue cannot be reached: {0}")]
    Unavailable(String),
}

impl PushError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        true
    }
}
