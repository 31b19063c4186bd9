//! The task of a connection: opens sessions, reads them on whatever line gets through, and hands on
//! what is new.
//!
//! Two positions make that lossless. `position`, the number of the last event taken from the session,
//! is where the next line begins, whichever transport it is. `held`, the highest message id of each
//! channel, is where the next session begins. What to do when something fails is in `recovery`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::backoff::Retry;
use super::held::Held;
use super::ladder::Ladder;
use super::line::{Broken, Line, Reader};
use super::outbox::Route;
use super::session::{self, Session};
use super::{Options, Policy, State, Transport};
use crate::account::Account;
use crate::base::Base;
use crate::error::{Code, Error};
use crate::event::{Arrived, Batch, ChannelAction, Event};
use crate::http::Failure;
use crate::ids::{ChannelId, Seq};
use crate::model::{Channel, Cursors, Message, PageFrom};

/// How often events are confirmed over a WebSocket, at most, unless many have come.
const ACK_EVERY: Duration = Duration::from_secs(1);
const ACK_EVENTS: u64 = 128;

pub(crate) struct Driver {
    pub(super) account: Account,
    /// The server it was told of; a session may live elsewhere.
    pub(super) home: Base,
    /// Other nodes, as the last session named them.
    pub(super) elsewhere: VecDeque<Base>,
    pub(super) reader: Reader,
    pub(super) events: mpsc::Sender<Result<Event, Error>>,
    pub(super) state: watch::Sender<State>,
    pub(super) route: watch::Sender<Route>,
    /// Which transports the caller wants now.
    pub(super) policy: watch::Receiver<Policy>,
    pub(super) ladder: Ladder,
    pub(super) retry: Retry,
    pub(super) settle_after: Duration,
    pub(super) held: Held,
    pub(super) session: Option<Arc<Session>>,
    pub(super) position: Arc<AtomicU64>,
    /// As many channels as the server takes in one request, as far as is known.
    pub(super) channels: usize,
    /// Whether there was a session before.
    pub(super) ever: bool,
    /// What a node that stops has said.
    pub(super) draining: Option<(Duration, Option<String>)>,
}

/// Why the task ends.
pub(super) enum End {
    /// Nobody takes the events.
    Left,
    /// It cannot get better.
    Fatal(Error),
}

/// What comes of trying better transports.
type Probe = BoxFuture<'static, Option<(Transport, Line)>>;

impl Driver {
    pub(crate) fn new(
        account: Account,
        options: &Options,
        events: mpsc::Sender<Result<Event, Error>>,
        state: watch::Sender<State>,
        route: watch::Sender<Route>,
        policy: watch::Receiver<Policy>,
    ) -> Self {
        let reader = Reader {
            http: account.client.http.clone(),
            token: account.token.clone(),
            fallback: options.fallback,
            poll_interval: options.poll_interval,
            request_timeout: account.client.request_timeout,
        };
        Self {
            home: account.client.base.clone(),
            elsewhere: VecDeque::new(),
            account,
            reader,
            events,
            state,
            route,
            policy,
            ladder: Ladder::new(options.transports, options.fallback),
            retry: Retry::new(options.backoff),
            settle_after: options.fallback.settle_after,
            held: Held::new(options.cursors.clone()),
            session: None,
            position: Arc::default(),
            channels: session::CHANNELS,
            ever: false,
            draining: None,
        }
    }

    /// Works until the connection is dropped or cannot go on. Says when the first session stands,
    /// and from where the device follows its channels.
    pub(crate) async fn run(mut self, ready: oneshot::Sender<Result<Cursors, Error>>) {
        let mut ready = Some(ready);
        let end = loop {
            match self.turn(&mut ready).await {
                Ok(()) => {}
                Err(end) => break end,
            }
        };
        let error = match end {
            End::Left => Error::Closed,
            End::Fatal(error) => error,
        };
        self.route.send_replace(Route { ended: Some(error.clone()), ..Route::default() });
        self.state.send_replace(State::Ended { why: error.to_string() });
        match ready {
            Some(ready) => drop(ready.send(Err(error))),
            // Whoever dropped the connection does not want to know.
            None => drop(self.events.send(Err(error)).await),
        }
    }

    /// One line, from its opening to its end.
    async fn turn(
        &mut self,
        ready: &mut Option<oneshot::Sender<Result<Cursors, Error>>>,
    ) -> Result<(), End> {
        let session = self.session(ready).await?;
        self.state.send_if_modified(|state| {
            let connecting = matches!(state, State::Connecting);
            *state = State::Connecting;
            !connecting
        });
        let transport = self.ladder.current();
        let after = self.position();
        let opened = Instant::now();
        let line = tokio::select! {
            line = Line::open(&self.reader, &session, transport, after) => line,
            () = changed(&mut self.policy) => {
                self.switch();
                return Ok(());
            }
        };
        match line {
            Ok(line) => {
                let broken = self.read(line, &session).await?;
                let settled = opened.elapsed() >= self.settle_after;
                if settled {
                    self.settled();
                }
                self.recover(broken, settled).await
            }
            Err(broken) => self.recover(broken, false).await,
        }
    }

    /// The session there is, or a new one that goes on where the device is.
    async fn session(
        &mut self,
        ready: &mut Option<oneshot::Sender<Result<Cursors, Error>>>,
    ) -> Result<Arc<Session>, End> {
        loop {
            if let Some(session) = &self.session {
                return Ok(Arc::clone(session));
            }
            match self.open_session().await {
                Ok((session, behind)) => {
                    self.ever = true;
                    self.elsewhere = session.elsewhere().into();
                    let session = Arc::new(session);
                    self.position.store(session.start().0, Ordering::Relaxed);
                    self.session = Some(Arc::clone(&session));
                    self.route(None);
                    if let Some(ready) = ready.take() {
                        // Whoever gave up waiting drops the connection too.
                        let _ = ready.send(Ok(self.held.cursors()));
                    }
                    for channel_id in behind {
                        self.repair(channel_id).await?;
                    }
                    return Ok(session);
                }
                Err(failure) => self.not_opened(failure).await?,
            }
        }
    }

    /// Opens a session, and answers with it the channels to fetch besides. Channels are asked for
    /// behind the opening: one that was made before it is in the list, and of one that was made
    /// after it the session tells.
    async fn open_session(&mut self) -> Result<(Session, Vec<ChannelId>), Failure> {
        if !self.held.is_known() {
            let channels = session::channels(&self.account).await?;
            self.held.know(&channels);
        }
        let (session, rest) = self.open_named().await?;
        let channels = session::channels(&self.account).await?;
        let new = |channel: &&Channel| {
            let channel_id = channel.channel_id;
            !self.held.knows(channel_id) || rest.contains(&channel_id)
        };
        let new: Vec<_> = channels.iter().filter(new).cloned().collect();
        self.held.know(&channels);
        let behind = new.iter().filter(|it| it.last_message_id > self.held.cursor(it.channel_id));
        Ok((session, behind.map(|channel| channel.channel_id).collect()))
    }

    /// Opens a session that names as many channels as the server takes.
    async fn open_named(&mut self) -> Result<(Session, Vec<ChannelId>), Failure> {
        loop {
            let members = self.held.members();
            let named = members.len().min(self.channels);
            match Session::open(&self.account, members, self.channels).await {
                Err(Failure::Problem(problem)) if problem.code == Code::Invalid && named > 0 => {
                    // This one takes fewer than others do.
                    self.channels = named / 2;
                }
                outcome => return outcome,
            }
        }
    }

    /// Reads until the line breaks. Meanwhile better transports are tried; one that stands takes
    /// over.
    async fn read(&mut self, line: Line, session: &Arc<Session>) -> Result<Broken, End> {
        let mut line = line;
        let mut probe: Option<Probe> = None;
        // The line was told that another one reads: that is the probe, about to stand.
        let mut replaced = None;
        let mut acks = Acks { upto: self.position(), at: Instant::now() };
        self.connected(&line);
        loop {
            let (after, transport) = (self.position(), self.ladder.current());
            let outcome = tokio::select! {
                better = wait_for(&mut probe), if probe.is_some() => {
                    probe = None;
                    let replaced = replaced.take();
                    if let Some((transport, better)) = better {
                        self.ladder.climbed(transport, Instant::now());
                        line = better;
                        self.connected(&line);
                    } else if let Some(broken) = replaced {
                        return Ok(broken);
                    }
                    continue;
                }
                () = until(self.ladder.probe_at()), if probe.is_none() => {
                    probe = Some(self.probe(session));
                    continue;
                }
                () = changed(&mut self.policy) => {
                    self.switch();
                    if self.ladder.current() == transport && probe.is_none() {
                        continue;
                    }
                    return Ok(Broken::Left);
                }
                outcome = line.read(after), if replaced.is_none() => outcome,
            };
            let batch = match outcome {
                Ok(batch) => batch,
                Err(broken @ Broken::Closed(4409, _)) if probe.is_some() => {
                    replaced = Some(broken);
                    continue;
                }
                Err(broken) => return Ok(broken),
            };
            if batch.events.is_empty() {
                let waited = self.ladder.current() == Transport::LongPolling;
                if probe.is_some() && waited && !batch.timeout {
                    replaced = Some(Broken::Lagged);
                }
                continue;
            }
            if let Some(broken) = self.take(&batch).await? {
                return Ok(broken);
            }
            self.settled();
            self.connected(&line);
            // What another line took is not this one's to confirm.
            acks.taken(&line, self.position().min(batch.next));
        }
    }

    /// Begins to try better transports.
    fn probe(&mut self, session: &Arc<Session>) -> Probe {
        let better = self.ladder.probe(Instant::now());
        let (reader, session) = (self.reader.clone(), Arc::clone(session));
        Box::pin(climb(reader, session, better, Arc::clone(&self.position)))
    }

    /// Hands on what is new of a batch.
    async fn take(&mut self, batch: &Batch) -> Result<Option<Broken>, End> {
        let Ok(fresh) = batch.behind(self.position()) else {
            return Ok(Some(Broken::cut("events are missing before a batch")));
        };
        for event in fresh {
            match Arrived::of(event.get()) {
                Arrived::Event(Event::Message(message)) => self.message(message).await?,
                Arrived::Event(event) => {
                    self.note(&event);
                    self.hand_on(event).await?;
                }
                Arrived::Resync(channel_id) => self.repair(channel_id).await?,
                Arrived::Draining { reconnect_after_ms, url } => {
                    self.draining = Some((Duration::from_millis(reconnect_after_ms), url));
                    return Ok(Some(Broken::Closed(1012, None)));
                }
            }
            self.position.fetch_add(1, Ordering::Relaxed);
        }
        Ok(None)
    }

    /// Fetches a channel from where the device is, before anything newer is handed on.
    async fn repair(&mut self, channel_id: ChannelId) -> Result<(), End> {
        loop {
            let from = PageFrom::After(self.held.cursor(channel_id));
            match self.account.messages(channel_id, from).await {
                Ok(page) => {
                    let done = !page.has_more || page.entries.is_empty();
                    for message in page.entries {
                        self.message(message).await?;
                    }
                    if done {
                        return Ok(());
                    }
                }
                Err(error) if error.is_unauthenticated() => return Err(End::Fatal(error)),
                Err(error) => {
                    if let Error::Problem(problem) = &error
                        && matches!(problem.status, 403 | 404)
                    {
                        // The user has left it.
                        return Ok(());
                    }
                    if matches!(error, Error::Unreachable(_)) {
                        self.go_elsewhere();
                    }
                    self.wait(&error.to_string(), error.retry_after()).await;
                }
            }
        }
    }

    async fn message(&mut self, message: Message) -> Result<(), End> {
        if self.held.admit(message.channel_id, message.message_id) {
            self.hand_on(Event::Message(message)).await?;
        }
        Ok(())
    }

    async fn hand_on(&self, event: Event) -> Result<(), End> {
        self.events.send(Ok(event)).await.map_err(|_| End::Left)
    }

    /// Keeps account of which channels the user is in.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Channel { channel_id, action: ChannelAction::Added, .. } => {
                self.held.joined(*channel_id);
            }
            Event::Channel { channel_id, action: ChannelAction::Deleted, .. } => {
                self.held.left(*channel_id);
            }
            Event::Member { channel_id, user_id, joined, .. }
                if *user_id == self.account.user_id() =>
            {
                if *joined {
                    self.held.joined(*channel_id);
                } else {
                    self.held.left(*channel_id);
                }
            }
            _ => {}
        }
    }

    /// Begins anew with the transports that the caller wants now.
    fn switch(&mut self) {
        let policy = *self.policy.borrow_and_update();
        self.ladder = Ladder::new(policy, self.reader.fallback);
        self.retry.reset();
    }

    fn settled(&mut self) {
        self.ladder.settled();
        self.retry.reset();
    }

    pub(super) async fn wait(&mut self, why: &str, said: Option<Duration>) {
        let until = Instant::now() + self.retry.wait(said);
        self.route(None);
        self.state.send_replace(State::Waiting { until, why: why.to_owned() });
        tokio::select! {
            () = sleep_until(until) => {}
            // Another transport may be tried at once, unless the server wants to be left alone.
            () = changed(&mut self.policy), if said.is_none() => self.switch(),
        }
    }

    fn connected(&self, line: &Line) {
        let state = State::Connected { transport: self.ladder.current() };
        if *self.state.borrow() == state {
            return;
        }
        self.route(Some(line));
        self.state.send_replace(state);
    }

    /// By what way commands go from now on.
    pub(super) fn route(&self, line: Option<&Line>) {
        let socket = line.and_then(Line::socket);
        self.route.send_replace(Route { session: self.session.clone(), socket, ended: None });
    }

    fn position(&self) -> Seq {
        Seq(self.position.load(Ordering::Relaxed))
    }
}

/// What a line was confirmed, and when.
struct Acks {
    upto: Seq,
    at: Instant,
}

impl Acks {
    /// Confirms what was taken, now and then, where that is not done by asking on.
    fn taken(&mut self, line: &Line, upto: Seq) {
        let many = upto.0.saturating_sub(self.upto.0) >= ACK_EVENTS;
        if let Some(socket) = line.socket()
            && (many || self.at.elapsed() >= ACK_EVERY)
        {
            socket.ack(upto);
            *self = Self { upto, at: Instant::now() };
        }
    }
}

/// Waits for the caller to want other transports.
async fn changed(policy: &mut watch::Receiver<Policy>) {
    if policy.changed().await.is_err() {
        // The connection was dropped, and this task ends with it.
        std::future::pending().await
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn wait_for(probe: &mut Option<Probe>) -> Option<(Transport, Line)> {
    match probe {
        Some(probe) => probe.await,
        None => std::future::pending().await,
    }
}

/// The best of some transports that stands.
async fn climb(
    reader: Reader,
    session: Arc<Session>,
    transports: Vec<Transport>,
    position: Arc<AtomicU64>,
) -> Option<(Transport, Line)> {
    for transport in transports {
        let after = Seq(position.load(Ordering::Relaxed));
        if let Ok(line) = Line::open(&reader, &session, transport, after).await {
            return Some((transport, line));
        }
    }
    None
}
