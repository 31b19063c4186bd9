//! The events that a session receives, as JSON. An event is serialised once and shared by all sessions
//! that receive it.

use bytes::Bytes;
use serde::Serialize;

use crate::model::{ChannelId, ChannelKind, Message, MessageId, Role, Timestamp, UserId};

/// A message as clients see it, in events and in responses of the API.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MessageView<'a> {
    message_id: MessageId,
    channel_id: ChannelId,
    message_from: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_to: Option<UserId>,
    content: &'a str,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_message_id: Option<&'a str>,
}

impl<'a> From<&'a Message> for MessageView<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            message_id: message.message_id,
            channel_id: message.channel_id,
            message_from: message.message_from,
            message_to: message.message_to,
            content: &message.content,
            created_at: message.created_at(),
            client_message_id: message.client_message_id.as_deref(),
        }
    }
}

impl MessageView<'_> {
    /// At most so many bytes of JSON, with the comma that follows. Exact but for the digits of the ids: a
    /// control character takes six bytes.
    pub fn max_bytes(&self) -> usize {
        /// Names, punctuation, the time, and five ids of 19 digits.
        const FRAME: usize = 224;
        FRAME + escaped_bytes(self.content) + self.client_message_id.map_or(0, escaped_bytes)
    }
}

/// How many bytes a text takes within a JSON string (RFC 8259 section 7), as `serde_json` writes it.
fn escaped_bytes(text: &str) -> usize {
    let more = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.len() + text.bytes().map(more).sum::<usize>()
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    Message {
        message: MessageView<'a>,
    },
    Read {
        channel_id: ChannelId,
        user_id: UserId,
        message_id: MessageId,
    },
    Typing {
        channel_id: ChannelId,
        user_id: UserId,
    },
    Presence {
        user_id: UserId,
        online: bool,
    },
    Channel {
        action: Action,
        channel_id: ChannelId,
        kind: ChannelKind,
        name: Option<&'a str>,
    },
    Member {
        channel_id: ChannelId,
        user_id: UserId,
        joined: bool,
        role: Option<Role>,
    },
    Resync {
        channel_id: ChannelId,
        cur_max_message_id: MessageId,
    },
    Draining {
        reconnect_after_ms: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<&'a str>,
    },
}

/// What happened to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It was created, or the receiver became a member.
    Added,
    /// Its name changed.
    Renamed,
    /// It was deleted.
    Deleted,
}

#[expect(clippy::expect_used, reason = "plain structs with string keys always serialise")]
fn json(event: &Event<'_>, size_hint: usize) -> Bytes {
    let mut out = Vec::with_capacity(size_hint);
    serde_json::to_writer(&mut out, event).expect("an event serialises");
    // Without spare capacity, because thousands of mailboxes may hold it for a while.
    out.shrink_to_fit();
    out.into()
}

/// A message was stored.
pub fn message(message: &Message) -> Bytes {
    json(&Event::Message { message: message.into() }, 288 + message.content.len())
}

/// What makes a newer event take the place of this one, if it is a moment: an event that is only of use
/// until the next of its kind (`typing`, `read`, `presence`). Absent for any other event.
///
/// It is read from the document itself, so that nodes of all versions agree.
pub fn moment(event: &[u8]) -> Option<&[u8]> {
    let before = |field: &str| {
        let mut starts = event.windows(field.len());
        starts.position(|part| part == field.as_bytes()).map(|at| &event[..at])
    };
    if event.starts_with(br#"{"type":"read","#) {
        return before(",\"message_id\":");
    }
    // Of presence only the very same is replaced: friends see each change.
    let whole = [&br#"{"type":"typing","#[..], br#"{"type":"presence","#];
    whole.iter().any(|start| event.starts_with(start)).then_some(event)
}

/// A member has read up to a message.
pub fn read(channel_id: ChannelId, user_id: UserId, message_id: MessageId) -> Bytes {
    json(&Event::Read { channel_id, user_id, message_id }, 128)
}

/// A member is typing.
pub fn typing(channel_id: ChannelId, user_id: UserId) -> Bytes {
    json(&Event::Typing { channel_id, user_id }, 96)
}

/// A friend came online or went offline.
pub fn presence(user_id: UserId, online: bool) -> Bytes {
    json(&Event::Presence { user_id, online }, 80)
}

/// Something happened to a channel.
pub fn channel(
    action: Action,
    channel_id: ChannelId,
    kind: ChannelKind,
    name: Option<&str>,
) -> Bytes {
    json(&Event::Channel { action, channel_id, kind, name }, 160)
}

/// A user joined a channel, left it, or got another role.
pub fn member(channel_id: ChannelId, user_id: UserId, joined: bool, role: Option<Role>) -> Bytes {
    json(&Event::Member { channel_id, user_id, joined, role }, 128)
}

/// The session could not hold messages of a channel up to `cur_max_message_id`: the client reads them
/// from history.
pub fn resync(channel_id: ChannelId, cur_max_message_id: MessageId) -> Bytes {
    json(&Event::Resync { channel_id, cur_max_message_id }, 112)
}

/// The node is about to stop: reconnect after this time, to the node at `url` if there is one.
pub fn draining(reconnect_after_ms: u64, url: Option<&str>) -> Bytes {
    json(&Event::Draining { reconnect_after_ms, url }, 96)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_size_of_a_message_is_known_before_it_is_serialised(
            content in r"[\x00-\x7f안\u{10ffff}]{0,50}", name in proptest::option::of(".{1,20}"),
            id in 0..u64::MAX >> 1, to in proptest::option::of(0..u64::MAX >> 1),
        ) {
            let message = Message {
                message_id: MessageId::new(id),
                channel_id: ChannelId::new(id),
                message_from: UserId::new(id),
                message_to: to.map(UserId::new),
                content: content.into(),
                client_message_id: name.map(Into::into),
            };
            let view = MessageView::from(&message);
            let written = serde_json::to_vec(&view).expect("serialises").len() + 1;
            prop_assert!(view.max_bytes() >= written);
            prop_assert!(view.max_bytes() <= written + 160, "{} bytes, {written}", view.max_bytes());
        }
    }

    #[test]
    fn a_moment_is_replaced_by_the_next_of_its_kind() {
        let (channel, user) = (ChannelId::new(7), UserId::new(1));
        let [first, second, other] = [(7, 1), (7, 2), (8, 2)]
            .map(|(id, upto)| read(ChannelId::new(id), user, MessageId::new(upto)));
        assert!(moment(&first).is_some());
        assert_eq!(moment(&first), moment(&second));
        assert_ne!(moment(&first), moment(&other));
        assert!(moment(&presence(user, true)).is_some());
        assert_ne!(moment(&presence(user, true)), moment(&presence(user, false)));
        assert_eq!(moment(&typing(channel, user)), moment(&typing(channel, user)));
        assert_ne!(moment(&typing(channel, user)), moment(&typing(channel, UserId::new(2))));
        assert_eq!(moment(&resync(channel, MessageId::new(1))), None);
    }

    #[test]
    fn a_message_event_has_the_fields_of_the_contract() {
        let message = Message {
            message_id: MessageId::new(42 << 22),
            channel_id: ChannelId::new(7),
            message_from: UserId::new(1),
            message_to: Some(UserId::new(2)),
            content: "안녕 \"you\"".into(),
            client_message_id: Some("m1".into()),
        };
        let json: serde_json::Value =
            serde_json::from_slice(&super::message(&message)).expect("is JSON");
        assert_eq!(
            json,
            serde_json::json!({"type": "message", "message": {
                "message_id": "176160768", "channel_id": "7", "message_from": "1",
                "message_to": "2", "content": "안녕 \"you\"",
                "created_at": "2024-01-01T00:00:00.042Z", "client_message_id": "m1",
            }})
        );
    }
}
