//! The queue of push notifications to offline users.

use super::BoxFuture;
use crate::model::{Message, Timestamp, UserId};

/// A durable queue between the engine, which knows which users are offline, and a sender, which calls
/// the third party that reaches phones.
///
/// # Delivery
/// At least once: a notification is removed when the sender has confirmed it, or when it is too old to
/// be of use.
///
/// # Limits
/// The queue holds a limited number of notifications. At the limit `enqueue` returns
/// [`PushError::Full`], and the engine drops and counts the notification. A message never waits for
/// its notification, and is never lost with it, because it is in history.
///
/// # Example
/// ```
/// use pabal_core::memory::MemoryPushNotifier;
/// use pabal_core::model::{ChannelId, Message, MessageId, Timestamp, UserId};
/// use pabal_core::ports::{Notification, PushNotifier, PushPosition};
///
/// # futures::executor::block_on(async {
/// let queue = MemoryPushNotifier::new(1_000);
/// let message = Message {
///     message_id: MessageId::new(1),
///     channel_id: ChannelId::new(7),
///     message_from: UserId::new(1),
///     message_to: Some(UserId::new(2)),
///     content: "hello".into(),
///     client_message_id: None,
/// };
/// let queued_at = Timestamp::default();
/// let notification = Notification { user_id: UserId::new(2), message, queued_at };
/// queue.enqueue(vec![notification.clone()]).await?;
///
/// let pending = queue.pending(PushPosition::default(), 10).await?;
/// assert_eq!(pending[0].notification, notification);
/// queue.confirm(&[pending[0].position]).await?;
/// # Ok::<(), pabal_core::ports::PushError>(())
/// # }).unwrap();
/// ```
pub trait PushNotifier: Send + Sync + 'static {
    /// Appends notifications to the queue. They are durable on return.
    ///
    /// # Errors
    /// [`PushError::Full`] and [`PushError::Unavailable`]: retry.
    fn enqueue(&self, notifications: Vec<Notification>) -> BoxFuture<'_, Result<(), PushError>>;

    /// Up to `limit` notifications after `after`, in order. Waits until there is one. Removes
    /// nothing. Cancel-safe.
    ///
    /// # Errors
    /// [`PushError::Unavailable`]: retry.
    fn pending(
        &self,
        after: PushPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<QueuedNotification>, PushError>>;

    /// Removes notifications that were delivered or given up. Idempotent.
    ///
    /// # Errors
    /// [`PushError::Unavailable`]: retry, or they are delivered again.
    fn confirm(&self, positions: &[PushPosition]) -> BoxFuture<'_, Result<(), PushError>>;
}

/// A position in the push queue; 0 is before its first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PushPosition(pub u64);

/// A notification with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedNotification {
    /// The position of the entry. Positions rise strictly.
    pub position: PushPosition,
    /// What has to be delivered.
    pub notification: Notification,
}

/// A message about which an offline user is to be notified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The user to notify.
    pub user_id: UserId,
    /// The message.
    pub message: Message,
    /// When the notification entered the queue.
    pub queued_at: Timestamp,
}

/// Why a push queue call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The queue holds as many notifications as allowed. Retry after the sender has confirmed some.
    #[error("the push queue is full")]
    Full,
    /// The queue is unreachable. Retry.
    #[error("the push queue is unreachable: {0}")]
    Unavailable(String),
}

impl PushError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        true
    }
}
