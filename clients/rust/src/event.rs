//! What comes by itself.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ids::{ChannelId, MessageId, Seq, UserId};
use crate::model::{ChannelKind, Message, Role};

/// What a [`Connection`](crate::Connection) yields.
///
/// Messages are complete: each once, in rising order of ids within a channel. The other events tell
/// of a moment or a state, and those of a time in which the client was away for longer than the
/// server kept its session are not made up for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message was stored. The caller's own come too, from all of their devices.
    Message(Message),
    /// A member has read up to there.
    Read {
        /// Where.
        channel_id: ChannelId,
        /// Who.
        user_id: UserId,
        /// Up to which message.
        message_id: MessageId,
    },
    /// A member is writing.
    Typing {
        /// Where.
        channel_id: ChannelId,
        /// Who.
        user_id: UserId,
    },
    /// A friend connected or left.
    Presence {
        /// Who.
        user_id: UserId,
        /// Whether they are connected now.
        online: bool,
    },
    /// A channel came, changed or went.
    Channel {
        /// What happened to it.
        action: ChannelAction,
        /// Which.
        channel_id: ChannelId,
        /// What kind of conversation.
        kind: ChannelKind,
        /// A group's name.
        name: Option<String>,
    },
    /// Somebody came to a channel, left it, or has another role there.
    Member {
        /// Where.
        channel_id: ChannelId,
        /// Who.
        user_id: UserId,
        /// Whether they are a member now.
        joined: bool,
        /// What they may do, if they are.
        role: Option<Role>,
    },
    /// An event that this version does not know.
    Other {
        /// Its type; empty if it has none.
        kind: String,
        /// All of it.
        json: String,
    },
}

/// What happened to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChannelAction {
    /// It was made, or the caller came to it.
    Added,
    /// It has another name.
    Renamed,
    /// It is no more.
    Deleted,
    /// What this version does not know.
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
    pub(crate) fn of(json: &str) -> Self {
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

/// The one document that every transport delivers.
#[derive(Debug, Deserialize)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Box<RawValue>>,
    pub(crate) next: Seq,
    #[serde(default)]
    pub(crate) timeout: bool,
}

/// A batch that does not follow what came before it: something was lost on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole;

impl Batch {
    /// The events behind `position`. A session's numbers have no holes, so the first of a batch is
    /// known by its last; what was received before, on another transport perhaps, is left out.
    pub(crate) fn behind(&self, position: Seq) -> Result<&[Box<RawValue>], Hole> {
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
    fn events_are_typed_and_what_is_not_known_is_kept() {
        let typing = Arrived::of(r#"{"type":"typing","channel_id":"7","user_id":"1","new":1}"#);
        let (channel_id, user_id) = (ChannelId::new(7), UserId::new(1));
        assert_eq!(typing, Arrived::Event(Event::Typing { channel_id, user_id }));
        let json = r#"{"type":"reaction","emoji":"🐎"}"#;
        let Arrived::Event(Event::Other { kind, json: kept }) = Arrived::of(json) else {
            panic!("known?");
        };
        assert_eq!((kind.as_str(), kept.as_str()), ("reaction", json));
        let resync = Arrived::of(r#"{"type":"resync","channel_id":"7","cur_max_message_id":"9"}"#);
        assert_eq!(resync, Arrived::Resync(channel_id));
        assert!(matches!(Arrived::of("[]"), Arrived::Event(Event::Other { .. })));
    }

    proptest! {
        /// Whatever overlapping pieces a session is read in, every event is taken once, in order.
        #[test]
        fn overlapping_batches_give_every_event_once(
            pieces in proptest::collection::vec((0u64..20, 0u64..20), 0..40),
        ) {
            let (mut position, mut taken) = (Seq::default(), Vec::new());
            for (back, on) in pieces {
                let from = position.0.saturating_sub(back);
                let batch = batch(from, from + on);
                let fresh = batch.behind(position).expect("no hole");
                taken.extend(fresh.iter().map(|event| event.get().to_owned()));
                position = position.max(batch.next);
            }
            let expected: Vec<_> = (1..=position.0).map(|seq| format!("{{\"seq\":{seq}}}")).collect();
            prop_assert_eq!(taken, expected);
        }

        #[test]
        fn a_hole_is_noticed(position in 0u64..50, gap in 1u64..10, count in 0u64..10) {
            let batch = batch(position + gap, position + gap + count);
            prop_assert_eq!(batch.behind(Seq(position)).err(), Some(Hole));
        }
    }
}
