//! Which messages of each channel the device holds. Repeated messages are dropped here.

use std::collections::BTreeSet;

use crate::ids::{ChannelId, MessageId};
use crate::model::{Channel, Cursors};

/// The highest message id that was yielded, by channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    cursors: Option<Cursors>,
    /// Channels that the user has left. Their cursors are kept in case the user joins again.
    left: BTreeSet<ChannelId>,
}

impl Held {
    pub(crate) fn new(cursors: Option<Cursors>) -> Self {
        Self { cursors, left: BTreeSet::new() }
    }

    /// Whether it is known where the device begins.
    pub(crate) fn is_known(&self) -> bool {
        self.cursors.is_some()
    }

    /// Notes the channels of the user. A device without cursors begins after the newest message of each.
    /// To a device with cursors an unknown channel is new, and begins with its first message.
    pub(crate) fn know(&mut self, channels: &[Channel]) {
        let from_now = self.cursors.is_none();
        let cursors = self.cursors.get_or_insert_default();
        for channel in channels {
            let start = if from_now { channel.last_message_id } else { MessageId::START };
            cursors.entry(channel.channel_id).or_insert(start);
            self.left.remove(&channel.channel_id);
        }
    }

    /// Whether this channel is known.
    pub(crate) fn knows(&self, channel_id: ChannelId) -> bool {
        self.cursors.as_ref().is_some_and(|cursors| cursors.contains_key(&channel_id))
    }

    /// The user is a member of this channel.
    pub(crate) fn joined(&mut self, channel_id: ChannelId) {
        self.left.remove(&channel_id);
    }

    /// The user is no longer a member of this channel.
    pub(crate) fn left(&mut self, channel_id: ChannelId) {
        self.left.insert(channel_id);
    }

    /// Returns whether a message is new; a new one is held from now on.
    pub(crate) fn admit(&mut self, channel_id: ChannelId, message_id: MessageId) -> bool {
        let cursor = self.cursors.get_or_insert_default().entry(channel_id).or_default();
        let new = message_id > *cursor;
        if new {
            *cursor = message_id;
        }
        new
    }

    /// The message after which a channel continues.
    pub(crate) fn cursor(&self, channel_id: ChannelId) -> MessageId {
        let cursors = self.cursors.as_ref();
        cursors.and_then(|cursors| cursors.get(&channel_id)).copied().unwrap_or_default()
    }

    /// The cursors of the channels of which the user is a member.
    pub(crate) fn members(&self) -> Cursors {
        let mut cursors = self.cursors();
        cursors.retain(|channel_id, _| !self.left.contains(channel_id));
        cursors
    }

    /// All cursors.
    pub(crate) fn cursors(&self) -> Cursors {
        self.cursors.clone().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn channel(id: u64, last: u64) -> Channel {
        let json = format!(
            r#"{{"channel_id":"{id}","kind":"group","name":"n","created_at":"2026-01-01T00:00:00Z",
                "role":"member","last_message_id":"{last}"}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_new_device_begins_with_new_messages_and_a_known_one_at_its_cursors() {
        let mut held = Held::default();
        held.know(&[channel(1, 50), channel(2, 0)]);
        assert_eq!(held.cursor(ChannelId::new(1)), MessageId::new(50));
        // A channel that appears later begins with its first message.
        held.know(&[channel(1, 70), channel(2, 0), channel(3, 9)]);
        assert_eq!(held.cursor(ChannelId::new(1)), MessageId::new(50));
        assert_eq!(held.cursor(ChannelId::new(3)), MessageId::START);
        let mut back = Held::new(Some(held.cursors()));
        back.know(&[channel(4, 8)]);
        assert_eq!(back.cursor(ChannelId::new(4)), MessageId::START);
        assert_eq!(back.cursor(ChannelId::new(1)), MessageId::new(50));
    }

    proptest! {
        /// Catch-up, live events and repair may deliver a channel's messages in overlapping runs without
        /// gaps: each message is admitted once, in order.
        #[test]
        fn overlapping_runs_admit_each_message_once(
            runs in proptest::collection::vec((0u64..30, 0u64..30), 0..30),
        ) {
            let mut held = Held::default();
            let (mut top, mut seen) = (0, Vec::new());
            let channel_id = ChannelId::new(7);
            for (back, on) in runs {
                let from = top - back.min(top);
                for id in from + 1..=from + on {
                    if held.admit(channel_id, MessageId::new(id)) {
                        seen.push(id);
                    }
                }
                top = top.max(from + on);
            }
            prop_assert_eq!(seen, (1..=top).collect::<Vec<_>>());
            prop_assert_eq!(held.cursor(channel_id), MessageId::new(top));
        }
    }
}
