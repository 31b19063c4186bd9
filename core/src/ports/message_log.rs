//! The sync queue of a partition: between the acceptance of a message and its storage.

use super::{BoxFuture, Trace};
use crate::model::{Draft, Message, MessageId, NodeId, Partition, Timestamp};

/// The ordered log of each partition. Assigning an id and appending are **one atomic step**. That
/// makes ids rise in the order in which messages become visible (invariant I2), whatever the clocks of
/// the nodes say.
///
/// # Ids
/// `append` assigns `max(first id of this millisecond, last id + 1, floor + 1)`. The last id is at
/// least every id that was trimmed or [raised](Self::raise) to. Within a partition ids therefore rise
/// strictly, over restarts and fail-overs too, if the caller's `floor` is at least the highest id that
/// it knows to be stored. A new owner of a partition raises the log to the stored position before it
/// reads: from then on no caller gets a lower id, whatever its floor. A position in the log *is* a
/// message id.
///
/// # Repeats
/// A draft whose [`SendKey`](crate::model::SendKey) the log still holds appends nothing, and the
/// result is the first id. An adapter holds a key at least until its entry is trimmed. The log only
/// saves most repeats the rest of the way: [`HistoryStore`](super::HistoryStore) decides, when the
/// entry is stored (docs/adr/0001).
///
/// # Durability
/// None: history is the record. A log may lose entries, because no sender gets an acknowledgement
/// before its message is in history.
///
/// # Limits
/// A log holds a limited number of entries that are not trimmed. At the limit, `append` returns
/// [`LogError::Full`].
///
/// # Example
/// ```
/// use std::sync::Arc;
///
/// use pabal_core::memory::{MemoryMessageLog, SystemClock};
/// use pabal_core::model::{ChannelId, Draft, MessageId, Partition, Timestamp, UserId};
/// use pabal_core::ports::{MessageLog, Origin, Sequenced, Trace};
///
/// # futures::executor::block_on(async {
/// let log = MemoryMessageLog::new(Arc::new(SystemClock), 1_000);
/// let channel_id = ChannelId::new(7);
/// let partition = Partition::of(channel_id, 16);
/// let draft = Draft {
///     channel_id,
///     message_from: UserId::new(1),
///     message_to: None,
///     content: "hello".into(),
///     client_message_id: Some("a".into()),
/// };
/// let origin = Origin {
///     node: "n1".parse().expect("is a node name"),
///     accepted_at: Timestamp::default(),
///     trace: Trace::default(),
/// };
/// let floor = MessageId::default();
/// let first = log.append(partition, floor, draft.clone(), origin.clone()).await?;
/// let Sequenced::New(message_id) = first else { panic!("is new") };
/// let again = log.append(partition, floor, draft, origin).await?;
/// assert_eq!(again, Sequenced::Repeat(message_id));
///
/// let entries = log.read(partition, MessageId::default(), 10).await?;
/// assert_eq!(entries[0].message.message_id, message_id);
/// log.trim(partition, message_id).await?;
/// # Ok::<(), pabal_core::ports::LogError>(())
/// # }).unwrap();
/// ```
pub trait MessageLog: Send + Sync + 'static {
    /// Gives `draft` its id, above `floor`, and appends it.
    ///
    /// # Errors
    /// [`LogError::Full`] and [`LogError::Unavailable`]: retry. After `Unavailable` the draft may or
    /// may not have been appended.
    fn append(
        &self,
        partition: Partition,
        floor: MessageId,
        draft: Draft,
        origin: Origin,
    ) -> BoxFuture<'_, Result<Sequenced, LogError>>;

    /// Up to `limit` entries with ids above `after`, in order. Waits until there is one. Cancel-safe.
    ///
    /// A read removes nothing: the same `after` returns the same entries, perhaps followed by newer
    /// ones, until they are trimmed.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]: retry from the same position.
    fn read(
        &self,
        partition: Partition,
        after: MessageId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>>;

    /// From now on assigns no id up to `stored`, even if the log never held it. Removes nothing. A
    /// lower value than before changes nothing.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]: retry.
    fn raise(&self, partition: Partition, stored: MessageId)
    -> BoxFuture<'_, Result<(), LogError>>;

    /// Removes the entries up to and including `stored`, and [raises](Self::raise) the log to it. A
    /// lower value than before changes nothing.
    ///
    /// An adapter that keeps entries together that were appended together may remove them when all of
    /// them are stored. Until then they count against the limit, and a read from a position below
    /// `stored` may return them.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]: retry, or leave it to the next trim.
    fn trim(&self, partition: Partition, stored: MessageId) -> BoxFuture<'_, Result<(), LogError>>;
}

/// The result of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequenced {
    /// The draft was appended under this id.
    New(MessageId),
    /// The same send was appended under this id before. Nothing was appended now.
    Repeat(MessageId),
}

/// A message between acceptance and storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The message, with its id.
    pub message: Message,
    /// Where and when the message was accepted.
    pub origin: Origin,
}

/// Where and when a message was accepted. It accompanies the message up to delivery and is not stored
/// in history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The node that accepted the message, on which the sender waits.
    pub node: NodeId,
    /// When that node accepted it, to the microsecond, to measure latency. It orders nothing: the id
    /// does.
    pub accepted_at: Timestamp,
    /// The trace of the message.
    pub trace: Trace,
}

/// Why a log call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The log holds as many entries as allowed. Retry after the owner has stored some.
    #[error("the message log is full")]
    Full,
    /// The ids of the partition are used up, up to 2^63 − 1: the clock is in 2093, or it was once and
    /// a message got an id of then. Retry once the clock is right; if a message has such an id, its
    /// partition accepts no more.
    #[error("the ids of partition {0} are used up: the clock is, or was, in the year 2093")]
    Exhausted(u16),
    /// The log is unreachable. Retry; a send may have been appended.
    #[error("the message log is unreachable: {0}")]
    Unavailable(String),
}

impl LogError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        true
    }
}
