//! The record of every message.

use std::time::Duration;

use super::BoxFuture;
use crate::model::{ChannelId, Message, MessageId, Partition, SendKey, UserId};
use crate::protocol::MessageView;

/// The key-value store of messages, key `(channel_id, message_id)`.
///
/// # Visibility
/// A reader sees a message only once it is durable: it survives `kill -9` and loss of power
/// (invariant I1).
///
/// # Repeats
/// This store, not the log, decides whether a send is a repeat (docs/adr/0001). It remembers every
/// [`SendKey`] for at least [`SEND_KEY_WINDOW`], and stores one message for it (invariant I4). The key
/// is written in the same durable step as its message.
///
/// # Owners
/// The owner of a partition appends in the order of its log. For a moment a partition may have two
/// owners (invariant I8): they read the same log and append the same messages. An append of messages
/// that are stored changes nothing and returns the same outcomes. The store knows no leases: the owner
/// checks its lease before it appends (docs/adr/0011).
///
/// # Example
/// ```
/// use pabal_core::memory::MemoryHistoryStore;
/// use pabal_core::model::{ChannelId, Message, MessageId, Partition, UserId};
/// use pabal_core::ports::{Appended, HistoryStore, PageFrom};
///
/// # futures::executor::block_on(async {
/// let history = MemoryHistoryStore::new();
/// let channel_id = ChannelId::new(7);
/// let partition = Partition::of(channel_id, 16);
/// let send = |id| Message {
///     message_id: MessageId::new(id),
///     channel_id,
///     message_from: UserId::new(1),
///     message_to: None,
///     content: "hello".into(),
///     client_message_id: Some("a".into()),
/// };
/// let outcomes = history.append(partition, vec![send(1), send(2)]).await?;
/// assert_eq!(outcomes, [Appended::Stored, Appended::Repeat(MessageId::new(1))]);
///
/// let page = history.page(channel_id, PageFrom::After(MessageId::default()), 10.into()).await?;
/// assert_eq!(page.messages, [send(1)]);
/// assert_eq!(history.stored_position(partition).await?, MessageId::new(2));
/// # Ok::<(), pabal_core::ports::HistoryError>(())
/// # }).unwrap();
/// ```
pub trait HistoryStore: Send + Sync + 'static {
    /// Stores `messages`, whose ids rise, and moves the stored position of the partition to the last
    /// of them, as one durable step. Returns the outcome of each message, in the same order, once all
    /// are durable. The stored position never moves back.
    ///
    /// # Errors
    /// [`HistoryError::Unavailable`]: retry the same batch; some, all or none of it is stored.
    /// [`HistoryError::Poisoned`]: the store cannot continue; stop the process.
    fn append(
        &self,
        partition: Partition,
        messages: Vec<Message>,
    ) -> BoxFuture<'_, Result<Vec<Appended>, HistoryError>>;

    /// The highest id of `partition` that was ever stored or recognised as a repeat; 0 if none.
    ///
    /// It is the floor of new ids: no id at or below it may be assigned again (invariant I2). A new
    /// owner raises the log to it, but does *not* start to read there. It reads the log from its
    /// first entry, because an entry below the position may be stored without being acknowledged and
    /// routed (docs/adr/0011).
    ///
    /// # Errors
    /// [`HistoryError::Unavailable`]: retry.
    fn stored_position(
        &self,
        partition: Partition,
    ) -> BoxFuture<'_, Result<MessageId, HistoryError>>;

    /// Part of a channel, within `limit`. Reads little more than it returns: a page must not cost the
    /// memory of messages that its caller cannot hold.
    ///
    /// # Errors
    /// [`HistoryError::Unavailable`]: retry. [`HistoryError::Damaged`]: do not retry.
    fn page(
        &self,
        channel_id: ChannelId,
        from: PageFrom,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Page, HistoryError>>;

    /// One message; absent if it is not stored.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    fn get(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> BoxFuture<'_, Result<Option<Message>, HistoryError>>;

    /// The newest message id of each channel, in the order given; 0 for an empty channel.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    fn heads(
        &self,
        channel_ids: &[ChannelId],
    ) -> BoxFuture<'_, Result<Vec<MessageId>, HistoryError>>;

    /// How many messages of a channel lie above `after` and are not from `reader`. Looks at the first
    /// `rows` messages above `after` and no further, of any author.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    fn count_unread(
        &self,
        channel_id: ChannelId,
        after: MessageId,
        reader: UserId,
        rows: usize,
    ) -> BoxFuture<'_, Result<Unread, HistoryError>>;

    /// The message that holds this send, if it was stored within [`SEND_KEY_WINDOW`].
    ///
    /// # Errors
    /// As [`page`](Self::page).
    fn find_sent(&self, key: SendKey) -> BoxFuture<'_, Result<Option<MessageId>, HistoryError>>;
}

/// A count of unread messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// The messages of other users among those that were looked at.
    pub messages: usize,
    /// There are messages beyond those that were looked at: the count is at least this.
    pub at_least: bool,
}

/// How long a send is remembered, so that another one with the same key is a repeat.
pub const SEND_KEY_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// The outcome of an append for one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The message is stored, by this append or by an earlier one of the same message.
    Stored,
    /// The same send is stored under this id. Nothing was stored now, and the id of the repeat is
    /// never used.
    Repeat(MessageId),
}

/// Which part of a channel a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFrom {
    /// Ids above this one, oldest first. `After(0)` starts at the beginning of the channel.
    After(MessageId),
    /// Ids below this one, newest first.
    Before(MessageId),
    /// The newest messages, newest first.
    Newest,
    /// Up to half of the limit below this id, the rest from this id on, oldest first.
    Around(MessageId),
}

/// How much a page holds at most. Its first message always fits, whatever its size, or a reader could
/// not get past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// How many messages.
    pub messages: usize,
    /// How many bytes of JSON, each message by [`MessageView::max_bytes`]. In
    /// [`PageFrom::Around`] up to half of them lie below the id.
    pub bytes: usize,
}

impl From<usize> for PageLimit {
    /// So many messages, of any size.
    fn from(messages: usize) -> Self {
        Self { messages, bytes: usize::MAX }
    }
}

impl PageLimit {
    /// The limit of the part of [`PageFrom::Around`] that lies below the id.
    #[must_use]
    pub fn half(self) -> Self {
        Self { messages: self.messages / 2, bytes: self.bytes / 2 }
    }

    /// What is left beside `messages`.
    #[must_use]
    pub fn beside(self, messages: &[Message]) -> Self {
        let bytes: usize = match self.bytes {
            usize::MAX => 0,
            _ => messages.iter().map(|message| MessageView::from(message).max_bytes()).sum(),
        };
        let messages = self.messages.saturating_sub(messages.len());
        Self { messages, bytes: self.bytes.saturating_sub(bytes) }
    }
}

/// Part of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The messages, in the order that [`PageFrom`] states.
    pub messages: Vec<Message>,
    /// Whether there are more messages after the last one in that order.
    pub has_more: bool,
}

impl Page {
    /// The first of `messages` that are within `limit`. Stops at the first error.
    ///
    /// # Errors
    /// The first error of `messages`.
    pub fn within<E>(
        limit: PageLimit,
        messages: impl IntoIterator<Item = Result<Message, E>>,
    ) -> Result<Self, E> {
        let mut filling = PageFilling::new(limit);
        for message in messages {
            if !filling.push(message?) {
                break;
            }
        }
        Ok(filling.page())
    }
}

/// A page while an adapter fills it.
#[derive(Debug)]
pub struct PageFilling {
    page: Page,
    left: PageLimit,
}

impl PageFilling {
    /// An empty page within `limit`.
    pub fn new(limit: PageLimit) -> Self {
        Self { page: Page::default(), left: limit }
    }

    /// Appends a message, if it fits. If not, the page is complete, and there is more.
    pub fn push(&mut self, message: Message) -> bool {
        let bytes = match self.left.bytes {
            usize::MAX => 0,
            _ => MessageView::from(&message).max_bytes(),
        };
        let fits = bytes <= self.left.bytes || self.page.messages.is_empty();
        if self.left.messages == 0 || !fits {
            self.page.has_more = true;
            return false;
        }
        self.left.messages -= 1;
        self.left.bytes = match self.left.bytes {
            usize::MAX => usize::MAX,
            left => left.saturating_sub(bytes),
        };
        self.page.messages.push(message);
        true
    }

    /// How many more messages fit, by their number.
    pub fn missing(&self) -> usize {
        self.left.messages
    }

    /// The page.
    pub fn page(self) -> Page {
        self.page
    }
}

/// Why a history call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The store is unreachable or did not respond in time. Retry.
    #[error("history is unreachable: {0}")]
    Unavailable(String),
    /// A stored value cannot be decoded. Do not retry; `pabal check` shows the value.
    #[error("history holds a value that cannot be decoded: {0}")]
    Damaged(String),
    /// What was written may not be durable, and the store cannot find out. The process must stop and
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
