//! A device's live stream of events on this node. It outlives connections and changes of transport;
//! transports only read from it.
//!
//! For every channel a session knows the highest message id it was handed, and a gate that says
//! what to do with the next message. Together they make each channel's ids rise strictly in the
//! session (invariant I3) through catch-up, overflow and repeated deliveries alike.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::mailbox::{Event, Mailbox, OutOfRange, Room, Window};
use crate::model::{ChannelId, DeviceId, MessageId, Seq, SessionId, Timestamp, TokenHash, UserId};
use crate::ports::Access;
use crate::protocol::{Batch, Problem, ProblemCode, event};

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
    channels: HashMap<ChannelId, Place, foldhash::fast::FixedState>,
    /// How many channels are [`Gate::Behind`].
    behind: usize,
    /// The number of the reader that is attached; 0 if none is.
    reader: u64,
    /// How many readers there have been.
    readers: u64,
    waker: Option<Waker>,
    /// When the last reader left.
    idle_since: Instant,
    ended: Option<Ended>,
}

/// Where a session stands in a channel.
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
    /// It is noted: catch-up is reading history and will come to it.
    CatchingUp { newest: MessageId },
    /// It is noted: the mailbox was full, and a `resync` up to `newest` follows once there is room.
    Behind { newest: MessageId },
}

/// Why a session is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
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
pub enum News {
    /// There are events behind the position it waits at.
    Events,
    /// Another reader has taken over.
    Replaced,
    /// The session is no more.
    Ended(Ended),
}

/// What one read of a stream gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streamed {
    /// Events up to this seq were handed over.
    UpTo(Seq),
    /// Another reader has taken over.
    Replaced,
    /// The session is no more.
    Ended(Ended),
}

/// A message's event with the id that orders it.
#[derive(Clone, Debug)]
pub(super) struct MessageEvent {
    pub(super) message_id: MessageId,
    pub(super) event: Event,
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
        Batch::new(
            self.window.events().map(|event| &event.payload),
            self.next(),
        )
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
                channels: HashMap::default(),
                behind: 0,
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
    pub fn ended(&self) -> Option<Ended> {
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
        let woken = state.settle(self.room);
        if state.reader == 0 {
            state.idle_since = Instant::now();
        }
        let answer = read(View {
            window: state.mailbox.window(after, limit, usize::MAX),
        });
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
            (state.reader, state.waker.take())
        };
        if let Some(previous) = previous {
            previous.wake();
        }
        Reader {
            session: Arc::clone(self),
            number,
        }
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
            for message in messages {
                state.push_message(channel_id, message, self.room);
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
                let place = state.place(channel_id);
                state.fall_behind(channel_id, place.handed);
            }
            state.waker.take()
        };
        wake(woken);
    }

    /// From now on messages of this channel wait for catch-up. False if the session was handed
    /// messages above `cursor` already, so that catch-up would be out of order.
    pub(super) fn begin_catch_up(&self, channel_id: ChannelId, cursor: MessageId) -> bool {
        let mut state = self.lock();
        let place = state.place(channel_id);
        if place.handed > cursor || !matches!(place.gate, Gate::Open) {
            return false;
        }
        let gate = Gate::CatchingUp {
            newest: MessageId::default(),
        };
        state.channels.insert(
            channel_id,
            Place {
                handed: cursor,
                gate,
            },
        );
        true
    }

    /// Hands over one page of catch-up and answers whether another is needed, because live messages
    /// went by in the meantime (invariant I6).
    pub(super) fn push_catch_up(&self, channel_id: ChannelId, page: &[MessageEvent]) -> bool {
        let (more, woken) = {
            let mut state = self.lock();
            let Gate::CatchingUp { newest } = state.place(channel_id).gate else {
                return false;
            };
            state.set_gate(channel_id, Gate::Open);
            for message in page {
                state.push_message(channel_id, message, self.room);
            }
            let place = state.place(channel_id);
            let more = newest > place.handed;
            match place.gate {
                Gate::Open if more => state.set_gate(channel_id, Gate::CatchingUp { newest }),
                Gate::Behind { .. } if more => state.fall_behind(channel_id, newest),
                _ => {}
            }
            let more = more && matches!(place.gate, Gate::Open);
            (more, state.waker.take())
        };
        wake(woken);
        more
    }

    /// The session cannot be given this channel up to `newest` event by event: a `resync` says so,
    /// at once or as soon as there is room.
    pub(super) fn resync(&self, channel_id: ChannelId, newest: MessageId) {
        let woken = {
            let mut state = self.lock();
            state.fall_behind(channel_id, newest);
            state.settle(self.room);
            state.waker.take()
        };
        wake(woken);
    }

    /// How many more events fit now.
    pub(super) fn free_slots(&self) -> usize {
        self.lock().mailbox.free_slots(self.room)
    }

    /// The session's user left this channel.
    pub(super) fn forget_channel(&self, channel_id: ChannelId) {
        let mut state = self.lock();
        if let Some(Place {
            gate: Gate::Behind { .. },
            ..
        }) = state.channels.remove(&channel_id)
        {
            state.behind -= 1;
        }
    }

    /// Ends it; its reader is told. Answers false if it had ended before.
    pub(super) fn end(&self, reason: Ended) -> bool {
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

    fn place(&self, channel_id: ChannelId) -> Place {
        self.channels.get(&channel_id).copied().unwrap_or_default()
    }

    fn set_gate(&mut self, channel_id: ChannelId, gate: Gate) {
        let place = self.channels.entry(channel_id).or_default();
        let was_behind = matches!(place.gate, Gate::Behind { .. });
        let is_behind = matches!(gate, Gate::Behind { .. });
        place.gate = gate;
        self.behind = self.behind + usize::from(is_behind) - usize::from(was_behind);
    }

    fn push_message(&mut self, channel_id: ChannelId, message: &MessageEvent, room: Room) {
        let message_id = message.message_id;
        let place = self.channels.entry(channel_id).or_default();
        if message_id <= place.handed {
            return;
        }
        match &mut place.gate {
            Gate::Open => match self.mailbox.push(message.event.clone(), room) {
                Ok(()) => place.handed = message_id,
                Err(_) => {
                    place.gate = Gate::Behind { newest: message_id };
                    self.behind += 1;
                }
            },
            Gate::CatchingUp { newest } | Gate::Behind { newest } => *newest = message_id,
        }
    }

    fn fall_behind(&mut self, channel_id: ChannelId, newest: MessageId) {
        let place = self.place(channel_id);
        let noted = match place.gate {
            Gate::Open => place.handed,
            Gate::CatchingUp { newest } | Gate::Behind { newest } => newest,
        };
        self.set_gate(
            channel_id,
            Gate::Behind {
                newest: newest.max(noted),
            },
        );
    }

    /// Announces the channels that fell behind, once half of the mailbox is free: at every free
    /// slot, a slow reader would be sent from one resync to the next.
    fn settle(&mut self, room: Room) -> Option<Waker> {
        if self.behind == 0 || !self.mailbox.half_empty(room) {
            return None;
        }
        let Self {
            channels,
            mailbox,
            behind,
            ..
        } = self;
        for (&channel_id, place) in channels.iter_mut() {
            let Gate::Behind { newest } = place.gate else {
                continue;
            };
            let payload = event::resync(channel_id, newest);
            let event = Event {
                payload,
                accepted_at: newest.created_at(),
            };
            if mailbox.push(event, room).is_err() {
                break;
            }
            *place = Place {
                handed: newest.max(place.handed),
                gate: Gate::Open,
            };
            *behind -= 1;
        }
        self.waker.take()
    }
}

impl From<Ended> for Problem {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::LoggedOut => Self::new(ProblemCode::Unauthenticated, "the token has ended"),
            Ended::Draining => Self::new(
                ProblemCode::SessionGone,
                "the node is stopping: open a new session with your channels' cursors",
            ),
            Ended::Closed | Ended::Expired => Self::new(
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
    pub async fn news(&self, after: Seq) -> News {
        std::future::poll_fn(|cx| {
            let mut state = self.session.lock();
            if let Some(ended) = state.ended {
                Poll::Ready(News::Ended(ended))
            } else if state.reader != self.number {
                Poll::Ready(News::Replaced)
            } else if state.mailbox.last() > after {
                Poll::Ready(News::Events)
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
        let window = state.mailbox.window(after, usize::MAX, bytes);
        match state.ended {
            // A node that stops still hands over what it has, the announcement among it.
            Some(Ended::Draining) if window.len() > 0 => {}
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
        state.settle(self.session.room);
        Poll::Ready(Streamed::UpTo(next))
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
