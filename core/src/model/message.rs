//! Messages and drafts.

use std::sync::Arc;

use super::{ChannelId, MessageId, Timestamp, UserId};

/// A message as it was accepted; immutable once stored. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The id, which orders it in the channel.
    pub message_id: MessageId,
    /// The channel.
    pub channel_id: ChannelId,
    /// The sender.
    pub message_from: UserId,
    /// The other user, in a direct channel.
    pub message_to: Option<UserId>,
    /// The text.
    pub content: Arc<str>,
    /// The sender's name for the send, by which a repeat is recognised.
    pub client_message_id: Option<Arc<str>>,
}

impl Message {
    /// When it was accepted, from its id.
    pub const fn created_at(&self) -> Timestamp {
        self.message_id.created_at()
    }

    /// The key by which a repeat of this send is recognised; absent if the client gave it no name.
    pub fn send_key(&self) -> Option<SendKey> {
        let client_message_id = self.client_message_id.clone()?;
        let (message_from, channel_id) = (self.message_from, self.channel_id);
        Some(SendKey { message_from, channel_id, client_message_id })
    }
}

/// A message that is authorised and has no id yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The channel.
    pub channel_id: ChannelId,
    /// The sender.
    pub message_from: UserId,
    /// The other user, in a direct channel.
    pub message_to: Option<UserId>,
    /// The text.
    pub content: Arc<str>,
    /// The sender's name for the send.
    pub client_message_id: Option<Arc<str>>,
}

impl Draft {
    /// The message with this id.
    pub fn at(self, message_id: MessageId) -> Message {
        Message {
            message_id,
            channel_id: self.channel_id,
            message_from: self.message_from,
            message_to: self.message_to,
            content: self.content,
            client_message_id: self.client_message_id,
        }
    }

    /// The key by which a repeat of this send is recognised; absent if the client gave it no name.
    pub fn send_key(&self) -> Option<SendKey> {
        let client_message_id = self.client_message_id.clone()?;
        let (message_from, channel_id) = (self.message_from, self.channel_id);
        Some(SendKey { message_from, channel_id, client_message_id })
    }
}

/// Two sends with the same key are the same send (invariant I4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SendKey {
    /// The sender.
    pub message_from: UserId,
    /// The channel.
    pub channel_id: ChannelId,
    /// The name that the client gave to the send.
    pub client_message_id: Arc<str>,
}
