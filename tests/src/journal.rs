//! What one device received, checked event by event against the guarantees of the contract: positions without
//! holes, ids that rise in each channel, no repeats.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::time::Instant;

use crate::account::{Cursors, Id, Message, id};
use crate::line::Batch;

/// A broken guarantee that a client has observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The `next` of a batch does not match its events and the position of the read.
    WrongNext {
        /// The position of the read.
        after: Id,
        /// How many events the batch held.
        events: usize,
        /// The `next` of the batch.
        next: Id,
    },
    /// A message was delivered that the device held already.
    Repeated {
        /// The message.
        message_id: Id,
    },
    /// A message was delivered after one with a higher id.
    Reordered {
        /// The message.
        message_id: Id,
        /// The highest id that the device held by then.
        cursor: Id,
    },
    /// The server refused a position that it had given to the client.
    PositionRefused {
        /// The response.
        response: String,
    },
    /// The server closed or responded in a way that the contract does not allow here.
    Unexpected {
        /// What it did.
        what: String,
    },
}

/// A part of a channel that must be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resync {
    /// The channel.
    pub channel_id: Id,
    /// The last message of the part.
    pub upto: Id,
}

/// The journal of a device.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// The name of the device, for reports.
    pub name: String,
    /// Where each channel began for this device.
    pub started_at: Cursors,
    /// The messages, in the order of delivery.
    pub messages: BTreeMap<Id, Vec<Message>>,
    /// When each of them was delivered.
    pub arrived: BTreeMap<Id, Vec<Instant>>,
    /// The other events, in the order of delivery.
    pub events: Vec<Value>,
    /// The broken guarantees.
    pub violations: Vec<Violation>,
    /// The number of resyncs.
    pub resyncs: usize,
    /// The number of sessions.
    pub sessions: usize,
    /// How many times a line was opened.
    pub lines: usize,
    /// How many lines the server closed because another one replaced them.
    pub replaced: usize,
    /// Whether the token ended.
    pub logged_out: bool,
}

impl Journal {
    /// The journal of a device that holds messages up to these.
    pub fn new(name: impl Into<String>, cursors: &Cursors) -> Self {
        Self { name: name.into(), started_at: cursors.clone(), ..Self::default() }
    }

    /// The highest message id held, by channel.
    pub fn cursors(&self) -> Cursors {
        let mut cursors = self.started_at.clone();
        for (channel_id, messages) in &self.messages {
            if let Some(last) = messages.last() {
                let cursor = cursors.entry(*channel_id).or_default();
                *cursor = last.message_id.max(*cursor);
            }
        }
        cursors
    }

    /// The highest message id held of a channel.
    pub fn cursor(&self, channel_id: Id) -> Id {
        let began = self.started_at.get(&channel_id).copied().unwrap_or_default();
        let messages = self.messages.get(&channel_id).and_then(|messages| messages.last());
        messages.map_or(began, |message| message.message_id)
    }

    /// How many messages of a channel were delivered.
    pub fn count(&self, channel_id: Id) -> usize {
        self.messages.get(&channel_id).map_or(0, Vec::len)
    }

    /// The events of a type.
    pub fn events_of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(move |event| event["type"] == kind)
    }

    /// Checks a batch that was read after `after`.
    pub fn batch(&mut self, after: Id, batch: &Batch) {
        let events = batch.events.len();
        if batch.next != after + events as Id {
            self.violations.push(Violation::WrongNext { after, events, next: batch.next });
        }
    }

    /// Notes an event. Returns what must be fetched before the next event is noted.
    pub fn event(&mut self, event: &Value) -> Option<Resync> {
        match event["type"].as_str() {
            Some("message") => {
                self.message(Message::of(&event["message"]));
                None
            }
            Some("resync") => {
                self.resyncs += 1;
                let (channel_id, upto) =
                    (id(&event["channel_id"]), id(&event["cur_max_message_id"]));
                Some(Resync { channel_id, upto })
            }
            Some(_) => {
                self.events.push(event.clone());
                None
            }
            None => panic!("an event without a type: {event}"),
        }
    }

    /// Notes a message, which was delivered as an event or fetched.
    pub fn message(&mut self, message: Message) {
        let (message_id, cursor) = (message.message_id, self.cursor(message.channel_id));
        let held = self.messages.entry(message.channel_id).or_default();
        if message_id > cursor {
            self.arrived.entry(message.channel_id).or_default().push(Instant::now());
            held.push(message);
        } else if held.iter().any(|other| other.message_id == message_id) {
            self.violations.push(Violation::Repeated { message_id });
        } else {
            self.violations.push(Violation::Reordered { message_id, cursor });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(message_id: Id) -> Value {
        json!({"type": "message", "message": {
            "message_id": message_id.to_string(), "channel_id": "7", "message_from": "1",
            "content": "hi", "created_at": "2024-01-01T00:00:00.042Z",
        }})
    }

    fn violations(ids: &[Id]) -> Vec<Violation> {
        let mut journal = Journal::new("ann", &Cursors::from([(7, 10)]));
        for id in ids {
            assert_eq!(journal.event(&message(*id)), None);
        }
        journal.violations
    }

    #[test]
    fn rising_ids_are_in_order() {
        assert_eq!(violations(&[11, 12, 15]), []);
    }

    #[test]
    fn a_repeated_message_is_detected() {
        assert_eq!(violations(&[11, 12, 11]), [Violation::Repeated { message_id: 11 }]);
        assert_eq!(violations(&[11, 11]), [Violation::Repeated { message_id: 11 }]);
    }

    #[test]
    fn a_late_smaller_id_is_detected() {
        let late = Violation::Reordered { message_id: 12, cursor: 15 };
        assert_eq!(violations(&[11, 15, 12]), [late]);
        let below_start = Violation::Reordered { message_id: 9, cursor: 10 };
        assert_eq!(violations(&[9]), [below_start]);
    }

    #[test]
    fn a_hole_in_the_positions_is_detected() {
        let mut journal = Journal::default();
        let batch =
            |events: usize, next| Batch { events: vec![message(1); events], next, timeout: false };
        journal.batch(4, &batch(2, 6));
        journal.batch(6, &batch(0, 6));
        assert_eq!(journal.violations, []);
        journal.batch(6, &batch(1, 8));
        let hole = Violation::WrongNext { after: 6, events: 1, next: 8 };
        assert_eq!(journal.violations, [hole]);
    }

    #[test]
    fn a_resync_names_what_to_fetch() {
        let mut journal = Journal::default();
        let event = json!({"type": "resync", "channel_id": "7", "cur_max_message_id": "20"});
        assert_eq!(journal.event(&event), Some(Resync { channel_id: 7, upto: 20 }));
    }
}
