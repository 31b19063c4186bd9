//! A session: a device's live stream of events on this node.
//!
//! It outlives connections and changes of transport. The engine appends events, and transports read
//! them. What a session does with a message, its [`ChannelGates`] decide.

mod reader;
mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

pub use reader::{Reader, Streamed, WakeReason};
pub use view::View;

use super::channel_gates::{CatchUp, ChannelGates, MessageEvent};
use super::end_reason::EndReason;
use super::mailbox::{Event, Mailbox, MailboxLimits, OutOfRange, Room};
use crate::engine::budget::Pool;
use crate::model::{ChannelId, DeviceId, MessageId, Seq, SessionId, Timestamp, TokenHash, UserId};
use crate::ports::Access;
use crate::protocol::{Problem, ProblemCode};

/// How many bytes of events one read returns, or one event. The rest comes with the next read.
const READ_BYTES: usize = 2 * 1024 * 1024;

/// A device's live stream of events on one node. The engine owns it; a transport holds it while it
/// serves it.
///
/// # Guarantees
/// The `seq` of its events counts 1, 2, 3… without holes. Within a channel message ids rise strictly
/// (invariant I3). A read removes nothing; only a confirmation does (invariant I5). What did not fit
/// into the mailbox is announced by a `resync` event.
///
/// # Limits
/// It holds [`Limits::mailbox_events`](crate::engine::Limits::mailbox_events) events and
/// [`Limits::mailbox_bytes`](crate::engine::Limits::mailbox_bytes) bytes that are not confirmed. It
/// ends after [`Limits::resume_window`](crate::engine::Limits::resume_window) without a read.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    user_id: UserId,
    device_id: DeviceId,
    token: TokenHash,
    expires_at: Timestamp,
    limits: MailboxLimits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    mailbox: Mailbox,
    gates: ChannelGates,
    /// The number of the attached reader; 0 if none is attached.
    reader: u64,
    /// How many readers were attached so far: the number of the newest.
    readers: u64,
    waker: Option<Waker>,
    /// When the last reader detached, or the last poll came.
    idle_since: Instant,
    ended: Option<EndReason>,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        access: &Access,
        limits: MailboxLimits,
        pool: &Arc<Pool>,
    ) -> Self {
        Self {
            id,
            user_id: access.device.user_id,
            device_id: access.device.device_id,
            token: access.token,
            expires_at: access.expires_at,
            limits,
            state: Mutex::new(State {
                mailbox: Mailbox::new(Arc::clone(pool)),
                gates: ChannelGates::default(),
                reader: 0,
                readers: 0,
                waker: None,
                idle_since: Instant::now(),
                ended: None,
            }),
        }
    }

    /// The id of the session, which names its node.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The user of the device.
    pub fn user_id(&self) -> UserId {
        self.user_id
    }

    /// The device that the session serves.
    pub fn device_id(&self) -> DeviceId {
        self.device_id
    }

    /// The hash of the token that opened the session.
    pub fn token(&self) -> TokenHash {
        self.token
    }

    /// When that token expires.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The position before the first event that is held: where a reader starts that names none.
    pub fn start(&self) -> Seq {
        self.lock().mailbox.start()
    }

    /// Why the session ended; absent while it lives.
    pub fn ended(&self) -> Option<EndReason> {
        self.lock().ended
    }

    /// Confirms the events up to `after`, and calls `read` with the ones after it, at most `limit` and
    /// 2 MiB. Never waits. Without `after` it starts before the first event that is held. Restarts the
    /// resume window.
    ///
    /// The events stay in the mailbox (invariant I5): a read with the same `after` returns them
    /// again.
    ///
    /// `read` runs while the session is locked, and must not call the session.
    ///
    /// # Errors
    /// `invalid` if `after` is below the confirmed position or above the last seq. `session_gone` or
    /// `unauthenticated` if the session has ended. `session_gone` if the events after `after` were
    /// evicted, because a stream had written them. Do not retry any of these.
    pub fn read<T>(
        &self,
        after: Option<Seq>,
        limit: usize,
        read: impl FnOnce(View<'_>) -> T,
    ) -> Result<T, Problem> {
        let mut state = self.lock();
        let after = state.check_position(after)?;
        state.mailbox.confirm(after);
        if state.reader == 0 {
            state.mailbox.rewind(after);
            state.idle_since = Instant::now();
        }
        let waker = state.announce_overflow(self.limits);
        state.mailbox.number_moments(self.limits);
        let window = state.mailbox.window(after, limit, READ_BYTES);
        let next = window.next();
        let result = read(View::new(window));
        state.mailbox.seen(next);
        drop(state);
        wake(waker);
        Ok(result)
    }

    /// Confirms the events up to `upto`: the client has received them. A late or repeated
    /// confirmation changes nothing.
    pub fn confirm(&self, upto: Seq) {
        let waker = {
            let mut state = self.lock();
            state.mailbox.confirm(upto);
            state.announce_overflow(self.limits)
        };
        wake(waker);
    }

    /// The position at which a reader starts that asks for `after`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn position(&self, after: Option<Seq>) -> Result<Seq, Problem> {
        self.lock().check_position(after)
    }

    /// Appends messages of one channel in the order of delivery. Repeated ones are skipped.
    pub(in crate::engine) fn append_messages(
        &self,
        channel_id: ChannelId,
        messages: &[MessageEvent],
    ) {
        let waker = {
            let mut state = self.lock();
            let State { gates, mailbox, .. } = &mut *state;
            for message in messages {
                gates.append(mailbox, self.limits, channel_id, message);
            }
            state.waker.take()
        };
        wake(waker);
    }

    /// Appends an event that is no message. If the mailbox is full, or the node has no memory left for
    /// the event, the channel that it concerns gets a `resync`; an event without a channel is dropped.
    pub(in crate::engine) fn append_event(
        &self,
        event: Option<Event>,
        channel_id: Option<ChannelId>,
    ) {
        let waker = {
            let mut state = self.lock();
            let State { gates, mailbox, .. } = &mut *state;
            let appended = event.is_some_and(|event| mailbox.append(event, self.limits).is_ok());
            match channel_id {
                Some(channel_id) if appended => gates.appended(channel_id, mailbox),
                Some(channel_id) => gates.overflow(channel_id, MessageId::default()),
                None => {}
            }
            state.waker.take()
        };
        wake(waker);
    }

    /// Appends an event that is only of use until the next of its kind: it takes the place of no other
    /// event, and comes behind them.
    pub(in crate::engine) fn append_moment(&self, event: Event) {
        let waker = {
            let mut state = self.lock();
            state.mailbox.append_moment(event);
            state.waker.take()
        };
        wake(waker);
    }

    /// How many bytes its mailbox holds.
    pub(super) fn held_bytes(&self) -> usize {
        self.lock().mailbox.held_bytes()
    }

    /// Frees the memory of its mailbox: what is kept for the reconnection of a stream, or, if there is
    /// none, all events. Those that no reader was given become a `resync` of their channels.
    pub(super) fn shed(&self) {
        let mut state = self.lock();
        let State { gates, mailbox, .. } = &mut *state;
        if !mailbox.drop_streamed() {
            let kept = mailbox.drop_all();
            gates.overflow_above(kept);
        }
    }

    /// See [`ChannelGates::begin_catch_up`].
    pub(super) fn begin_catch_up(&self, channel_id: ChannelId, cursor: MessageId) -> CatchUp {
        self.lock().gates.begin_catch_up(channel_id, cursor)
    }

    /// See [`ChannelGates::append_catch_up`].
    pub(super) fn append_catch_up(&self, catch_up: &CatchUp, page: &[MessageEvent]) -> bool {
        let (more, waker) = {
            let mut state = self.lock();
            let State { gates, mailbox, .. } = &mut *state;
            let more = gates.append_catch_up(mailbox, self.limits, catch_up, page);
            (more, state.announce_overflow_and_take_waker(self.limits))
        };
        wake(waker);
        more
    }

    /// See [`ChannelGates::lower_cursor`].
    pub(super) fn lower_cursor(&self, catch_up: &CatchUp, head: MessageId) {
        self.lock().gates.lower_cursor(catch_up, head);
    }

    /// See [`ChannelGates::cut_short`]: a `resync` follows, as soon as the mailbox has capacity.
    pub(super) fn resync(&self, catch_up: &CatchUp, newest: MessageId) {
        let waker = {
            let mut state = self.lock();
            state.gates.cut_short(catch_up, newest);
            state.announce_overflow_and_take_waker(self.limits)
        };
        wake(waker);
    }

    /// See [`ChannelGates::abandon_catch_up`].
    pub(super) fn abandon_catch_up(&self, catch_up: &CatchUp) {
        self.lock().gates.abandon_catch_up(catch_up);
    }

    /// How much more fits now.
    pub(super) fn room(&self) -> Room {
        self.lock().mailbox.room(self.limits)
    }

    /// The session's user left this channel.
    pub(super) fn forget_channel(&self, channel_id: ChannelId) {
        self.lock().gates.forget(channel_id);
    }

    /// Ends the session and wakes its reader. Returns false if it had ended before.
    pub(super) fn end(&self, reason: EndReason) -> bool {
        let waker = {
            let mut state = self.lock();
            if state.ended.is_some() {
                return false;
            }
            state.ended = Some(reason);
            state.waker.take()
        };
        wake(waker);
        true
    }

    /// For how long the session was not read; absent while a reader is attached.
    pub(super) fn idle_for(&self, now: Instant) -> Option<Duration> {
        let state = self.lock();
        (state.reader == 0).then(|| now.saturating_duration_since(state.idle_since))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No critical section can panic between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    fn check_position(&self, after: Option<Seq>) -> Result<Seq, Problem> {
        if let Some(ended) = self.ended {
            return Err(ended.into());
        }
        let after = after.unwrap_or_else(|| self.mailbox.start());
        self.mailbox.check(after).map(|()| after).map_err(|error| match error {
            OutOfRange::Invalid { confirmed, last } => {
                Problem::invalid("after", format!("must lie between {confirmed} and {last}"))
            }
            OutOfRange::Gone => Problem::new(
                ProblemCode::SessionGone,
                "the events after this position are no longer held: open a new session with your \
                 channels' cursors",
            ),
        })
    }

    /// Announces overflowed channels if there is capacity. Returns the reader's waker if that
    /// appended an event.
    #[must_use = "the reader waits until it is woken"]
    fn announce_overflow(&mut self, limits: MailboxLimits) -> Option<Waker> {
        if self.gates.announce_overflow(&mut self.mailbox, limits) {
            self.waker.take()
        } else {
            None
        }
    }

    /// The same, for a caller that may have appended events itself.
    #[must_use = "the reader waits until it is woken"]
    fn announce_overflow_and_take_waker(&mut self, limits: MailboxLimits) -> Option<Waker> {
        self.gates.announce_overflow(&mut self.mailbox, limits);
        self.waker.take()
    }

    /// Keeps the waker of a reader that waits.
    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}
