//! The task of a connection: opens sessions, reads them on whatever line gets through, and hands on
//! what is new.
//!
//! Two positions make that lossless. `position`, the number of the last event taken from the session,
//! is where the next line begins, whichever transport it is. `held`, the highest message id of each
//! channel, is where the next session begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::backoff::Retry;
use super::held::Held;
use super::ladder::{Fall, Ladder};
use super::line::{Broken, Line, Reader};
use super::outbox::Route;
use super::session::{self, Session};
use super::{Options, State, Transport};
use crate::account::Account;
use crate::base::Base;
use crate::error::{Code, Error, Problem};
use crate::event::{Arrived, Batch, ChannelAction, Event};
use crate::http::Failure;
use crate::ids::{ChannelId, Seq};
use crate::model::{Channel, Cursors, From, Message};

/// How often events are confirmed over a WebSocket, at most, unless many have come.
const ACK_EVERY: Duration = Duration::from_secs(1);
const ACK_EVENTS: u64 = 128;
/// How long to stay away from a node that stops and does not say.
const DRAINING: Duration = Duration::from_secs(1);

pub(crate) struct Driver {
    account: Account,
    /// The server it was told of; a session may live elsewhere.
    home: Base,
    reader: Reader,
    events: mpsc::Sender<Result<Event, Error>>,
    state: watch::Sender<State>,
    route: watch::Sender<Route>,
    ladder: Ladder,
    retry: Retry,
    settle_after: Duration,
    held: Held,
    session: Option<Arc<Session>>,
    position: Arc<AtomicU64>,
    /// Whether there was a session before.
    ever: bool,
    /// What a node that stops has said.
    draining: Option<(Duration, Option<String>)>,
}

/// Why the task ends.
enum End {
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
            account,
            reader,
            events,
            state,
            route,
            ladder: Ladder::new(options.transports, options.fallback),
            retry: Retry::new(options.backoff),
            settle_after: options.fallback.settle_after,
            held: Held::new(options.cursors.clone()),
            session: None,
            position: Arc::default(),
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
        match Line::open(&self.reader, &session, transport, after).await {
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
        let (session, rest) = Session::open(&self.account, self.held.members()).await?;
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

    async fn not_opened(&mut self, failure: Failure) -> Result<(), End> {
        match failure {
            Failure::Problem(problem) => match &problem.code {
                Code::WrongNode | Code::Draining => self.refused(problem, false).await,
                code if problem.retryable()
                    || matches!(code, Code::SessionGone | Code::Internal) =>
                {
                    self.wait(&problem.to_string(), problem.retry_after).await;
                    Ok(())
                }
                _ => Err(End::Fatal(Error::Problem(problem))),
            },
            // Not the URL of a server, most likely.
            Failure::Foreign(status, detail)
                if !self.ever && !matches!(status, 408 | 429 | 500..) =>
            {
                Err(End::Fatal(Error::Foreign { status, detail }))
            }
            failure => {
                if matches!(failure, Failure::NoConnection(_)) {
                    self.go_home();
                }
                self.wait(&Error::from(failure).to_string(), None).await;
                Ok(())
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
        let (mut acked, mut acked_at) = (self.position(), Instant::now());
        self.connected(&line);
        loop {
            let probe_at = self.ladder.probe_at();
            let after = self.position();
            let outcome = tokio::select! {
                stands = wait_for(&mut probe), if probe.is_some() => {
                    probe = None;
                    match (stands, replaced.take()) {
                        (Some((transport, better)), _) => {
                            self.ladder.climbed(transport, Instant::now());
                            line = better;
                            self.connected(&line);
                        }
                        (None, Some(broken)) => return Ok(broken),
                        (None, None) => {}
                    }
                    continue;
                }
                () = sleep_until(probe_at.unwrap_or_else(Instant::now)),
                    if probe.is_none() && probe_at.is_some() =>
                {
                    let better = self.ladder.probe(Instant::now());
                    let (reader, session) = (self.reader.clone(), Arc::clone(session));
                    let position = Arc::clone(&self.position);
                    probe = Some(Box::pin(climb(reader, session, better, position)));
                    continue;
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
            let taken = self.position().min(batch.next);
            let many = taken.0.saturating_sub(acked.0) >= ACK_EVENTS;
            if let Some(socket) = line.socket()
                && (many || acked_at.elapsed() >= ACK_EVERY)
            {
                socket.ack(taken);
                (acked, acked_at) = (taken, Instant::now());
            }
        }
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
            let from = From::After(self.held.cursor(channel_id));
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
                    let said = match &error {
                        Error::Problem(problem) => problem.retry_after,
                        _ => None,
                    };
                    self.wait(&error.to_string(), said).await;
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

    /// What to do about a line that gives no more, or never did.
    async fn recover(&mut self, broken: Broken, settled: bool) -> Result<(), End> {
        self.route(None);
        match broken {
            Broken::Lagged => Ok(()),
            Broken::Refused(why) => {
                if !self.ladder.failed(Fall::Refused, Instant::now()) {
                    self.wait(&why, None).await;
                }
                Ok(())
            }
            Broken::Failed(Failure::Problem(problem)) => self.refused(problem, settled).await,
            Broken::Failed(Failure::NoConnection(why)) => {
                self.go_home();
                self.wait(&why, None).await;
                Ok(())
            }
            Broken::Failed(Failure::Cut(why) | Failure::Foreign(_, why)) => {
                self.fell_silent(settled);
                self.wait(&why, None).await;
                Ok(())
            }
            Broken::Closed(4401, problem) => {
                let problem = problem.unwrap_or_else(token_ended);
                Err(End::Fatal(Error::Problem(problem)))
            }
            Broken::Closed(code, problem) => {
                let mut said = problem.as_ref().and_then(|problem| problem.retry_after);
                match code {
                    1012 => said = Some(self.leave()),
                    // Replaced: by a line of our own that was given up.
                    4409 | 4429 => {}
                    4400..=4499 => self.session = None,
                    _ => self.fell_silent(settled),
                }
                let why = problem.map_or_else(String::new, |problem| format!(": {problem}"));
                self.wait(&format!("closed with {code}{why}"), said).await;
                Ok(())
            }
        }
    }

    /// What to do about a problem that the server names.
    async fn refused(&mut self, problem: Box<Problem>, settled: bool) -> Result<(), End> {
        let mut said = problem.retry_after;
        match &problem.code {
            Code::Unauthenticated => return Err(End::Fatal(Error::Problem(problem))),
            Code::WrongNode => {
                let url = problem.url.as_deref().unwrap_or_default();
                if let Ok(base) = self.account.client.base.moved(url) {
                    self.go_to(base);
                }
            }
            Code::Draining => said = Some(said.unwrap_or_else(|| self.leave())),
            Code::RateLimited | Code::Unavailable => {}
            Code::SessionGone if self.draining.is_some() => said = Some(self.leave()),
            // Gone, or a position that it does not know: the cursors of the channels do.
            Code::SessionGone | Code::Invalid | Code::NotFound => self.session = None,
            _ => self.fell_silent(settled),
        }
        self.wait(&problem.to_string(), said).await;
        Ok(())
    }

    /// The node is about to stop: away from it, for as long as it says.
    fn leave(&mut self) -> Duration {
        self.session = None;
        let (after, url) = self.draining.take().unwrap_or((DRAINING, None));
        if let Some(url) = url
            && let Ok(base) = self.account.client.base.moved(&url)
        {
            self.go_to(base);
        }
        // It said the same to everybody.
        after + after.mul_f64(rand::random())
    }

    /// Another node has the session, or will have the next.
    fn go_to(&mut self, base: Base) {
        // A client without TLS set up cannot follow.
        if base.secure && self.account.client.tls.is_none() {
            return;
        }
        if let Some(session) = &self.session {
            let mut session = Session::clone(session);
            session.moved(base.clone());
            self.session = Some(Arc::new(session));
        }
        self.account.client.base = base;
    }

    /// The node it was sent to is not there: back to where it was told of.
    fn go_home(&mut self) {
        if self.account.client.base != self.home {
            self.account.client.base = self.home.clone();
            self.session = None;
        }
    }

    fn fell_silent(&mut self, settled: bool) {
        if !settled {
            self.ladder.failed(Fall::Silent, Instant::now());
        }
    }

    fn settled(&mut self) {
        self.ladder.settled();
        self.retry.reset();
    }

    async fn wait(&mut self, why: &str, said: Option<Duration>) {
        let until = Instant::now() + self.retry.wait(said);
        self.route(None);
        self.state.send_replace(State::Waiting { until, why: why.to_owned() });
        sleep_until(until).await;
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
    fn route(&self, line: Option<&Line>) {
        let socket = line.and_then(Line::socket);
        self.route.send_replace(Route { session: self.session.clone(), socket, ended: None });
    }

    fn position(&self) -> Seq {
        Seq(self.position.load(Ordering::Relaxed))
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

fn token_ended() -> Box<Problem> {
    Box::new(Problem {
        code: Code::Unauthenticated,
        status: 401,
        detail: "the token has ended".into(),
        retry_after: None,
        errors: Vec::new(),
        url: None,
    })
}
