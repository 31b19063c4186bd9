//! The inbox of a node: between routing and delivery.

use bytes::Bytes;

use super::{BoxFuture, Trace};
use crate::model::{ChannelId, DeviceId, Message, MessageId, NodeId, Timestamp, TokenHash, UserId};

/// An ordered queue to each node.
///
/// # Delivery
/// At least once, in the order in which one sender appended. Entries of different senders interleave.
/// The reader passes the position of the last entry that it has handled; a crash between the two
/// repeats entries, and sessions skip these by message id.
///
/// # Limits
/// An inbox holds a limited number of entries. At the limit `send` **waits**: routing slows down to
/// the speed of the node, the log fills, and senders get an error. Nothing is dropped. When a node is
/// dead, [`forget`](NodeInbox::forget) removes its inbox, and the waiting sends return.
///
/// # Example
/// ```
/// use pabal_core::memory::MemoryNodeInbox;
/// use pabal_core::model::{ChannelId, NodeId};
/// use pabal_core::ports::{Delivery, InboxPosition, NodeInbox};
///
/// # futures::executor::block_on(async {
/// let inbox = MemoryNodeInbox::new(1_000);
/// let node: NodeId = "n1".parse().expect("is a node name");
/// inbox.open(&node).await?;
/// let ended = Delivery::ChannelEnded { channel_id: ChannelId::new(7) };
/// inbox.send(&node, vec![ended.clone()]).await?;
///
/// let entries = inbox.receive(&node, InboxPosition::default(), 10).await?;
/// assert_eq!(entries[0].delivery, ended);
/// # Ok::<(), pabal_core::ports::InboxError>(())
/// # }).unwrap();
/// ```
pub trait NodeInbox: Send + Sync + 'static {
    /// Appends `deliveries` to the inbox of `node`, in order.
    ///
    /// Not cancel-safe: a dropped future may have appended some of them, from the first one on.
    ///
    /// # Errors
    /// [`InboxError::UnknownNode`]: the node is gone; do not retry. [`InboxError::Unavailable`]:
    /// retry, which may repeat entries.
    fn send(
        &self,
        node: &NodeId,
        deliveries: Vec<Delivery>,
    ) -> BoxFuture<'_, Result<(), InboxError>>;

    /// Up to `limit` entries of the own inbox after `after`, in order. Waits until there is one.
    /// Removes the entries up to and including `after`. Cancel-safe.
    ///
    /// # Errors
    /// [`InboxError::Unavailable`]: retry from the same position. [`InboxError::UnknownNode`]: the
    /// inbox was removed, because the node seemed dead, or may have lost entries that are not sent
    /// again. [Open](Self::open) it, and read from its start.
    fn receive(
        &self,
        node: &NodeId,
        after: InboxPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxEntry>, InboxError>>;

    /// Opens the inbox of `node`, empty, if it does not exist.
    ///
    /// # Errors
    /// [`InboxError::Unavailable`]: retry.
    fn open(&self, node: &NodeId) -> BoxFuture<'_, Result<(), InboxError>>;

    /// Removes the inbox of a dead node with its entries.
    ///
    /// # Errors
    /// [`InboxError::Unavailable`]: retry.
    fn forget(&self, node: &NodeId) -> BoxFuture<'_, Result<(), InboxError>>;
}

/// A position in an inbox; 0 is before its first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct InboxPosition(pub u64);

/// A delivery with its position.
#[derive(Clone, Debug)]
pub struct InboxEntry {
    /// The position of the entry. Positions of an inbox rise strictly.
    pub position: InboxPosition,
    /// What the node has to do.
    pub delivery: Delivery,
}

/// What a node has to do for its sessions.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivery {
    /// Append a stored message to the sessions that subscribe to its channel.
    Message {
        /// The message. It was durable before it was routed.
        message: Message,
        /// When the message was accepted, to measure latency.
        accepted_at: Timestamp,
        /// The trace of the message.
        trace: Trace,
    },
    /// Append an event that is no message to the sessions of `audience`.
    Event {
        /// The sessions that receive the event.
        audience: Audience,
        /// The event as JSON, serialised once.
        event: Bytes,
    },
    /// A user joined or left a channel: the user's sessions subscribe or unsubscribe.
    Membership {
        /// The channel.
        channel_id: ChannelId,
        /// The user.
        user_id: UserId,
        /// Whether the user joined (true) or left.
        joined: bool,
    },
    /// A channel was deleted: all sessions unsubscribe.
    ChannelEnded {
        /// The channel.
        channel_id: ChannelId,
    },
    /// End what the revoked access of a user gave: sessions, or the connections of one token.
    EndSessions {
        /// The user.
        user_id: UserId,
        /// What was revoked.
        revoked: Revoked,
    },
    /// A message that this node accepted is durable: acknowledge it to its sender.
    Stored {
        /// The id for which the sender waits.
        message_id: MessageId,
        /// The id of the message that holds the send: a lower one if it was a repeat.
        first_id: MessageId,
    },
}

/// Access of a user that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// Every device with its tokens: all sessions of the user end.
    All,
    /// A device with its tokens: its sessions end.
    Device {
        /// The device.
        device_id: DeviceId,
        /// One of its tokens, for nodes of an earlier version: they end the sessions which that token
        /// opened.
        token: TokenHash,
    },
    /// A token whose device has another one: its connections end, and the sessions of the device wait
    /// for the other token.
    Token(TokenHash),
}

/// The sessions that receive an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// All sessions that subscribe to a channel, except those of one user.
    Channel {
        /// The channel.
        channel_id: ChannelId,
        /// The user who caused the event and does not receive it.
        except: Option<UserId>,
    },
    /// All sessions of these users.
    Users(Vec<UserId>),
}

/// Why an inbox call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InboxError {
    /// The inbox does not exist: the node never opened it, or it was removed. Do not retry.
    #[error("node {0} has no inbox")]
    UnknownNode(NodeId),
    /// The inbox is unreachable. Retry.
    #[error("the inbox is unreachable: {0}")]
    Unavailable(String),
}

impl InboxError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
