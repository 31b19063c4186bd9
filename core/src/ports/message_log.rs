//! The sync queue of a partition: between accepting a message and storing it.

use super::{BoxFuture, Trace};
use crate::model::{Draft, Message, MessageId, NodeId, Partition, Timestamp};

/// The ordered log of each partition. Assigning an id and appending are **one atomic step**, which
/// is what makes ids rise in the order in which they become visible (invariant I2), whatever the
/// clocks of the nodes say.
///
/// # Ids
/// `append` assigns `max(first id of this millisecond, last id + 1, floor + 1)`, where the last id is
/// no lower than any that was trimmed. Within a partition ids therefore rise strictly, over restarts
/// and fail-overs too, if the caller's `floor` is at least the highest id it knows to be stored. An
/// owner that takes a partition over [raises](Self::raise) the log to its stored position before it
/// reads: from then on no caller gets an id below, whatever its floor. A position in the log *is* a
/// message id.
///
/// # Repeats
/// A draft whose [`SendKey`](crate::model::SendKey) is still held appends nothing and names the
/// first id. An adapter holds keys at least until their entry is trimmed. The history store decides
/// about older ones, when the entry is stored; the log only spares most repeats the way there.
///
/// # Durability
/// None is promised: history is the record. An entry may vanish with its log as long as nobody was
/// told that it was accepted.
///
/// # Bounds
/// A log holds a bounded number of entries that are not trimmed. At the bound, `append` answers
/// [`LogError::Full`].
pub trait MessageLog: Send + Sync + 'static {
    /// Gives `draft` its id, above `floor`, and appends it.
    ///
    /// # Errors
    /// [`LogError::Full`] and [`LogError::Unavailable`]; both are worth a retry. After
    /// `Unavailable` the draft may or may not have been appended.
    fn append(
        &self,
        partition: Partition,
        floor: MessageId,
        draft: Draft,
        origin: Origin,
    ) -> BoxFuture<'_, Result<Sequenced, LogError>>;

    /// Up to `limit` entries with ids above `after`, in order. Waits until there is one.
    ///
    /// Reading consumes nothing: the same `after` gives the same entries, perhaps followed by newer
    /// ones, until they are trimmed. Cancel-safe.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]; worth a retry from the same position.
    fn read(
        &self,
        partition: Partition,
        after: MessageId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>>;

    /// Gives no id up to `stored` any more, even if the log never held it. Forgets nothing. Never
    /// moves back.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]; worth a retry.
    fn raise(&self, partition: Partition, stored: MessageId)
    -> BoxFuture<'_, Result<(), LogError>>;

    /// Forgets the entries up to and including `stored`, and gives no id up to it any more, even if
    /// the log never held it. Never moves back.
    ///
    /// An adapter that keeps together what was appended at one time may forget it when all of it is
    /// stored; until then it takes room, and a read from a position below `stored` may show it.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]; worth a retry, and harmless if not retried before the next trim.
    fn trim(&self, partition: Partition, stored: MessageId) -> BoxFuture<'_, Result<(), LogError>>;
}

/// What became of a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequenced {
    /// It was appended under this id.
    New(MessageId),
    /// The same send had been appended under this id before; nothing was appended now.
    Repeat(MessageId),
}

/// One message on its way from accepted to stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The message, with its id.
    pub message: Message,
    /// Where and when it was accepted.
    pub origin: Origin,
}

/// Where and when a message was accepted. It travels with the message up to delivery and is not
/// stored in history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The node that accepted it, which waits to acknowledge it.
    pub node: NodeId,
    /// When that node took it, to the microsecond, for the measurement of latency. It orders
    /// nothing: the id does.
    pub accepted_at: Timestamp,
    /// What follows it through its stages.
    pub trace: Trace,
}

/// Why a log call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// As many entries as the bound allows wait to be stored. Retry after a moment.
    #[error("the message log is full")]
    Full,
    /// The log cannot be reached. Retry; a send may have been appended.
    #[error("the message log cannot be reached: {0}")]
    Unavailable(String),
}

impl LogError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        true
    }
}
