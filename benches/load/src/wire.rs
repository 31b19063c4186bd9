//! The server's documents, as far as the generator uses them, parsed without copying; and the stamp of a
//! message.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use pabal_client::Problem;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// The most bytes of content that a stamp needs.
pub(crate) const STAMP_BYTES: usize = 32;

/// A batch, or any other frame of a WebSocket.
#[derive(Debug, Deserialize)]
pub(crate) struct Frame<'a> {
    #[serde(borrow, default)]
    pub(crate) events: Vec<Event<'a>>,
    #[serde(default, deserialize_with = "maybe_number")]
    pub(crate) next: Option<u64>,
    /// The wait of a long poll passed without an event.
    #[serde(default)]
    pub(crate) timeout: bool,
    /// The greeting of a WebSocket that opened its own session.
    pub(crate) session: Option<Document>,
    /// The error with which the server closes the connection.
    pub(crate) error: Option<Problem>,
}

/// An event.
#[derive(Debug, Deserialize)]
pub(crate) struct Event<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) message: Option<Message<'a>>,
    #[serde(default, deserialize_with = "maybe_number")]
    pub(crate) channel_id: Option<u64>,
    #[serde(default, deserialize_with = "maybe_number")]
    pub(crate) cur_max_message_id: Option<u64>,
    pub(crate) reconnect_after_ms: Option<u64>,
    pub(crate) url: Option<String>,
}

/// A message.
#[derive(Debug, Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(deserialize_with = "number")]
    pub(crate) message_id: u64,
    #[serde(deserialize_with = "number")]
    pub(crate) channel_id: u64,
    #[serde(borrow)]
    pub(crate) content: Cow<'a, str>,
}

/// A page of history.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<'a> {
    #[serde(borrow)]
    pub(crate) messages: Vec<Message<'a>>,
    pub(crate) has_more: bool,
}

/// The document of a session.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Document {
    pub(crate) session_id: String,
    #[serde(deserialize_with = "number")]
    pub(crate) next: u64,
}

/// A frame to a speaker: a reply, the cursor of its own messages, or the event that its node drains.
#[derive(Debug, Deserialize)]
pub(crate) struct Echo<'a> {
    #[serde(borrow)]
    pub(crate) reply: Option<Reply<'a>>,
    #[serde(borrow, default)]
    pub(crate) events: Vec<Notice<'a>>,
    #[serde(default, deserialize_with = "maybe_number")]
    pub(crate) next: Option<u64>,
    pub(crate) error: Option<Problem>,
}

/// The fields of an event other than those of its message.
#[derive(Debug, Deserialize)]
pub(crate) struct Notice<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Cow<'a, str>,
    pub(crate) reconnect_after_ms: Option<u64>,
    pub(crate) url: Option<String>,
}

/// The reply to a command.
#[derive(Debug, Deserialize)]
pub(crate) struct Reply<'a> {
    #[serde(borrow)]
    pub(crate) id: Option<Cow<'a, str>>,
    pub(crate) error: Option<Problem>,
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_str(Decimal)
}

fn maybe_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    number(from).map(Some)
}

/// A decimal number in a JSON string, parsed without a copy.
struct Decimal;

impl Visitor<'_> for Decimal {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal number in a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        text.parse().map_err(E::custom)
    }
}

/// The content of a message: its number in its channel, and when it was due, counted from the moment at which
/// the users were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) number: u64,
    pub(crate) due: Duration,
}

impl Stamp {
    /// Content of `bytes` bytes.
    pub(crate) fn content(self, bytes: usize) -> String {
        let stamp = format!("{} {} ", self.number, self.due.as_micros());
        format!("{stamp:.<bytes$}")
    }

    /// The stamp of a content; none for a message that the generator did not send.
    pub(crate) fn of(content: &str) -> Option<Self> {
        let mut parts = content.splitn(3, ' ');
        let number = parts.next()?.parse().ok()?;
        let due = Duration::from_micros(parts.next()?.parse().ok()?);
        Some(Self { number, due })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_from_its_content() {
        for (number, micros) in [(1, 0), (9_999_999_999, 86_400_000_000_000)] {
            let stamp = Stamp { number, due: Duration::from_micros(micros) };
            let content = stamp.content(STAMP_BYTES);
            assert_eq!(content.len(), STAMP_BYTES);
            assert_eq!(Stamp::of(&content), Some(stamp));
            assert_eq!(stamp.content(500).len(), 500);
        }
        assert_eq!(Stamp::of("hello"), None);
    }

    #[test]
    fn frames_are_read_with_what_they_hold() {
        let text = r#"{"events":[{"type":"message","message":{"message_id":"7","channel_id":"9",
            "message_from":"1","content":"1 2 ..","created_at":"x"}},
            {"type":"resync","channel_id":"9","cur_max_message_id":"12"}],"next":"42"}"#;
        let frame: Frame<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(frame.next, Some(42));
        assert_eq!(frame.events[0].message.as_ref().unwrap().message_id, 7);
        assert_eq!(frame.events[1].cur_max_message_id, Some(12));
        let echo: Echo<'_> = serde_json::from_str(text).unwrap();
        assert_eq!((echo.next, echo.reply.is_none()), (Some(42), true));
        let text = r#"{"reply":{"type":"reply","id":"5","error":{"code":"x","status":503}}}"#;
        let echo: Echo<'_> = serde_json::from_str(text).unwrap();
        assert!(echo.reply.unwrap().error.unwrap().retryable());
    }
}
