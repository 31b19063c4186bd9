//! What waits for a node: between routing and delivery.

use bytes::Bytes;

use super::{BoxFuture, Trace};
use crate::model::{ChannelId, Message, MessageId, NodeId, Timestamp, TokenHash, UserId};

/// An ordered queue to each node.
///
/// # Delivery
/// At least once, in the order in which one sender put them in. Entries of different senders
/// interleave. The reader names the position it has dealt with; a crash between dealing and naming
/// repeats entries, which the sessions recognise by message id.
///
/// # Bounds
/// An inbox holds a bounded number of entries. At the bound `send` **waits**, so that routing slows
/// down to what the node can take, the log fills and senders are told: nothing is dropped. An inbox
/// whose node is dead is removed by [`forget`](NodeInbox::forget), which lets waiting sends end.
pub trait NodeInbox: Send + Sync + 'static {
    /// Puts `deliveries` into the inbox of `node`, in order, after all that is there.
    ///
    /// Not cancel-safe: a dropped future may have put in a prefix.
    ///
    /// # Errors
    /// [`InboxError::UnknownNode`]: the node is gone, do not retry. [`InboxError::Unavailable`]:
    /// retry, which may repeat entries.
    fn send(
        &self,
        node: &NodeId,
        deliveries: Vec<Delivery>,
    ) -> BoxFuture<'_, Result<(), InboxError>>;

    /// Up to `limit` entries of the own inbox behind `after`, in order; waits until there is one.
    /// Forgets the entries up to and including `after`. Cancel-safe.
    ///
    /// # Errors
    /// [`InboxError::Unavailable`]: retry from the same position. [`InboxError::UnknownNode`]: this
    /// node has been declared dead, or its inbox may have lost entries that nobody will send again;
    /// open it anew, and begin at its start.
    fn receive(
        &self,
        node: &NodeId,
        after: InboxPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxEntry>, InboxError>>;

    /// Opens the inbox of `node`, empty, if there is none.
    ///
    /// # Errors
    /// [`InboxError::Unavailable`]; retry.
    fn open(&self, node: &NodeId) -> BoxFuture<'_, Result<(), InboxError>>;

    /// Removes the inbox of a node that is gone, with what is in it.
    ///
    /// # Errors
    /// [`InboxError::Unavailable`]; retry.
    fn forget(&self, node: &NodeId) -> BoxFuture<'_, Result<(), InboxError>>;
}

/// A place in an inbox; 0 is before its first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct InboxPosition(pub u64);

/// A delivery at its place.
#[derive(Clone, Debug)]
pub struct InboxEntry {
    /// Where it stands.
    pub position: InboxPosition,
    /// What is to be done.
    pub delivery: Delivery,
}

/// What a node is asked to do for its sessions.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivery {
    /// Hand a stored message to the sessions that want its channel.
    Message {
        /// The message; durable since before it was routed.
        message: Message,
        /// When the accepting node took it, for the measurement of latency.
        accepted_at: Timestamp,
        /// What follows it through its stages.
        trace: Trace,
    },
    /// Hand an event that is no message to `audience`.
    Event {
        /// Who is to see it.
        audience: Audience,
        /// The event as JSON, serialised once.
        event: Bytes,
    },
    /// A user came to or left a channel: their sessions start or stop to want it.
    Membership {
        /// Where.
        channel_id: ChannelId,
        /// Who.
        user_id: UserId,
        /// Came (true) or left.
        joined: bool,
    },
    /// A channel is no more: nobody wants it.
    ChannelEnded {
        /// Which.
        channel_id: ChannelId,
    },
    /// Access ended: close the sessions of a token, or all of a user's.
    EndSessions {
        /// Whose.
        user_id: UserId,
        /// Only those opened with this token; all if absent.
        token: Option<TokenHash>,
    },
    /// A message that this node accepted is durable: answer its sender.
    Stored {
        /// The id the sender waits for.
        message_id: MessageId,
        /// The message that holds this send: another one if it was a repeat.
        first_id: MessageId,
    },
}

/// Who is to see an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// All sessions that want this channel, except those of `except`.
    Channel {
        /// The channel.
        channel_id: ChannelId,
        /// The user who caused it and need not be told.
        except: Option<UserId>,
    },
    /// All sessions of these users.
    Users(Vec<UserId>),
}

/// Why an inbox call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InboxError {
    /// No such inbox: the node was never there, or is gone. Do not retry.
    #[error("node {0} has no inbox")]
    UnknownNode(NodeId),
    /// The inbox cannot be reached. Retry.
    #[error("the inbox cannot be reached: {0}")]
    Unavailable(String),
}

impl InboxError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
