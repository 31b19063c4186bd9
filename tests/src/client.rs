//! A device: reads its session on one transport or on changing ones, recovers from every failure that the
//! contract allows, and keeps a journal of what it received.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::account::{Account, Cursors, Id, Session};
use crate::address::Address;
use crate::journal::{Journal, Resync, Violation};
use crate::ledger::Ledger;
use crate::line::{Batch, Break, Line, Socket, Transport};
use crate::wait::SOON;

/// On which transports a device reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportPlan {
    /// One transport throughout.
    Steady(Transport),
    /// The next transport after each interval, beginning with this one.
    Switching(Transport, Duration),
}

impl TransportPlan {
    /// The transport of the `round`-th line.
    fn transport(self, round: usize) -> Transport {
        match self {
            Self::Steady(transport) => transport,
            Self::Switching(first, _) => (0..round % 4).fold(first, |it, _| it.following()),
        }
    }

    /// The first transport.
    pub fn first(self) -> Transport {
        self.transport(0)
    }
}

/// How long one read waits for events.
const READ_FOR: Duration = Duration::from_secs(5);
/// How long a client pauses before a retry.
const REST: Duration = Duration::from_millis(15);

/// A running device. Dropping it stops it.
#[derive(Debug)]
pub struct Client {
    pub(crate) account: Account,
    pub(crate) ledger: Ledger,
    pub(crate) state: Arc<State>,
    task: Option<JoinHandle<()>>,
}

#[derive(Debug)]
pub(crate) struct State {
    journal: Mutex<Journal>,
    position: Mutex<Position>,
    changed: watch::Sender<()>,
}

/// The session of the device and its position in it.
#[derive(Clone, Debug, Default)]
struct Position {
    session: Option<Session>,
    after: Id,
    socket: Option<Socket>,
}

impl Client {
    /// Opens a session that catches up from `cursors`, and begins to read.
    pub async fn start(
        account: &Account,
        plan: TransportPlan,
        cursors: &Cursors,
        ledger: &Ledger,
    ) -> Self {
        let journal = Journal::new(&account.username, cursors);
        let client = Self::begin(account, plan, journal, Position::default(), ledger);
        client.until("has a session", |journal| journal.sessions > 0).await;
        client
    }

    /// Begins to read an open session after `after`.
    pub fn resume(
        account: &Account,
        plan: TransportPlan,
        (session, after): (&Session, Id),
        journal: Journal,
        ledger: &Ledger,
    ) -> Self {
        let position = Position { session: Some(session.clone()), after, socket: None };
        Self::begin(account, plan, journal, position, ledger)
    }

    fn begin(
        account: &Account,
        plan: TransportPlan,
        journal: Journal,
        position: Position,
        ledger: &Ledger,
    ) -> Self {
        let state = Arc::new(State {
            journal: Mutex::new(journal),
            position: Mutex::new(position),
            changed: watch::Sender::default(),
        });
        let task = tokio::spawn(run(account.clone(), plan, Arc::clone(&state)));
        let (account, ledger) = (account.clone(), ledger.clone());
        Self { account, ledger, state, task: Some(task) }
    }

    /// The same device, which sends over HTTP through another address from now on.
    #[must_use]
    pub fn sending_through(mut self, address: &Address) -> Self {
        self.account = self.account.via(address);
        self
    }

    /// The account of the device.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Its session, if it has one now, and the position after which it reads.
    pub fn position(&self) -> (Option<Session>, Id) {
        let position = self.state.position();
        (position.session.clone(), position.after)
    }

    /// Reads the journal.
    pub fn look<T>(&self, look: impl FnOnce(&Journal) -> T) -> T {
        look(&self.state.journal())
    }

    /// Waits until the journal fulfils a condition.
    ///
    /// # Panics
    /// If it holds a violation first, if the reader failed, or after [`SOON`].
    pub async fn until(&self, what: &str, shows: impl Fn(&Journal) -> bool) {
        let name = &self.account.username;
        let deadline = Instant::now() + SOON;
        let mut changed = self.state.changed.subscribe();
        loop {
            let ended = self.task.as_ref().is_none_or(JoinHandle::is_finished);
            let report = {
                let journal = self.state.journal();
                assert!(journal.violations.is_empty(), "{name}: {:?}", journal.violations);
                if shows(&journal) {
                    return;
                }
                summary(&journal)
            };
            assert!(!ended, "{name} stopped reading before: {what}; {report}");
            assert!(Instant::now() < deadline, "{name}, not within {SOON:?}: {what}; {report}");
            // A reader that fails does not change the journal, so check again at intervals.
            let again = (Instant::now() + Duration::from_millis(200)).min(deadline);
            let _ = timeout_at(again, changed.changed()).await;
        }
    }

    /// Waits until the device holds `channel_id` up to `message_id`.
    pub async fn holds(&self, channel_id: Id, message_id: Id) {
        let what = format!("holds {channel_id} up to {message_id}");
        self.until(&what, |journal| journal.cursor(channel_id) >= message_id).await;
    }

    /// Stops reading without notifying the server, and returns the journal.
    ///
    /// # Panics
    /// If the reader had failed.
    pub async fn stop(mut self) -> Journal {
        if let Some(task) = self.task.take() {
            task.abort();
            if let Err(error) = task.await
                && error.is_panic()
            {
                resume_unwind(error.into_panic());
            }
        }
        self.state.journal().clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

fn summary(journal: &Journal) -> String {
    let counts = journal.messages.iter().map(|(channel, list)| (channel, list.len()));
    let counts: Vec<_> = counts.collect();
    let Journal { resyncs, sessions, lines, logged_out, .. } = journal;
    format!(
        "messages {counts:?}, cursors {:?}, {} other events, {resyncs} resyncs, {sessions} \
         sessions, {lines} lines, logged out: {logged_out}",
        journal.cursors(),
        journal.events.len()
    )
}

impl State {
    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn position(&self) -> MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn session(&self) -> Option<Session> {
        self.position().session.clone()
    }

    pub(crate) fn socket(&self) -> Option<Socket> {
        self.position().socket.clone()
    }

    fn note(&self, note: impl FnOnce(&mut Journal)) {
        note(&mut self.journal());
        self.changed.send_replace(());
    }

    fn violation(&self, violation: Violation) {
        self.note(|journal| journal.violations.push(violation));
    }
}

/// Whether the client continues.
enum Then {
    Again,
    Stop,
}

async fn run(account: Account, plan: TransportPlan, state: Arc<State>) {
    for round in 0.. {
        let Some((session, after)) = session(&account, &state).await else {
            return;
        };
        let until = match plan {
            TransportPlan::Steady(_) => None,
            TransportPlan::Switching(_, every) => Some(Instant::now() + every),
        };
        let transport = plan.transport(round);
        let broken = match Line::open(transport, &account, &session, after).await {
            Ok(line) => {
                state.note(|journal| journal.lines += 1);
                state.position().socket = line.socket();
                let broken = read(&account, &state, line, until).await;
                state.position().socket = None;
                broken
            }
            Err(broken) => Some(broken),
        };
        if let Some(broken) = broken
            && matches!(recover(&state, &broken).await, Then::Stop)
        {
            return;
        }
    }
}

/// The session of the device, or a new one that catches up from the messages it holds.
async fn session(account: &Account, state: &State) -> Option<(Session, Id)> {
    loop {
        {
            let position = state.position();
            if let Some(session) = &position.session {
                return Some((session.clone(), position.after));
            }
        }
        let cursors = state.journal().cursors();
        match account.try_open(Some(&cursors)).await {
            Ok(Ok(session)) => {
                *state.position() =
                    Position { after: session.next, session: Some(session), socket: None };
                state.note(|journal| journal.sessions += 1);
            }
            Ok(Err(response)) => {
                let broken = Break::Refused(Box::new(response));
                if matches!(recover(state, &broken).await, Then::Stop) {
                    return None;
                }
            }
            Err(_) => sleep(REST).await,
        }
    }
}

/// Reads until the line breaks or its interval is over.
async fn read(
    account: &Account,
    state: &State,
    mut line: Line,
    until: Option<Instant>,
) -> Option<Break> {
    let far = Instant::now() + Duration::from_secs(86_400);
    for count in 0u64.. {
        let after = state.position().after;
        let batch = match timeout_at(until.unwrap_or(far), line.read(after, READ_FOR)).await {
            Err(_) => return None,
            Ok(Err(broken)) => return Some(broken),
            Ok(Ok(batch)) => batch,
        };
        take(account, state, after, &batch).await;
        if let Some(socket) = line.socket()
            && count.is_multiple_of(2)
        {
            socket.ack(batch.next).await;
        }
        // Only now, so that a client that continues from the position holds every event before it.
        state.position().after = batch.next;
    }
    None
}

async fn take(account: &Account, state: &State, after: Id, batch: &Batch) {
    state.note(|journal| journal.batch(after, batch));
    for event in &batch.events {
        let resync = state.journal().event(event);
        if let Some(resync) = resync {
            fetch(account, state, resync).await;
        }
        state.changed.send_replace(());
    }
}

/// Pages a channel from the device's cursor up to the message with which the resync says that events continue.
async fn fetch(account: &Account, state: &State, resync: Resync) {
    let Resync { channel_id, upto } = resync;
    loop {
        let cursor = state.journal().cursor(channel_id);
        if cursor >= upto {
            return;
        }
        let Ok((page, has_more)) = account.page(channel_id, cursor).await else {
            sleep(REST).await;
            continue;
        };
        state.note(|journal| {
            for message in page.into_iter().filter(|message| message.message_id <= upto) {
                journal.message(message);
            }
        });
        if !has_more && state.journal().cursor(channel_id) < upto {
            let what = format!("a resync up to {upto}, which the channel does not hold");
            return state.violation(Violation::Unexpected { what });
        }
    }
}

/// How a client recovers after a line has ended.
async fn recover(state: &State, broken: &Break) -> Then {
    if broken.is_unauthenticated() {
        state.note(|journal| journal.logged_out = true);
        return Then::Stop;
    }
    if broken.is_gone() {
        *state.position() = Position::default();
        return Then::Again;
    }
    if broken.is_replaced() {
        // The device has one line at a time, but a canceled one may reach the server late.
        state.note(|journal| journal.replaced += 1);
        return Then::Again;
    }
    if broken.is_passing() {
        sleep(REST).await;
        return Then::Again;
    }
    let refused = matches!(broken, Break::Refused(response) if response.code() == "invalid");
    state.violation(if refused {
        Violation::PositionRefused { response: broken.to_string() }
    } else {
        Violation::Unexpected { what: broken.to_string() }
    });
    Then::Stop
}

/// The events of a journal, for messages of assertions.
pub fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap_or("?")).collect()
}
