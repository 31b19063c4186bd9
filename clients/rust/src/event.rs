//! The events that a connection yields, and the batches in which they arrive.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ids::{ChannelId, MessageId, Seq, UserId};
use crate::model::{ChannelKind, Message, Role};

/// What a [`Connection`](crate::Connection) yields.
///
/// Messages are complete: each one once, in rising order of ids within a channel. The other events describe a
/// moment or a state. They are lost if the client was unreachable for longer than the server keeps its
/// session (60 s by default).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message is durable. The caller's own messages are yielded as well, from all of their devices.
    Message(Message),
    /// A member has read a channel. Yielded for the caller's other devices as well.
    Read {
        /// The channel.
        channel_id: ChannelId,
        /// The member.
        user_id: UserId,
        /// The last message that the member has read.
        message_id: MessageId,
    },
    /// A member is typing. There is no event for the end of it.
    Typing {
        /// The channel.
        channel_id: ChannelId,
        /// The member.
        user_id: UserId,
    },
    /// A friend who shares their presence connected or disconnected.
    Presence {
        /// The friend.
        user_id: UserId,
        /// Whether the friend is connected now.
        online: bool,
    },
    /// A channel of the caller was added, renamed or deleted.
    Channel {
        /// What happened to the channel.
        action: ChannelAction,
        /// The channel.
        channel_id: ChannelId,
        /// Its kind.
        kind: ChannelKind,
        /// Its name; only groups have one.
        name: Option<String>,
    },
    /// The membership or role of a user in a channel changed.
    Member {
        /// The channel.
        channel_id: ChannelId,
        /// The user.
        user_id: UserId,
        /// Whether the user is a member now.
        joined: bool,
        /// The role of a member; `None` for a user who has left.
        role: Option<Role>,
    },
    /// An event of a type that this version of the crate does not know.
    Other {
        /// The type; empty if the event has none.
        kind: String,
        /// The whole event, as the server sent it.
        json: String,
    },
}

/// What happened to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChannelAction {
    /// It was created, or the caller became a member.
    Added,
    /// Its name changed.
    Renamed,
    /// It was deleted.
    Deleted,
    /// An action that this version of the crate does not know.
    #[serde(other)]
    Unknown,
}

/// An event of the session: for the caller, or for the client itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    Event(Event),
    /// The session could not hold a part of a channel.
    Resync(ChannelId),
    /// The node is about to stop.
    Draining {
        reconnect_after_ms: u64,
        url: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Wire {
    Message {
        message: Message,
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
        action: ChannelAction,
        channel_id: ChannelId,
        kind: ChannelKind,
        #[serde(default)]
        name: Option<String>,
    },
    Member {
        channel_id: ChannelId,
        user_id: UserId,
        joined: bool,
        #[serde(default)]
        role: Option<Role>,
    },
    Resync {
        channel_id: ChannelId,
    },
    Draining {
        reconnect_after_ms: u64,
        #[serde(default)]
        url: Option<String>,
    },
}

impl Arrived {
    pub(crate) fn parse(json: &str) -> Self {
        #[derive(Deserialize)]
        struct Typed {
            #[serde(default, rename = "type")]
            kind: String,
        }
        let Ok(wire) = serde_json::from_str::<Wire>(json) else {
            let typed = serde_json::from_str::<Typed>(json);
            let kind = typed.map(|typed| typed.kind).unwrap_or_default();
            return Self::Event(Event::Other { kind, json: json.to_owned() });
        };
        Self::Event(match wire {
            Wire::Message { message } => Event::Message(message),
            Wire::Read { channel_id, user_id, message_id } => {
                Event::Read { channel_id, user_id, message_id }
            }
            Wire::Typing { channel_id, user_id } => Event::Typing { channel_id, user_id },
            Wire::Presence { user_id, online } => Event::Presence { user_id, online },
            Wire::Channel { action, channel_id, kind, name } => {
                Event::Channel { action, channel_id, kind, name }
            }
            Wire::Member { channel_id, user_id, joined, role } => {
                Event::Member { channel_id, user_id, joined, role }
            }
            Wire::Resync { channel_id } => return Self::Resync(channel_id),
            Wire::Draining { reconnect_after_ms, url } => {
                return Self::Draining { reconnect_after_ms, url };
            }
        })
    }
}

/// The document that every transport delivers.
#[derive(Debug, Deserialize)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Box<RawValue>>,
    pub(crate) next: Seq,
    #[serde(default)]
    pub(crate) timeout: bool,
}

/// Events are missing between the position and a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole;

impl Batch {
    /// The events after `position`. The numbers of a session have no holes, so the number of the first event
    /// follows from that of the last. Events that were received before, perhaps on another transport, are
    /// left out.
    pub(crate) fn after(&self, position: Seq) -> Result<&[Box<RawValue>], Hole> {
        let count = self.events.len() as u64;
        let before = self.next.0.checked_sub(count).ok_or(Hole)?;
        let known = position.0.checked_sub(before).ok_or(Hole)?;
        Ok(&self.events[usize::try_from(known.min(count)).unwrap_or(0)..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(from: u64, to: u64) -> Batch {
        let events: Vec<_> = (from + 1..=to).map(|seq| format!("{{\"seq\":{seq}}}")).collect();
        let json = format!("{{\"events\":[{}],\"next\":\"{to}\"}}", events.join(","));
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn events_are_typed_and_unknown_ones_are_kept() {
        let typing = Arrived::parse(r#"{"type":"typing","channel_id":"7","user_id":"1","new":1}"#);
        let (channel_id, user_id) = (ChannelId::new(7), UserId::new(1));
        assert_eq!(typing, Arrived::Event(Event::Typing { channel_id, user_id }));
        let json = r#"{"type":"reaction","emoji":"🐎"}"#;
        let Arrived::Event(Event::Other { kind, json: kept }) = Arrived::parse(json) else {
            panic!("the type is known");
        };
        assert_eq!((kind.as_str(), kept.as_str()), ("reaction", json));
        let resync =
            Arrived::parse(r#"{"type":"resync","channel_id":"7","cur_max_message_id":"9"}"#);
        assert_eq!(resync, Arrived::Resync(channel_id));
        assert!(matches!(Arrived::parse("[]"), Arrived::Event(Event::Other { .. })));
    }

    proptest! {
        /// A session that is read in overlapping batches yields every event once, in order.
        #[test]
        fn overlapping_batches_yield_every_event_once(
            pieces in proptest::collection::vec((0u64..20, 0u64..20), 0..40),
        ) {
            let (mut position, mut taken) = (Seq::default(), Vec::new());
            for (back, on) in pieces {
                let from = position.0.saturating_sub(back);
                let batch = batch(from, from + on);
                let fresh = batch.after(position).expect("no hole");
                taken.extend(fresh.iter().map(|event| event.get().to_owned()));
                position = position.max(batch.next);
            }
            let expected: Vec<_> = (1..=position.0).map(|seq| format!("{{\"seq\":{seq}}}")).collect();
            prop_assert_eq!(taken, expected);
        }

        #[test]
        fn a_hole_is_detected(position in 0u64..50, gap in 1u64..10, count in 0u64..10) {
            let batch = batch(position + gap, position + gap + count);
            prop_assert_eq!(batch.after(Seq(position)).err(), Some(Hole));
        }
    }
}
