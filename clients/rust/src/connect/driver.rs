//! The task of a connection: opens sessions, reads them on a transport that works, and yields events that
//! are new.
//!
//! Two positions make that lossless. `position`, the number of the last event taken from the session, is
//! where the next line begins, whichever transport it uses. `held`, the highest message id of each channel,
//! is where the next session begins. What a failure means is decided in `recovery`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::acks::Acks;
use super::backoff::BackoffState;
use super::held::Held;
use super::ladder::{Fall, Ladder};
use super::line::{Broken, Line, Reader};
use super::nodes::Nodes;
use super::options::{Options, Policy, Renewal, Transport};
use super::probe::{Position, Probe, probe};
use super::recovery::{NodeChange, Remedy, Retry};
use super::route::Route;
use super::session::{self, Session};
use super::status::State;
use crate::account::Account;
use crate::base::Base;
use crate::error::Error;
use crate::event::{Arrived, Batch, ChannelAction, Event};
use crate::ids::{ChannelId, Seq};
use crate::model::{Cursors, Message, PageFrom};

/// How long to avoid a node that is about to stop and names no time.
const DRAINING: Duration = Duration::from_secs(1);
/// After so many failures in a row a node counts as lost although connections to it are established: a
/// proxy may accept them. Every transport has been tried by then.
const FAILURES_OF_A_LOST_NODE: u32 = Transport::ALL.len() as u32;

/// Notified once with the cursors at which the device begins, or with the error that ended the connection.
type Ready = Option<oneshot::Sender<Result<Cursors, Error>>>;

pub(crate) struct Driver {
    account: Account,
    nodes: Nodes,
    reader: Reader,
    events: mpsc::Sender<Result<Event, Error>>,
    state: watch::Sender<State>,
    route: watch::Sender<Route>,
    /// Which transports the caller wants now.
    policy: watch::Receiver<Policy>,
    ladder: Ladder,
    backoff: BackoffState,
    held: Held,
    session: Option<Arc<Session>>,
    position: Position,
    /// How many channels the server accepts in one request, as far as is known.
    channels_per_request: usize,
    /// Whether a session was opened before.
    opened_before: bool,
    renewal: Option<Renewal>,
    /// What a node has announced that is about to stop: for how long to avoid it, and another node.
    draining: Option<(Duration, Option<String>)>,
}

/// Why the task ends.
enum End {
    /// The connection was dropped.
    Dropped,
    /// A retry cannot help.
    Fatal(Error),
}

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
            nodes: Nodes::new(account.client.base.clone(), account.client.tls.is_some()),
            account,
            reader,
            events,
            state,
            route,
            policy,
            ladder: Ladder::new(options.transports, options.fallback),
            backoff: BackoffState::new(options.backoff),
            held: Held::new(options.cursors.clone()),
            session: None,
            position: Position::default(),
            channels_per_request: session::CHANNELS,
            opened_before: false,
            renewal: options.renewal.clone(),
            draining: None,
        }
    }

    /// Works until the connection is dropped or a retry cannot help. `ready` is notified when the first
    /// session is open.
    pub(crate) async fn run(mut self, ready: oneshot::Sender<Result<Cursors, Error>>) {
        let mut ready = Some(ready);
        let end = loop {
            match self.read_one_line(&mut ready).await {
                Ok(()) => {}
                Err(end) => break end,
            }
        };
        let error = match end {
            End::Dropped => Error::Closed,
            End::Fatal(error) => error,
        };
        self.route.send_replace(Route { ended: Some(error.clone()), ..Route::default() });
        self.state.send_replace(State::Ended { why: error.to_string() });
        match ready {
            Some(ready) => drop(ready.send(Err(error))),
            // An error means that the connection was dropped.
            None => drop(self.events.send(Err(error)).await),
        }
    }

    /// One line, from its opening to its end and what follows from that.
    async fn read_one_line(&mut self, ready: &mut Ready) -> Result<(), End> {
        let session = self.session(ready).await?;
        self.state.send_if_modified(|state| {
            let connecting = matches!(state, State::Connecting);
            *state = State::Connecting;
            !connecting
        });
        let transport = self.ladder.current();
        let after = self.position.get();
        let opened = Instant::now();
        let line = tokio::select! {
            line = Line::open(&self.reader, &session, transport, after) => line,
            () = changed(&mut self.policy) => {
                self.switch();
                return Ok(());
            }
        };
        let (broken, settled) = match line {
            Ok(line) => {
                let broken = self.read(line, &session).await?;
                (broken, opened.elapsed() >= self.reader.fallback.settle_after)
            }
            Err(broken) => (broken, false),
        };
        if settled {
            self.settled();
        }
        self.publish_route(None);
        self.apply(Remedy::after_line(broken, self.draining.is_some()), settled).await
    }

    /// The open session, or a new one that continues where the device is.
    async fn session(&mut self, ready: &mut Ready) -> Result<Arc<Session>, End> {
        loop {
            if let Some(session) = &self.session {
                return Ok(Arc::clone(session));
            }
            let most = &mut self.channels_per_request;
            match Session::open(&self.account, &mut self.held, most).await {
                Ok((session, incomplete)) => {
                    self.opened_before = true;
                    self.nodes.set_others(session.other_nodes());
                    let session = Arc::new(session);
                    self.position.set(session.start());
                    self.session = Some(Arc::clone(&session));
                    self.publish_route(None);
                    if let Some(ready) = ready.take() {
                        // An error means that the caller has canceled `connect`.
                        let _ = ready.send(Ok(self.held.cursors()));
                    }
                    for channel_id in incomplete {
                        self.repair(channel_id).await?;
                    }
                    return Ok(session);
                }
                Err(failure) => {
                    let remedy = Remedy::after_opening(failure, self.opened_before);
                    self.apply(remedy, false).await?;
                }
            }
        }
    }

    /// Reads until the line breaks. Meanwhile better transports are tried; the first one that is
    /// established replaces the line.
    async fn read(&mut self, line: Line, session: &Arc<Session>) -> Result<Broken, End> {
        let mut line = line;
        let mut probe: Option<Probe> = None;
        // Set when the server has ended this line because another one reads the session. That is the
        // probe, which is about to be established.
        let mut replaced = None;
        let mut acks = Acks::new(self.position.get());
        self.connected(&line);
        loop {
            let (after, transport) = (self.position.get(), self.ladder.current());
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
                    return Ok(Broken::PolicyChanged);
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
            // A line confirms only events that it delivered itself.
            acks.taken(&line, self.position.get().min(batch.next));
        }
    }

    /// Begins to try better transports.
    fn probe(&mut self, session: &Arc<Session>) -> Probe {
        let better = self.ladder.probe(Instant::now());
        probe(self.reader.clone(), Arc::clone(session), better, self.position.clone())
    }

    /// Yields the events of a batch that are new.
    async fn take(&mut self, batch: &Batch) -> Result<Option<Broken>, End> {
        let Ok(new) = batch.after(self.position.get()) else {
            return Ok(Some(Broken::cut("events are missing before a batch")));
        };
        for event in new {
            match Arrived::parse(event.get()) {
                Arrived::Event(Event::Message(message)) => self.message(message).await?,
                Arrived::Event(event) => {
                    self.note(&event);
                    self.yield_event(event).await?;
                }
                Arrived::Resync(channel_id) => self.repair(channel_id).await?,
                Arrived::Draining { reconnect_after_ms, url } => {
                    self.draining = Some((Duration::from_millis(reconnect_after_ms), url));
                    return Ok(Some(Broken::Closed(1012, None)));
                }
            }
            self.position.set(Seq(self.position.get().0 + 1));
        }
        Ok(None)
    }

    /// Fetches the messages of a channel that the device does not hold, before any newer one is yielded.
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
                Err(error) if error.is_unauthenticated() => self.renew(error).await?,
                // The user has left the channel.
                Err(Error::Problem(problem)) if matches!(problem.status, 403 | 404) => {
                    return Ok(());
                }
                Err(error) => {
                    if matches!(error, Error::Unreachable(_)) {
                        self.use_another_node();
                    }
                    self.wait(error.to_string(), error.retry_after()).await;
                }
            }
        }
    }

    async fn message(&mut self, message: Message) -> Result<(), End> {
        if self.held.admit(message.channel_id, message.message_id) {
            self.yield_event(Event::Message(message)).await?;
        }
        Ok(())
    }

    async fn yield_event(&self, event: Event) -> Result<(), End> {
        self.events.send(Ok(event)).await.map_err(|_| End::Dropped)
    }

    /// Notes of which channels the user is a member.
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

    /// Carries out what recovery decided. `settled`: the transport had worked for a while, so this was no
    /// failure of the transport.
    async fn apply(&mut self, remedy: Remedy, settled: bool) -> Result<(), End> {
        let retry = match remedy {
            Remedy::Resume => return Ok(()),
            Remedy::End(error) if error.is_unauthenticated() => return self.renew(error).await,
            Remedy::End(error) => return Err(End::Fatal(error)),
            Remedy::Retry(retry) => retry,
        };
        let Retry { why, mut retry_after, transport, session_ended, node } = retry;
        let now = Instant::now();
        if transport == Some(Fall::Refused) && self.ladder.failed(Fall::Refused, now) {
            // The next transport needs no wait.
            return Ok(());
        }
        if transport == Some(Fall::Silent) && !settled {
            self.ladder.failed(Fall::Silent, now);
        }
        if session_ended {
            self.session = None;
        }
        match node {
            NodeChange::Stay => {}
            NodeChange::Follow(url) => self.follow(url.as_deref()),
            NodeChange::Leave(url) => {
                let after = self.leave();
                self.follow(url.as_deref());
                retry_after = retry_after.or(Some(after));
            }
            NodeChange::Lost { established } => {
                if !established || self.backoff.failures() >= FAILURES_OF_A_LOST_NODE {
                    self.use_another_node();
                }
            }
        }
        self.wait(why, retry_after).await;
        Ok(())
    }

    /// Gets another token, because the server has refused the present one with `refused`. The session stays:
    /// it waits for a token of the same device.
    async fn renew(&mut self, refused: Error) -> Result<(), End> {
        let Some(renewal) = self.renewal.clone() else { return Err(End::Fatal(refused)) };
        // Commands wait, too: whose session it is shows when the next line opens.
        self.route.send_replace(Route::default());
        self.state.send_replace(State::Connecting);
        let retry_after = match renewal.renew().await {
            Ok(token) => {
                self.account.token.clone_from(&token);
                self.reader.token = token;
                None
            }
            Err(error) if error.retryable() => error.retry_after(),
            Err(error) => return Err(End::Fatal(error)),
        };
        // A token that is refused again must not lead to a loop without a pause.
        sleep(self.backoff.next_wait(retry_after)).await;
        Ok(())
    }

    /// Leaves a node that is about to stop. Returns for how long to avoid it.
    fn leave(&mut self) -> Duration {
        self.session = None;
        let (after, url) = self.draining.take().unwrap_or((DRAINING, None));
        self.follow(url.as_deref());
        // Every session of the node was given the same time: jitter spreads their reconnects.
        after + after.mul_f64(rand::random())
    }

    /// Uses the node at `url`, which has the session or will have the next one.
    fn follow(&mut self, url: Option<&str>) {
        let Some(node) = url.and_then(|url| self.nodes.named(self.node(), url)) else { return };
        self.session = self.session.take().map(|session| Arc::new(session.at(node.clone())));
        self.account.client.base = node;
    }

    /// Uses another node, because this one does not respond.
    fn use_another_node(&mut self) {
        if let Some(node) = self.nodes.instead_of(&self.account.client.base) {
            self.account.client.base = node;
            self.session = None;
        }
    }

    fn node(&self) -> &Base {
        &self.account.client.base
    }

    /// Begins anew with the transports that the caller wants now.
    fn switch(&mut self) {
        let policy = *self.policy.borrow_and_update();
        self.ladder = Ladder::new(policy, self.reader.fallback);
        self.backoff.reset();
    }

    fn settled(&mut self) {
        self.ladder.settled();
        self.backoff.reset();
    }

    async fn wait(&mut self, why: String, retry_after: Option<Duration>) {
        let until = Instant::now() + self.backoff.next_wait(retry_after);
        self.publish_route(None);
        self.state.send_replace(State::Waiting { until, why });
        tokio::select! {
            () = sleep_until(until) => {}
            // Another transport may be tried at once, unless the server named the wait.
            () = changed(&mut self.policy), if retry_after.is_none() => self.switch(),
        }
    }

    fn connected(&self, line: &Line) {
        let state = State::Connected { transport: self.ladder.current() };
        if *self.state.borrow() == state {
            return;
        }
        self.publish_route(Some(line));
        self.state.send_replace(state);
    }

    /// Publishes how commands reach the server from now on.
    fn publish_route(&self, line: Option<&Line>) {
        let socket = line.and_then(Line::socket);
        let (session, token) = (self.session.clone(), Some(self.account.token.clone()));
        self.route.send_replace(Route { session, token, socket, ended: None });
    }
}

/// Waits until the caller wants other transports.
async fn changed(policy: &mut watch::Receiver<Policy>) {
    if policy.changed().await.is_err() {
        // The connection was dropped, and this task is aborted with it.
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
