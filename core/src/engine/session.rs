//! A device's live stream of events on this node. It outlives connections and changes of transport;
//! transports only read from it. What it is handed, its [`Places`] decide.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::mailbox::{Event, Mailbox, OutOfRange, Room, Window};
use super::places::{CatchUp, MessageEvent, Places};
use crate::model::{ChannelId, DeviceId, MessageId, Seq, SessionId, Timestamp, TokenHash, UserId};
use crate::ports::Access;
use crate::protocol::{Batch, Problem, ProblemCode};

/// A live stream of events. Lives in the engine; transports hold it while they serve it.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    user_id: UserId,
    device_id: DeviceId,
    token: TokenHash,
    expires_at: Timestamp,
    room: Room,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    mailbox: Mailbox,
    places: Places,
    /// The number of the reader that is attached; 0 if none is.
    reader: u64,
    /// How many readers there have been.
    readers: u64,
    waker: Option<Waker>,
    /// When the last reader left.
    idle_since: Instant,
    ended: Option<EndReason>,
}

/// Why a session is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// Its client ended it.
    Closed,
    /// Nobody read from it for the length of the resume window.
    Expired,
    /// The token it was opened with has ended.
    LoggedOut,
    /// The node is about to stop.
    Draining,
}

/// What a waiting reader is woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeReason {
    /// There are events behind the position it waits at.
    Events,
    /// Another reader has taken over.
    Replaced,
    /// The session is no more.
    Ended(EndReason),
}

/// What one read of a stream gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streamed {
    /// Some events were handed over.
    UpTo {
        /// The seq of the last of them.
        next: Seq,
        /// Whether there may be others behind them. If not, the reader is woken when there are.
        more: bool,
    },
    /// Another reader has taken over.
    Replaced,
    /// The session is no more.
    Ended(EndReason),
}

/// Some events of a session, borrowed while it is locked: copy them out and return.
#[derive(Debug)]
pub struct View<'a> {
    window: Window<'a>,
}

impl View<'_> {
    /// How many events.
    pub fn len(&self) -> usize {
        self.window.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The seq of the last of them: the `after` of the next read.
    pub fn next(&self) -> Seq {
        self.window.next()
    }

    /// The document that transports send.
    pub fn batch(&self) -> Batch<impl Iterator<Item = &Bytes> + Clone> {
        Batch::new(self.window.events().map(|event| &event.payload), self.next())
    }

    /// When each of the events was accepted, for the measurement of latency.
    pub fn accepted_at(&self) -> impl Iterator<Item = Timestamp> {
        self.window.events().map(|event| event.accepted_at)
    }
}

impl Session {
    pub(super) fn new(id: SessionId, access: &Access, room: Room) -> Self {
        Self {
            id,
            user_id: access.device.user_id,
            device_id: access.device.device_id,
            token: access.token,
            expires_at: access.expires_at,
            room,
            state: Mutex::new(State {
                mailbox: Mailbox::default(),
                places: Places::default(),
                reader: 0,
                readers: 0,
                waker: None,
                idle_since: Instant::now(),
                ended: None,
            }),
        }
    }

    /// Its id.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Whose it is.
    pub fn user_id(&self) -> UserId {
        self.user_id
    }

    /// Whose device it serves.
    pub fn device_id(&self) -> DeviceId {
        self.device_id
    }

    /// The token it was opened with.
    pub fn token(&self) -> TokenHash {
        self.token
    }

    /// When that token ends by itself.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Where a reader begins that names no position: before the first event that is held.
    pub fn start(&self) -> Seq {
        self.lock().mailbox.start()
    }

    /// Why it is no more, if so.
    pub fn ended(&self) -> Option<EndReason> {
        self.lock().ended
    }

    /// Reads at once: confirms what is not behind `after`, shows `read` what is, and consumes
    /// nothing of it (invariant I5): the same `after` shows the same again. Renews the session.
    ///
    /// # Errors
    /// `invalid` if `after` is below what was confirmed or above what was sent; `session_gone` if
    /// the session has ended, or a stream ran too far ahead of `after`. Do not retry either.
    pub fn read<T>(
        &self,
        after: Option<Seq>,
        limit: usize,
        read: impl FnOnce(View<'_>) -> T,
    ) -> Result<T, Problem> {
        let mut state = self.lock();
        let after = state.stand_at(after)?;
        state.mailbox.confirm(after);
        if state.reader == 0 {
            state.mailbox.rewind(after);
            state.idle_since = Instant::now();
        }
        let woken = state.settle(self.room);
        let answer = read(View { window: state.mailbox.window(after, limit, usize::MAX) });
        drop(state);
        wake(woken);
        Ok(answer)
    }

    /// Becomes the session's one reader; the reader before is told that it was replaced.
    pub fn attach(self: &Arc<Self>) -> Reader {
        let (number, previous) = {
            let mut state = self.lock();
            state.readers += 1;
            state.reader = state.readers;
            let start = state.mailbox.start();
            state.mailbox.rewind(start);
            (state.reader, state.waker.take())
        };
        if let Some(previous) = previous {
            previous.wake();
        }
        Reader { session: Arc::clone(self), number }
    }

    /// The client has the events up to here. Late or repeated confirmations change nothing.
    pub fn confirm(&self, upto: Seq) {
        let woken = {
            let mut state = self.lock();
            state.mailbox.confirm(upto);
            state.settle(self.room)
        };
        wake(woken);
    }

    /// Checks that a reader may begin at `after`, and answers where that is.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn position(&self, after: Option<Seq>) -> Result<Seq, Problem> {
        self.lock().stand_at(after)
    }

    /// Hands over messages of one channel, ids rising.
    pub(super) fn push_messages(&self, channel_id: ChannelId, messages: &[MessageEvent]) {
        let woken = {
            let mut state = self.lock();
            let State { places, mailbox, .. } = &mut *state;
            for message in messages {
                places.push(mailbox, self.room, channel_id, message);
            }
            state.waker.take()
        };
        wake(woken);
    }

    /// Hands over an event that is no message. If there is no room for one about a channel, that
    /// channel gets a `resync`; one about a moment (typing, presence) is not kept.
    pub(super) fn push_event(&self, event: Event, about: Option<ChannelId>) {
        let woken = {
            let mut state = self.lock();
            if state.mailbox.push(event, self.room).is_err()
                && let Some(channel_id) = about
            {
                state.places.fall_behind(channel_id, MessageId::default());
            }
            state.waker.take()
        };
        wake(woken);
    }

    /// See [`Places::begin_catch_up`].
    pub(super) fn begin_catch_up(&self, channel_id: ChannelId, cursor: MessageId) -> CatchUp {
        self.lock().places.begin_catch_up(channel_id, cursor)
    }

    /// See [`Places::push_catch_up`].
    pub(super) fn push_catch_up(&self, catch_up: &CatchUp, page: &[MessageEvent]) -> bool {
        let (more, woken) = {
            let mut state = self.lock();
            let State { places, mailbox, .. } = &mut *state;
            let more = places.push_catch_up(mailbox, self.room, catch_up, page);
            (more, state.announce(self.room))
        };
        wake(woken);
        more
    }

    /// See [`Places::lower_cursor`].
    pub(super) fn lower_cursor(&self, catch_up: &CatchUp, head: MessageId) {
        self.lock().places.lower_cursor(catch_up, head);
    }

    /// See [`Places::cut_short`]: a `resync` says so, at once or as soon as there is room.
    pub(super) fn resync(&self, catch_up: &CatchUp, newest: MessageId) {
        let woken = {
            let mut state = self.lock();
            state.places.cut_short(catch_up, newest);
            state.announce(self.room)
        };
        wake(woken);
    }

    /// See [`Places::abandon_catch_up`].
    pub(super) fn abandon_catch_up(&self, catch_up: &CatchUp) {
        self.lock().places.abandon_catch_up(catch_up);
    }

    /// How many more events fit now.
    pub(super) fn free_slots(&self) -> usize {
        self.lock().mailbox.free_slots(self.room)
    }

    /// The session's user left this channel.
    pub(super) fn forget_channel(&self, channel_id: ChannelId) {
        self.lock().places.forget(channel_id);
    }

    /// Ends it; its reader is told. Answers false if it had ended before.
    pub(super) fn end(&self, reason: EndReason) -> bool {
        let woken = {
            let mut state = self.lock();
            if state.ended.is_some() {
                return false;
            }
            state.ended = Some(reason);
            state.waker.take()
        };
        wake(woken);
        true
    }

    /// How long nobody has read from it.
    pub(super) fn idle_for(&self, now: Instant) -> Option<Duration> {
        let state = self.lock();
        (state.reader == 0).then(|| now.saturating_duration_since(state.idle_since))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in the critical sections can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    fn stand_at(&self, after: Option<Seq>) -> Result<Seq, Problem> {
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
                "the events behind this position are no longer held: open a new session with your \
                 channels' cursors",
            ),
        })
    }

    /// Announces what fell behind, if there is room, and answers who waits for that.
    #[must_use = "the reader waits"]
    fn settle(&mut self, room: Room) -> Option<Waker> {
        if self.places.settle(&mut self.mailbox, room) { self.waker.take() } else { None }
    }

    /// The same, and there may be other news to wake the reader for.
    #[must_use = "the reader waits"]
    fn announce(&mut self, room: Room) -> Option<Waker> {
        self.places.settle(&mut self.mailbox, room);
        self.waker.take()
    }
}

impl From<EndReason> for Problem {
    fn from(ended: EndReason) -> Self {
        match ended {
            EndReason::LoggedOut => Self::new(ProblemCode::Unauthenticated, "the token has ended"),
            EndReason::Draining => Self::new(
                ProblemCode::SessionGone,
                "the node is stopping: open a new session with your channels' cursors",
            ),
            EndReason::Closed | EndReason::Expired => Self::new(
                ProblemCode::SessionGone,
                "the session has ended: open a new one with your channels' cursors",
            ),
        }
    }
}

/// The one that waits at a session. Dropping it leaves the session to live for its resume window.
#[derive(Debug)]
pub struct Reader {
    session: Arc<Session>,
    number: u64,
}

impl Reader {
    /// The session it reads.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Waits until there are events behind `after`, or the reader has no more business here.
    /// Cancel-safe.
    pub async fn wait(&self, after: Seq) -> WakeReason {
        std::future::poll_fn(|cx| {
            let mut state = self.session.lock();
            if let Some(ended) = state.ended {
                Poll::Ready(WakeReason::Ended(ended))
            } else if state.reader != self.number {
                Poll::Ready(WakeReason::Replaced)
            } else if state.mailbox.last() > after {
                Poll::Ready(WakeReason::Events)
            } else {
                state.wait(cx);
                Poll::Pending
            }
        })
        .await
    }

    /// For a stream: shows `write` the events behind `after`, at most about `bytes` of them, and
    /// notes them as written; pending until there are some. What was written may make room for
    /// newer events even if the client never confirms.
    pub fn poll_stream(
        &self,
        cx: &mut Context<'_>,
        after: Seq,
        bytes: usize,
        write: impl FnOnce(View<'_>),
    ) -> Poll<Streamed> {
        let mut state = self.session.lock();
        // Replaced before ended: a successor reports the end.
        if state.reader != self.number {
            return Poll::Ready(Streamed::Replaced);
        }
        if state.mailbox.outran(after) {
            // To this client it is as if the session had expired: it has to open another.
            return Poll::Ready(Streamed::Ended(EndReason::Expired));
        }
        // What lies before `after` the client has; that may be the room that a resync waits for.
        state.mailbox.streamed(after);
        // The waker is this reader's, who is here.
        drop(state.settle(self.session.room));
        let window = state.mailbox.window(after, usize::MAX, bytes);
        match state.ended {
            // A node that stops still hands over what it has, the announcement among it.
            Some(EndReason::Draining) if window.len() > 0 => {}
            Some(ended) => return Poll::Ready(Streamed::Ended(ended)),
            None if window.len() == 0 => {
                state.wait(cx);
                return Poll::Pending;
            }
            None => {}
        }
        let next = window.next();
        write(View { window });
        state.mailbox.streamed(next);
        drop(state.settle(self.session.room));
        let more = state.ended.is_some() || state.mailbox.last() > next;
        if !more {
            state.wait(cx);
        }
        Poll::Ready(Streamed::UpTo { next, more })
    }
}

impl State {
    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.session.lock();
        if state.reader == self.number {
            state.reader = 0;
            state.waker = None;
            state.idle_since = Instant::now();
        }
    }
}
