//! What a session does with the next message of each of its channels.
//!
//! For each channel the session knows the highest message id that it has announced, and a gate that
//! decides about the next message. Together they make the message ids of a channel rise strictly
//! within the session (invariant I3): through catch-up, overflow and repeated deliveries.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::mailbox::{Event, Mailbox, MailboxLimits};
use crate::model::{ChannelId, MessageId, Seq};
use crate::protocol::event;

/// The event of a message, with the id that orders it.
#[derive(Clone, Debug)]
pub(in crate::engine) struct MessageEvent {
    pub(in crate::engine) message_id: MessageId,
    /// Absent if the node has no memory left for it: its sessions get a `resync`.
    pub(in crate::engine) event: Option<Event>,
}

/// The channels of a session, each with its gate.
#[derive(Debug, Default)]
pub(super) struct ChannelGates {
    channels: HashMap<ChannelId, Channel, FixedState>,
    /// How many gates are [`Gate::Overflowed`].
    overflowed: usize,
    /// How many catch-ups have begun: the number of the newest.
    catch_ups: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Channel {
    /// The highest message id that the session announced: by the message or by a `resync`.
    announced: MessageId,
    /// The seq of the last event of the channel.
    last: Seq,
    gate: Gate,
}

/// What happens to the next message of a channel.
#[derive(Clone, Copy, Debug, Default)]
enum Gate {
    /// The message goes into the mailbox.
    #[default]
    Open,
    /// Only the id is recorded: the catch-up of this number is reading history and will read the
    /// message too. `cut` means that an event was lost meanwhile, so catch-up ends in a `resync`.
    CatchingUp { number: u64, newest: MessageId, cut: bool },
    /// Only the id is recorded: the mailbox was full. A `resync` up to `newest` follows as soon as
    /// the mailbox has capacity.
    Overflowed { newest: MessageId },
}

/// A channel whose live messages wait until history was read up to them.
#[derive(Clone, Copy, Debug)]
pub(super) struct CatchUp {
    pub(super) channel_id: ChannelId,
    /// Catch-up delivers the messages above this id.
    pub(super) cursor: MessageId,
    /// Absent if the session cannot catch up with this channel now.
    number: Option<u64>,
}

impl CatchUp {
    /// Whether the gate closed for this catch-up.
    pub(super) fn began(&self) -> bool {
        self.number.is_some()
    }
}

impl ChannelGates {
    /// A live message: into the mailbox, or recorded, as the gate of its channel says.
    pub(super) fn append(
        &mut self,
        mailbox: &mut Mailbox,
        limits: MailboxLimits,
        channel_id: ChannelId,
        message: &MessageEvent,
    ) {
        let message_id = message.message_id;
        let channel = self.channels.entry(channel_id).or_default();
        match &mut channel.gate {
            // A repeated delivery.
            Gate::Open if message_id <= channel.announced => {}
            Gate::Open => {
                let event = message.event.clone();
                if event.is_some_and(|event| mailbox.append(event, limits).is_ok()) {
                    (channel.announced, channel.last) = (message_id, mailbox.last());
                } else {
                    channel.gate = Gate::Overflowed { newest: message_id };
                    self.overflowed += 1;
                }
            }
            // Deliveries repeat, so a later delivery may have a lower id.
            Gate::CatchingUp { newest, .. } | Gate::Overflowed { newest } => {
                *newest = message_id.max(*newest);
            }
        }
    }

    /// The newest event of the mailbox is one of this channel, and no message.
    pub(super) fn appended(&mut self, channel_id: ChannelId, mailbox: &Mailbox) {
        self.channels.entry(channel_id).or_default().last = mailbox.last();
    }

    /// The events above `kept` were dropped: their channels need a `resync`.
    pub(super) fn overflow_above(&mut self, kept: Seq) {
        let dropped = self.channels.iter_mut().filter(|(_, channel)| channel.last > kept);
        let dropped: Vec<_> = dropped
            .map(|(channel_id, channel)| {
                channel.last = kept;
                (*channel_id, channel.announced)
            })
            .collect();
        for (channel_id, announced) in dropped {
            self.overflow(channel_id, announced);
        }
    }

    /// An event of this channel, with an id of at most `newest`, is lost to the session: a `resync`
    /// must follow. If a catch-up is in progress, its end announces the `resync`, because only then
    /// is it known up to which id.
    pub(super) fn overflow(&mut self, channel_id: ChannelId, newest: MessageId) {
        let channel = self.channels.entry(channel_id).or_default();
        match &mut channel.gate {
            Gate::Open => {
                let newest = newest.max(channel.announced);
                channel.gate = Gate::Overflowed { newest };
                self.overflowed += 1;
            }
            Gate::CatchingUp { newest: recorded, cut, .. } => {
                *recorded = newest.max(*recorded);
                *cut = true;
            }
            Gate::Overflowed { newest: recorded } => *recorded = newest.max(*recorded),
        }
    }

    /// Appends the `resync` of each overflowed channel once half of the mailbox is free. With a
    /// `resync` for each free slot, a slow reader would receive one after another. Returns whether
    /// an event was appended.
    pub(super) fn announce_overflow(
        &mut self,
        mailbox: &mut Mailbox,
        limits: MailboxLimits,
    ) -> bool {
        if self.overflowed == 0 || !mailbox.half_empty(limits) {
            return false;
        }
        let before = self.overflowed;
        for (&channel_id, channel) in &mut self.channels {
            let Gate::Overflowed { newest } = channel.gate else {
                continue;
            };
            let event = Event {
                payload: event::resync(channel_id, newest),
                accepted_at: newest.created_at(),
            };
            if mailbox.append(event, limits).is_err() {
                break;
            }
            let announced = newest.max(channel.announced);
            *channel = Channel { announced, last: mailbox.last(), gate: Gate::Open };
            self.overflowed -= 1;
        }
        self.check_overflow_count();
        self.overflowed < before
    }

    /// Closes the gate of a channel for catch-up. The gate stays as it is if the session has already
    /// announced messages above `cursor`: catch-up would be out of order.
    pub(super) fn begin_catch_up(&mut self, channel_id: ChannelId, cursor: MessageId) -> CatchUp {
        let channel = self.channels.entry(channel_id).or_default();
        let mut number = None;
        if channel.announced <= cursor && matches!(channel.gate, Gate::Open) {
            self.catch_ups += 1;
            number = Some(self.catch_ups);
            *channel = Channel {
                announced: cursor,
                last: channel.last,
                gate: Gate::CatchingUp {
                    number: self.catch_ups,
                    newest: MessageId::default(),
                    cut: false,
                },
            };
        }
        CatchUp { channel_id, cursor, number }
    }

    /// Appends one page of catch-up. Returns whether another page is needed, because live messages
    /// were recorded in the meantime (invariant I6).
    pub(super) fn append_catch_up(
        &mut self,
        mailbox: &mut Mailbox,
        limits: MailboxLimits,
        catch_up: &CatchUp,
        page: &[MessageEvent],
    ) -> bool {
        debug_assert!(
            page.is_sorted_by_key(|message| message.message_id),
            "history returns a page in the order of message ids",
        );
        let channel_id = catch_up.channel_id;
        let Some((channel, newest, cut)) = self.catching_up(catch_up) else {
            return false;
        };
        let closed = channel.gate;
        channel.gate = Gate::Open;
        if cut {
            let last = page.last().map_or(catch_up.cursor, |last| last.message_id);
            self.overflow(channel_id, newest.max(last));
            return false;
        }
        for message in page {
            self.append(mailbox, limits, channel_id, message);
        }
        let channel = self.channels.entry(channel_id).or_default();
        if newest <= channel.announced {
            return false;
        }
        let fits = matches!(channel.gate, Gate::Open);
        if fits {
            channel.gate = closed;
        } else {
            self.overflow(channel_id, newest);
        }
        fits
    }

    /// The cursor lies above the newest message of the channel. Catch-up starts at that message
    /// instead, so that the cursor hides no later message.
    pub(super) fn lower_cursor(&mut self, catch_up: &CatchUp, head: MessageId) {
        if let Some((channel, ..)) = self.catching_up(catch_up) {
            channel.announced = channel.announced.min(head);
        }
    }

    /// Ends a catch-up that cannot deliver the messages up to `newest` one by one: a `resync`
    /// follows.
    pub(super) fn cut_short(&mut self, catch_up: &CatchUp, newest: MessageId) {
        let mut newest = newest;
        if let Some((channel, recorded, _)) = self.catching_up(catch_up) {
            channel.gate = Gate::Open;
            newest = newest.max(recorded);
        }
        self.overflow(catch_up.channel_id, newest);
    }

    /// Ends a catch-up with a channel of which the session's user is not a member.
    pub(super) fn abandon_catch_up(&mut self, catch_up: &CatchUp) {
        if self.catching_up(catch_up).is_some() {
            self.channels.remove(&catch_up.channel_id);
        }
    }

    /// The session's user left this channel.
    pub(super) fn forget(&mut self, channel_id: ChannelId) {
        let channel = self.channels.remove(&channel_id);
        if let Some(Gate::Overflowed { .. }) = channel.map(|channel| channel.gate) {
            self.overflowed -= 1;
        }
        self.check_overflow_count();
    }

    /// The channel of a catch-up that is in progress, the newest id that was recorded, and whether
    /// the catch-up was cut.
    fn catching_up(&mut self, catch_up: &CatchUp) -> Option<(&mut Channel, MessageId, bool)> {
        let channel = self.channels.get_mut(&catch_up.channel_id)?;
        match channel.gate {
            Gate::CatchingUp { number, newest, cut } if Some(number) == catch_up.number => {
                Some((channel, newest, cut))
            }
            _ => None,
        }
    }

    fn check_overflow_count(&self) {
        debug_assert_eq!(
            self.overflowed,
            self.channels.values().filter(|it| matches!(it.gate, Gate::Overflowed { .. })).count(),
            "the number of overflowed gates is the counted one",
        );
    }
}
