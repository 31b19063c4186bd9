//! Commands of a session and the replies to them, as they are on the wire: the same JSON over a WebSocket
//! and in a request.

use serde::{Deserialize, Serialize};

use crate::error::Problem;
use crate::http::Failure;
use crate::ids::{ChannelId, MessageId};

/// A command. The reply carries the same `id`.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Command<'a> {
    Send { id: &'a str, channel_id: ChannelId, client_message_id: &'a str, content: &'a str },
    Typing { id: &'a str, channel_id: ChannelId },
    Read { id: &'a str, channel_id: ChannelId, message_id: MessageId },
}

/// The reply to a command.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Reply {
    pub(crate) id: Option<String>,
    message_id: Option<MessageId>,
    error: Option<Problem>,
}

impl Reply {
    /// The id of the message that a send became; other commands have none.
    pub(crate) fn outcome(self) -> Result<Option<MessageId>, Failure> {
        match self.error {
            Some(problem) => Err(Failure::Problem(Box::new(problem))),
            None => Ok(self.message_id),
        }
    }
}
