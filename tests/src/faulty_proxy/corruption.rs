//! What the proxy does to messages and acknowledgements: which one it corrupts, and how.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// How many readers may have a message withheld at the same time; beyond it messages pass unchanged.
const WITHHELD_MAX: usize = 65_536;

/// How the proxy corrupts the responses of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// A message is never delivered.
    Lose,
    /// A message is delivered twice.
    Repeat,
    /// A message is delivered after the next one of its channel.
    Reorder,
    /// An acknowledgement names a message that history does not hold.
    Forget,
    /// An acknowledgement names an id below one that was acknowledged before.
    Late,
}

impl Corruption {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Lose, Self::Repeat, Self::Reorder, Self::Forget, Self::Late];

    /// The name of the fault that the oracle must report.
    pub fn fault(self) -> &'static str {
        match self {
            Self::Lose => "Lost",
            Self::Repeat => "Repeated",
            Self::Reorder => "Reordered",
            Self::Forget => "Acknowledged",
            Self::Late => "LateSmallerId",
        }
    }
}

impl FromStr for Corruption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = |kind: &Self| format!("{kind:?}").to_lowercase();
        let all = Self::ALL.map(|kind| name(&kind)).join(", ");
        let found = Self::ALL.into_iter().find(|kind| name(kind) == text);
        found.ok_or_else(|| format!("{text:?} is not one of {all}"))
    }
}

/// Corrupts every n-th message or acknowledgement, counted over all readers.
#[derive(Debug)]
pub(super) struct Corruptor {
    kind: Corruption,
    every: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    messages: u64,
    acknowledgements: u64,
    corrupted: u64,
    /// By reader, the message that was withheld: permanently, or until the next one of its channel.
    withheld: HashMap<String, Value>,
    first_id: Option<Value>,
}

impl Corruptor {
    pub(super) fn new(kind: Corruption, every: u64) -> Self {
        Self { kind, every, state: Mutex::default() }
    }

    /// How many messages or acknowledgements were corrupted.
    pub(super) fn corrupted(&self) -> u64 {
        self.state().corrupted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Corrupts a batch if one of its messages is due. Returns whether the batch changed.
    pub(super) fn batch(&self, reader: &str, document: &mut Value) -> bool {
        let Some(events) = document["events"].as_array_mut() else {
            return false;
        };
        let State { messages, corrupted, withheld, .. } = &mut *self.state();
        let (mut delivered, before) = (Vec::with_capacity(events.len() + 1), events.len());
        let mut changed = false;
        for event in std::mem::take(events) {
            if event["type"] != "message" {
                delivered.push(event);
                continue;
            }
            let kept = withheld.get(reader).map(|kept| &kept["message"]);
            let has_same = |name: &str| kept.is_some_and(|it| it[name] == event["message"][name]);
            if has_same("message_id") {
                // A repeated read gets the same events as the first one.
                continue;
            }
            if self.kind == Corruption::Reorder && has_same("channel_id") {
                delivered.push(event);
                delivered.extend(withheld.remove(reader));
                *corrupted += 1;
                changed = true;
                continue;
            }
            *messages += 1;
            let is_due = messages.is_multiple_of(self.every);
            let has_capacity = withheld.len() < WITHHELD_MAX;
            match self.kind {
                Corruption::Lose if is_due && (has_capacity || withheld.contains_key(reader)) => {
                    withheld.insert(reader.to_owned(), event);
                    *corrupted += 1;
                }
                Corruption::Reorder if is_due && has_capacity && !withheld.contains_key(reader) => {
                    withheld.insert(reader.to_owned(), event);
                }
                Corruption::Repeat if is_due => {
                    delivered.extend([event.clone(), event]);
                    *corrupted += 1;
                }
                _ => delivered.push(event),
            }
        }
        changed |= delivered.len() != before;
        *events = delivered;
        changed
    }

    /// Corrupts the acknowledgement of a send if it is one and is due. Returns whether it changed.
    pub(super) fn acknowledgement(&self, document: &mut Value) -> bool {
        let pointers = ["/message/message_id", "/replies/0/message_id", "/reply/message_id"];
        let pointer =
            pointers.into_iter().find(|it| document.pointer(it).is_some_and(Value::is_string));
        let Some(id) = pointer.and_then(|it| document.pointer_mut(it)) else {
            return false;
        };
        let mut state = self.state();
        state.acknowledgements += 1;
        let first = state.first_id.get_or_insert_with(|| id.clone()).clone();
        if !state.acknowledgements.is_multiple_of(self.every) {
            return false;
        }
        match self.kind {
            Corruption::Forget => {
                let number = id.as_str().and_then(|text| text.parse::<u64>().ok());
                *id = json!((number.unwrap_or_default() + 1).to_string());
            }
            Corruption::Late => *id = first,
            Corruption::Lose | Corruption::Repeat | Corruption::Reorder => return false,
        }
        state.corrupted += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message ids of these batches of channel 7 once every third message is corrupted.
    fn delivered(kind: Corruption, batches: &[&[u64]]) -> Vec<Vec<u64>> {
        let corruptor = Corruptor::new(kind, 3);
        let batches = batches.iter().map(|ids| {
            let events: Vec<_> = ids
                .iter()
                .map(|id| {
                    json!({"type": "message", "message": {"message_id": id, "channel_id": "7"}})
                })
                .collect();
            let mut document = json!({"events": events, "next": "9"});
            let before = document.clone();
            assert_eq!(
                corruptor.batch("ann", &mut document),
                document != before,
                "the result says whether the batch changed"
            );
            assert_eq!(document["next"], "9");
            let events = document["events"].as_array().expect("events");
            events.iter().map(|it| it["message"]["message_id"].as_u64().expect("an id")).collect()
        });
        batches.collect()
    }

    #[test]
    fn every_third_message_is_lost() {
        assert_eq!(
            delivered(Corruption::Lose, &[&[1, 2], &[3], &[4, 5, 6]]),
            [vec![1, 2], vec![], vec![4, 5]]
        );
    }

    #[test]
    fn every_third_message_is_repeated() {
        assert_eq!(delivered(Corruption::Repeat, &[&[1, 2], &[3, 4]]), [vec![1, 2], vec![3, 3, 4]]);
    }

    #[test]
    fn every_third_message_follows_the_next_one() {
        assert_eq!(delivered(Corruption::Reorder, &[&[1, 2, 3, 4]]), [vec![1, 2, 4, 3]]);
        let ids = delivered(Corruption::Reorder, &[&[1, 2, 3], &[], &[4, 5]]);
        assert_eq!(ids, [vec![1, 2], vec![], vec![4, 3, 5]]);
    }
}
