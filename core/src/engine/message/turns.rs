//! Whose turn it is at delivery. The inbox of a node is one queue; here each channel has a queue of its
//! own, and they take turns, so that a busy channel delays itself and no other. Order holds within a
//! channel. Moments come when nothing else waits.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use crate::model::ChannelId;
use crate::ports::{Audience, Delivery};
use crate::protocol::event;

/// How many moments wait. The oldest is dropped for a further one.
const MOMENTS: usize = 1_024;

/// The deliveries that were taken from the inbox and not delivered yet.
#[derive(Debug, Default)]
pub(super) struct Turns {
    channels: HashMap<Option<ChannelId>, VecDeque<Delivery>, FixedState>,
    /// The channels with a delivery, in the order of their turns.
    order: VecDeque<Option<ChannelId>>,
    moments: VecDeque<Delivery>,
    waiting: usize,
}

impl Turns {
    /// How many deliveries wait, without moments.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0 && self.moments.is_empty()
    }

    /// Adds a delivery behind those of its channel. Returns whether a moment was dropped for it.
    pub(super) fn push(&mut self, delivery: Delivery) -> bool {
        if let Delivery::Event { event, .. } = &delivery
            && event::moment(event).is_some()
        {
            let full = self.moments.len() == MOMENTS;
            if full {
                self.moments.pop_front();
            }
            self.moments.push_back(delivery);
            return full;
        }
        let channel = channel_of(&delivery);
        match self.channels.entry(channel) {
            Entry::Occupied(mut queue) => queue.get_mut().push_back(delivery),
            Entry::Vacant(none) => {
                none.insert(VecDeque::from([delivery]));
                self.order.push_back(channel);
            }
        }
        self.waiting += 1;
        false
    }

    /// The deliveries of the next turn: messages of one channel, as many as `at_most` says if other
    /// channels wait, or one delivery of another kind. None if nothing waits.
    pub(super) fn next(&mut self, at_most: impl Fn(ChannelId) -> usize) -> Vec<Delivery> {
        let Some(channel) = self.order.pop_front() else {
            return self.moments.pop_front().into_iter().collect();
        };
        let Entry::Occupied(mut entry) = self.channels.entry(channel) else {
            debug_assert!(false, "a channel that has a turn has a delivery");
            return Vec::new();
        };
        let queue = entry.get_mut();
        let is_message = |delivery: &&Delivery| matches!(delivery, Delivery::Message { .. });
        let messages = queue.iter().take_while(is_message).count();
        let limit = match channel {
            Some(channel) if !self.order.is_empty() && messages > 1 => at_most(channel),
            _ => usize::MAX,
        };
        let count = messages.min(limit).max(1);
        let turn: Vec<_> = queue.drain(..count).collect();
        self.waiting -= turn.len();
        if queue.is_empty() {
            entry.remove();
        } else {
            self.order.push_back(channel);
        }
        turn
    }
}

/// The channel within whose order a delivery stays.
fn channel_of(delivery: &Delivery) -> Option<ChannelId> {
    match delivery {
        Delivery::Message { message, .. } => Some(message.channel_id),
        Delivery::Event { audience: Audience::Channel { channel_id, .. }, .. }
        | Delivery::Membership { channel_id, .. }
        | Delivery::ChannelEnded { channel_id } => Some(*channel_id),
        Delivery::Event { audience: Audience::Users(_), .. }
        | Delivery::EndSessions { .. }
        | Delivery::Stored { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Message, MessageId, Timestamp, UserId};
    use crate::ports::Trace;

    fn message(channel: u64, id: u64) -> Delivery {
        let message = Message {
            message_id: MessageId::new(id),
            channel_id: ChannelId::new(channel),
            message_from: UserId::new(1),
            message_to: None,
            content: "hello".into(),
            client_message_id: None,
        };
        Delivery::Message { message, accepted_at: Timestamp::default(), trace: Trace::default() }
    }

    fn ids(turn: &[Delivery]) -> Vec<u64> {
        let id = |delivery: &Delivery| match delivery {
            Delivery::Message { message, .. } => message.message_id.get(),
            _ => 0,
        };
        turn.iter().map(id).collect()
    }

    #[test]
    fn channels_take_turns_and_keep_their_order() {
        let mut turns = Turns::default();
        for id in 1..=10 {
            turns.push(message(1, id));
        }
        turns.push(message(2, 11));
        let left = Delivery::Membership {
            channel_id: ChannelId::new(1),
            user_id: UserId::new(1),
            joined: false,
        };
        turns.push(left);
        turns.push(message(1, 12));
        let typing = event::typing(ChannelId::new(3), UserId::new(1));
        let audience = Audience::Channel { channel_id: ChannelId::new(3), except: None };
        turns.push(Delivery::Event { audience, event: typing });
        turns.push(message(2, 13));
        let mut seen = Vec::new();
        while !turns.is_empty() {
            seen.push(ids(&turns.next(|_| 4)));
        }
        let expected: [&[u64]; 6] =
            [&[1, 2, 3, 4], &[11, 13], &[5, 6, 7, 8, 9, 10], &[0], &[12], &[0]];
        assert_eq!(seen, expected, "alone, a channel needs no more than one turn");
        assert_eq!(turns.waiting(), 0);
        assert!(turns.channels.is_empty());
    }

    #[test]
    fn moments_are_bounded() {
        let mut turns = Turns::default();
        let typing = |user| {
            let event = event::typing(ChannelId::new(3), UserId::new(user));
            Delivery::Event { audience: Audience::Users(Vec::new()), event }
        };
        let dropped = (0..1_536).filter(|user| turns.push(typing(*user))).count();
        assert_eq!((dropped, turns.moments.len()), (512, MOMENTS));
    }
}
