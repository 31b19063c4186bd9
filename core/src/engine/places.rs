//! Where a session stands in each of its channels.
//!
//! For every channel it is known which message was handed over last, and a gate says what to do with
//! the next. Together they make a channel's ids rise strictly in the session (invariant I3) through
//! catch-up, overflow and repeated deliveries alike.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::mailbox::{Event, Mailbox, Room};
use crate::model::{ChannelId, MessageId};
use crate::protocol::event;

/// A message's event with the id that orders it.
#[derive(Clone, Debug)]
pub(super) struct MessageEvent {
    pub(super) message_id: MessageId,
    pub(super) event: Event,
}

/// The channels of a session.
#[derive(Debug, Default)]
pub(super) struct Places {
    channels: HashMap<ChannelId, Place, FixedState>,
    /// How many of them are [`Gate::Behind`].
    behind: usize,
    /// How many catch-ups there have been.
    catch_ups: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The highest message id the session was handed, or told to fetch up to.
    handed: MessageId,
    gate: Gate,
}

/// What happens to the next message of a channel.
#[derive(Clone, Copy, Debug, Default)]
enum Gate {
    /// It goes into the mailbox.
    #[default]
    Open,
    /// It is noted: the catch-up of this number is reading history and will come to it. With `cut`
    /// something was lost meanwhile, and catch-up will end in a `resync`.
    CatchingUp { number: u64, newest: MessageId, cut: bool },
    /// It is noted: the mailbox was full, and a `resync` up to `newest` follows once there is room.
    Behind { newest: MessageId },
}

/// A channel whose messages wait until history was read up to them.
#[derive(Clone, Copy, Debug)]
pub(super) struct CatchUp {
    pub(super) channel_id: ChannelId,
    /// What lies beyond it is to be handed over.
    pub(super) cursor: MessageId,
    /// Nothing if the session cannot catch up with this channel now.
    number: Option<u64>,
}

impl CatchUp {
    /// Whether the channel waits.
    pub(super) fn began(&self) -> bool {
        self.number.is_some()
    }
}

impl Places {
    /// A message goes where the gate of its channel says.
    pub(super) fn push(
        &mut self,
        mailbox: &mut Mailbox,
        room: Room,
        channel_id: ChannelId,
        message: &MessageEvent,
    ) {
        let message_id = message.message_id;
        let place = self.channels.entry(channel_id).or_default();
        match &mut place.gate {
            Gate::Open if message_id <= place.handed => {}
            Gate::Open => match mailbox.push(message.event.clone(), room) {
                Ok(()) => place.handed = message_id,
                Err(_) => {
                    place.gate = Gate::Behind { newest: message_id };
                    self.behind += 1;
                }
            },
            // Deliveries repeat, so what comes later may be older.
            Gate::CatchingUp { newest, .. } | Gate::Behind { newest } => {
                *newest = message_id.max(*newest);
            }
        }
    }

    /// Something of a channel, at most `newest`, is lost to the session. A catch-up that is under way
    /// knows best up to where, so it is left to it to say so.
    pub(super) fn fall_behind(&mut self, channel_id: ChannelId, newest: MessageId) {
        let place = self.channels.entry(channel_id).or_default();
        match &mut place.gate {
            Gate::Open => {
                let newest = newest.max(place.handed);
                place.gate = Gate::Behind { newest };
                self.behind += 1;
            }
            Gate::CatchingUp { newest: noted, cut, .. } => {
                *noted = newest.max(*noted);
                *cut = true;
            }
            Gate::Behind { newest: noted } => *noted = newest.max(*noted),
        }
    }

    /// Announces the channels that fell behind, once half of the mailbox is free: at every free
    /// slot, a slow reader would be sent from one resync to the next. Answers whether it did.
    pub(super) fn settle(&mut self, mailbox: &mut Mailbox, room: Room) -> bool {
        if self.behind == 0 || !mailbox.half_empty(room) {
            return false;
        }
        let before = self.behind;
        for (&channel_id, place) in &mut self.channels {
            let Gate::Behind { newest } = place.gate else {
                continue;
            };
            let event = Event {
                payload: event::resync(channel_id, newest),
                accepted_at: newest.created_at(),
            };
            if mailbox.push(event, room).is_err() {
                break;
            }
            let handed = newest.max(place.handed);
            let gate = Gate::Open;
            *place = Place { handed, gate };
            self.behind -= 1;
        }
        self.behind < before
    }

    /// From now on messages of this channel wait for catch-up, unless the session was handed
    /// messages above `cursor` already, so that catch-up would be out of order.
    pub(super) fn begin_catch_up(&mut self, channel_id: ChannelId, cursor: MessageId) -> CatchUp {
        let place = self.channels.entry(channel_id).or_default();
        let mut number = None;
        if place.handed <= cursor && matches!(place.gate, Gate::Open) {
            self.catch_ups += 1;
            number = Some(self.catch_ups);
            *place = Place {
                handed: cursor,
                gate: Gate::CatchingUp {
                    number: self.catch_ups,
                    newest: MessageId::default(),
                    cut: false,
                },
            };
        }
        CatchUp { channel_id, cursor, number }
    }

    /// Hands over one page of catch-up and answers whether another is needed, because live messages
    /// went by in the meantime (invariant I6).
    pub(super) fn push_catch_up(
        &mut self,
        mailbox: &mut Mailbox,
        room: Room,
        catch_up: &CatchUp,
        page: &[MessageEvent],
    ) -> bool {
        let channel_id = catch_up.channel_id;
        let Some((place, newest, cut)) = self.catching_up(catch_up) else {
            return false;
        };
        let waits = place.gate;
        place.gate = Gate::Open;
        if cut {
            let last = page.last().map_or(catch_up.cursor, |last| last.message_id);
            self.fall_behind(channel_id, newest.max(last));
            return false;
        }
        for message in page {
            self.push(mailbox, room, channel_id, message);
        }
        let place = self.channels.entry(channel_id).or_default();
        if newest <= place.handed {
            return false;
        }
        let fits = matches!(place.gate, Gate::Open);
        if fits {
            place.gate = waits;
        } else {
            self.fall_behind(channel_id, newest);
        }
        fits
    }

    /// A cursor beyond everything there is hides nothing that comes later: catch-up begins at
    /// `head`.
    pub(super) fn lower_cursor(&mut self, catch_up: &CatchUp, head: MessageId) {
        if let Some((place, ..)) = self.catching_up(catch_up) {
            place.handed = place.handed.min(head);
        }
    }

    /// Catch-up ends here: the session cannot be given this channel up to `newest` event by event.
    pub(super) fn cut_short(&mut self, catch_up: &CatchUp, newest: MessageId) {
        let mut newest = newest;
        if let Some((place, noted, _)) = self.catching_up(catch_up) {
            place.gate = Gate::Open;
            newest = newest.max(noted);
        }
        self.fall_behind(catch_up.channel_id, newest);
    }

    /// The session has no business in this channel.
    pub(super) fn abandon_catch_up(&mut self, catch_up: &CatchUp) {
        if self.catching_up(catch_up).is_some() {
            self.channels.remove(&catch_up.channel_id);
        }
    }

    /// The session's user left this channel.
    pub(super) fn forget(&mut self, channel_id: ChannelId) {
        let place = self.channels.remove(&channel_id);
        if let Some(Gate::Behind { .. }) = place.map(|place| place.gate) {
            self.behind -= 1;
        }
    }

    /// The place of a catch-up that is under way, the newest message that went by, and whether it
    /// was cut.
    fn catching_up(&mut self, catch_up: &CatchUp) -> Option<(&mut Place, MessageId, bool)> {
        let place = self.channels.get_mut(&catch_up.channel_id)?;
        match place.gate {
            Gate::CatchingUp { number, newest, cut } if Some(number) == catch_up.number => {
                Some((place, newest, cut))
            }
            _ => None,
        }
    }
}
