//! A message before and after it has its id.

use std::sync::Arc;

use super::{ChannelId, MessageId, Timestamp, UserId};

/// A message as it was accepted; immutable once stored. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its place in the channel.
    pub message_id: MessageId,
    /// Where it was said.
    pub channel_id: ChannelId,
    /// Who said it.
    pub message_from: UserId,
    /// The other user, in a direct channel.
    pub message_to: Option<UserId>,
    /// What was said.
    pub content: Arc<str>,
    /// The sender's own name for it, by which a repeated send is known.
    pub client_message_id: Option<Arc<str>>,
}

impl Message {
    /// When it was accepted, which its id tells.
    pub const fn created_at(&self) -> Timestamp {
        self.message_id.created_at()
    }

    /// By what a repetition of this send is known, if the client gave it a name.
    pub fn send_key(&self) -> Option<SendKey> {
        let client_message_id = self.client_message_id.clone()?;
        let (message_from, channel_id) = (self.message_from, self.channel_id);
        Some(SendKey { message_from, channel_id, client_message_id })
    }
}

/// A message that was allowed, but has no id yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Where it is said.
    pub channel_id: ChannelId,
    /// Who says it.
    pub message_from: UserId,
    /// The other user, in a direct channel.
    pub message_to: Option<UserId>,
    /// What is said.
    pub content: Arc<str>,
    /// The sender's own name for it.
    pub client_message_id: Option<Arc<str>>,
}

impl Draft {
    /// The message this becomes at `message_id`.
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

    /// By what a repetition of this send is known, if the client gave it a name.
    pub fn send_key(&self) -> Option<SendKey> {
        let client_message_id = self.client_message_id.clone()?;
        let (message_from, channel_id) = (self.message_from, self.channel_id);
        Some(SendKey { message_from, channel_id, client_message_id })
    }
}

/// What makes two sends the same send.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SendKey {
    /// Who sends.
    pub message_from: UserId,
    /// Where.
    pub channel_id: ChannelId,
    /// The name the client gave to this send.
    pub client_message_id: Arc<str>,
}
