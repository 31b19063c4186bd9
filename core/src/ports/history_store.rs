//! Every message there is: the record.

use std::time::Duration;

use super::BoxFuture;
use crate::model::{ChannelId, Message, MessageId, Partition, SendKey, UserId};

/// The key-value store of messages, key `(channel_id, message_id)`.
///
/// # Visibility
/// A message is visible to readers only once it is durable: what anyone has seen survives
/// `kill -9` and loss of power (invariant I1).
///
/// # Repeats
/// The store remembers every [`SendKey`] for at least [`SEND_KEY_WINDOW`] and stores one message for it (invariant I4).
///
/// # Concurrency
/// A partition has one owner that appends, in order. Two owners for a moment (invariant I8) repeat
/// each other's work: appending what is there changes nothing and answers the same.
pub trait HistoryStore: Send + Sync + 'static {
    /// Stores `messages`, in order, with the partition's stored position (the last id of them), as
    /// one durable step. Answers for each message what became of it, when all are durable.
    ///
    /// Ids rise within `messages`. The stored position never moves back.
    ///
    /// # Errors
    /// [`HistoryError::Unavailable`]: retry the same batch; some, all or none of it is stored.
    /// [`HistoryError::Poisoned`]: the store cannot go on; stop the process.
    fn append(
        &self,
        partition: Partition,
        messages: Vec<Message>,
    ) -> BoxFuture<'_, Result<Vec<Appended>, HistoryError>>;

    /// The highest id of `partition` that was ever stored or passed over as a repeat; 0 if none.
    /// An owner reads its log from here, and no id at or below may be assigned again.
    ///
    /// # Errors
    /// [`HistoryError::Unavailable`]; retry.
    fn stored_position(
        &self,
        partition: Partition,
    ) -> BoxFuture<'_, Result<MessageId, HistoryError>>;

    /// Part of a channel, at most `limit` messages.
    ///
    /// # Errors
    /// [`HistoryError::Unavailable`]; retry. [`HistoryError::Damaged`]: a value cannot be decoded.
    fn page(
        &self,
        channel_id: ChannelId,
        from: PageFrom,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, HistoryError>>;

    /// One message.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    fn get(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> BoxFuture<'_, Result<Option<Message>, HistoryError>>;

    /// The newest message id of each channel, in the order asked; 0 where there is none.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    fn heads(
        &self,
        channel_ids: &[ChannelId],
    ) -> BoxFuture<'_, Result<Vec<MessageId>, HistoryError>>;

    /// How many messages above `after` others than `reader` have said in the channel, counting no
    /// further than `at_most`.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    fn count_unread(
        &self,
        channel_id: ChannelId,
        after: MessageId,
        reader: UserId,
        at_most: usize,
    ) -> BoxFuture<'_, Result<usize, HistoryError>>;

    /// The message that holds this send, if it was stored within the window.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    fn find_sent(&self, key: SendKey) -> BoxFuture<'_, Result<Option<MessageId>, HistoryError>>;
}

/// For how long a repeated send is known as a repeat.
pub const SEND_KEY_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// What became of an appended message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is stored, now or by an earlier append of the same message.
    Stored,
    /// The same send is stored under this id; nothing was stored now.
    Repeat(MessageId),
}

/// Where in a channel to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFrom {
    /// Ids above this one, oldest first. `After(0)` is the whole channel.
    After(MessageId),
    /// Ids below this one, newest first.
    Before(MessageId),
    /// The newest messages, newest first.
    Newest,
    /// Up to half of the limit below this id, the rest from it on, oldest first.
    Around(MessageId),
}

/// Part of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order that [`PageFrom`] states.
    pub messages: Vec<Message>,
    /// Whether more lie beyond the last of them in that order.
    pub has_more: bool,
}

/// Why a history call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The store cannot be reached or did not answer in time. Retry.
    #[error("history cannot be reached: {0}")]
    Unavailable(String),
    /// A stored value cannot be decoded. A retry will not help; `pabal check` tells more.
    #[error("history holds a value that cannot be read: {0}")]
    Damaged(String),
    /// What was written may not be durable, and the store cannot tell. The process must stop and
    /// recover from disk.
    #[error("history could not make a write durable: {0}")]
    Poisoned(String),
}

impl HistoryError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
