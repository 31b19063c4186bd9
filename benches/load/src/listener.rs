//! A receiving client: one session, which survives broken connections, and the oracle that checks it.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use http::header::HeaderValue;
use http::{HeaderMap, Method};
use pabal_client::Code;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use crate::counts::{Tally, Verdict, count};
use crate::error::Broken;
use crate::http::{Connection, headers};
use crate::latency::record;
use crate::line::{Line, Session, phase};
use crate::oracle::{Channel, Heard, Hearing};
use crate::orders::{Inbox, Order, Phase};
use crate::scenario::Scenario;
use crate::socket::Socket;
use crate::target::Endpoint;
use crate::wire::{Document, Event, Frame, Page, Stamp};
use pabal_cost::Transport;

/// The upper bound of the first backoff; it doubles with each failure, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Messages of a page of history.
const PAGE: u64 = 200;

/// A receiving client.
#[derive(Debug)]
pub(crate) struct Listener {
    number: usize,
    bearer: HeaderValue,
    scenario: Arc<Scenario>,
    inbox: Inbox,
    ear: Ear,
    /// Ranges that the client still has to read from history, of one batch at most.
    unread: VecDeque<Resync>,
    session: Option<Session>,
    /// An earlier session existed; the next one continues at its cursor.
    known: bool,
    /// The endpoint of its session: the target, or another node whose URL the server returned.
    endpoint: Arc<Endpoint>,
    failures: u32,
    /// The server has responded on the current connection.
    connected: bool,
    /// It was disconnected on purpose and has not reconnected yet.
    cut: bool,
}

/// What the client has received of its channel.
#[derive(Debug)]
struct Ear {
    channel: Arc<Channel>,
    hearing: Hearing,
    /// It has reported that it received every message.
    complete: bool,
}

/// A range of message ids of the channel that the session's mailbox could not hold.
#[derive(Clone, Copy, Debug)]
struct Resync {
    after: u64,
    until: u64,
}

impl Listener {
    pub(crate) fn new(
        number: usize,
        bearer: HeaderValue,
        channel: Arc<Channel>,
        scenario: Arc<Scenario>,
        inbox: Inbox,
    ) -> Self {
        Self {
            number,
            bearer,
            endpoint: Arc::clone(&scenario.endpoint),
            scenario,
            inbox,
            ear: Ear { channel, hearing: Hearing::default(), complete: false },
            unread: VecDeque::new(),
            session: None,
            known: false,
            failures: 0,
            connected: false,
            cut: false,
        }
    }

    /// Connects; opens a session if there is none.
    pub(crate) async fn establish(&mut self) -> Result<Line, Broken> {
        let (scenario, endpoint) = (Arc::clone(&self.scenario), Arc::clone(&self.endpoint));
        let headers = headers(scenario.plan.headers, &endpoint, Some(&self.bearer));
        if scenario.plan.transport == Transport::WebSocket {
            if self.known && self.session.is_none() {
                // On a socket that opens its own session, messages might arrive before the server has
                // read the cursor of the channel.
                let mut connection = scenario.connection(&endpoint, self.number).await?;
                self.open_session(&mut connection, &headers).await?;
            }
            let line = self.open_socket(&endpoint, headers).await?;
            self.arrived();
            return Ok(line);
        }
        let mut connection = scenario.connection(&endpoint, self.number).await?;
        let (session, fresh) = match &self.session {
            Some(session) => (session.clone(), true),
            None => (self.open_session(&mut connection, &headers).await?, false),
        };
        let now = Instant::now();
        let line = match scenario.plan.transport {
            Transport::Sse => {
                let Session { id, next } = session;
                count(&scenario.tally.requests);
                let path = format!("/v1/sessions/{id}/events?after={next}");
                let body = connection.stream(&path, &headers).await?;
                Line::Sse { connection, body, buffer: BytesMut::new() }
            }
            Transport::ShortPolling { every_ms } => {
                let every = Duration::from_millis(every_ms);
                let due = if fresh { now } else { now + phase(every) };
                Line::Polling { connection, headers, every: Some(every), due, fresh }
            }
            _ => Line::Polling { connection, headers, every: None, due: now, fresh },
        };
        if !(fresh && line.polls()) {
            self.arrived();
        }
        Ok(line)
    }

    /// Opens a session at the cursor of the earlier one.
    async fn open_session(
        &mut self,
        connection: &mut Connection,
        headers: &HeaderMap,
    ) -> Result<Session, Broken> {
        count(&self.scenario.tally.requests);
        let id = self.ear.channel.id.to_string();
        let body = if self.known {
            json!({ "channels": { id: self.ear.hearing.last_id().to_string() } })
        } else {
            json!({})
        };
        let document = connection.json(Method::POST, "/v1/sessions", headers, Some(&body)).await?;
        Ok(self.begin(document))
    }

    async fn open_socket(
        &mut self,
        endpoint: &Arc<Endpoint>,
        headers: HeaderMap,
    ) -> Result<Line, Broken> {
        let scenario = Arc::clone(&self.scenario);
        let http = scenario.plan.http;
        let path = match &self.session {
            Some(Session { id, next }) => format!("/v1/sessions/{id}/websocket?after={next}"),
            None => "/v1/websocket".into(),
        };
        let stream = scenario.stream(endpoint, self.number, http, &scenario.tally.meter).await?;
        count(&scenario.tally.requests);
        let mut socket =
            Socket::open(stream, endpoint, &path, headers, http, &scenario.tracker).await?;
        if self.session.is_none() {
            let text = socket.next().await?;
            let frame: Frame<'_> = serde_json::from_str(&text).map_err(Broken::foreign)?;
            if let Some(problem) = frame.error {
                return Err(Broken::Refused(Box::new(problem)));
            }
            let document =
                frame.session.ok_or_else(|| Broken::foreign("no session in the first frame"))?;
            self.begin(document);
        }
        let acked = self.session.as_ref().map_or(0, |session| session.next);
        Ok(Line::WebSocket { socket, acked, acked_at: Instant::now() })
    }

    fn begin(&mut self, document: Document) -> Session {
        if self.known {
            count(&self.scenario.tally.sessions);
        }
        self.known = true;
        let session = Session { id: document.session_id, next: document.next };
        self.session.insert(session).clone()
    }

    /// Records that the server has responded: the connection works.
    fn arrived(&mut self) {
        self.failures = 0;
        if !std::mem::replace(&mut self.connected, true) {
            self.scenario.tally.connected.fetch_add(1, Ordering::Relaxed);
        }
        if std::mem::take(&mut self.cut) {
            count(&self.scenario.tally.returned);
        }
    }

    /// Receives until the end of the run, and returns the verdict.
    pub(crate) async fn run(mut self, line: Line) -> Verdict {
        let judged = self.inbox.clone().judged();
        tokio::select! {
            biased;
            () = judged => {}
            () = self.live(line) => {}
        }
        self.ear.hearing.of(&self.ear.channel)
    }

    async fn live(&mut self, line: Line) {
        let mut line = Some(line);
        loop {
            let established = match line.take() {
                Some(line) => Ok(line),
                None => {
                    // A large future that is seldom needed: boxed, it takes no memory in every task.
                    let established = Box::pin(self.establish()).await;
                    if established.is_ok() {
                        count(&self.scenario.tally.reconnects);
                    }
                    established
                }
            };
            let why = match established {
                Ok(line) => self.read(line).await,
                Err(why) => why,
            };
            if std::mem::take(&mut self.connected) {
                self.scenario.tally.connected.fetch_sub(1, Ordering::Relaxed);
            }
            Box::pin(self.recover(why)).await;
        }
    }

    /// Reads until the connection breaks.
    async fn read(&mut self, mut line: Line) -> Broken {
        let scenario = Arc::clone(&self.scenario);
        // The end of a pause in which the client does not read.
        let mut deaf = None;
        loop {
            if !self.unread.is_empty()
                && let Err(why) = Box::pin(self.fetch()).await
            {
                return why;
            }
            self.ear.check(self.inbox.phase(), &scenario.tally);
            let Some(session) = &self.session else { return Broken::SessionGone };
            let batch = {
                let mut batch = pin!(line.read(session, &scenario.tally));
                loop {
                    tokio::select! {
                        biased;
                        order = self.inbox.next() => match order {
                            Order::Cut => {
                                self.cut = true;
                                return Broken::cut("cut off on purpose");
                            }
                            Order::Pause(pause) => deaf = Some(Instant::now() + pause),
                            Order::Nothing => self.ear.check(self.inbox.phase(), &scenario.tally),
                        },
                        // A response stays in the socket during a pause.
                        () = sleep_until(deaf.unwrap_or_else(Instant::now)), if deaf.is_some() => deaf = None,
                        batch = &mut batch, if deaf.is_none() => break batch,
                    }
                }
            };
            let taken = match batch {
                Ok(batch) => self.take(&batch, &mut line).await,
                Err(why) => Err(why),
            };
            if let Err(why) = taken {
                return why;
            }
        }
    }

    /// Processes a batch, or another frame.
    async fn take(&mut self, text: &[u8], line: &mut Line) -> Result<(), Broken> {
        let frame: Frame<'_> = serde_json::from_slice(text).map_err(Broken::foreign)?;
        if let Some(problem) = frame.error {
            return Err(match problem.code {
                Code::SessionGone => Broken::SessionGone,
                _ => Broken::Refused(Box::new(problem)),
            });
        }
        let Some(next) = frame.next else { return Ok(()) };
        if line.polls() {
            self.arrived();
        }
        if frame.events.is_empty() && line.polls() {
            count(&self.scenario.tally.empty);
        }
        let events = frame.events.len();
        let draining = self.hear(frame.events);
        if let Some(session) = &mut self.session {
            session.next = next;
        }
        if let Some(draining) = draining {
            return Err(draining);
        }
        line.taken(next, events, frame.timeout).await
    }

    /// Counts events; returns an error if the node drains.
    fn hear(&mut self, events: Vec<Event<'_>>) -> Option<Broken> {
        if events.is_empty() {
            return None;
        }
        let mut draining = None;
        let tally = &self.scenario.tally;
        let now = self.scenario.epoch.elapsed();
        let mut latency = tally.latency();
        let (mut deliveries, missed) = (0, self.ear.hearing.missing());
        for event in events {
            match (&*event.kind, event.message) {
                ("message", Some(message)) if message.channel_id == self.ear.channel.id => {
                    // A message of a user outside the plan has no stamp.
                    let Some(stamp) = Stamp::of(&message.content) else { continue };
                    deliveries += 1;
                    match self.ear.hearing.hear(stamp.number, message.message_id) {
                        Heard::InOrder => {}
                        Heard::Reordered => count(&tally.reordered),
                        Heard::Repeated => count(&tally.repeated),
                    }
                    record(&mut latency, now.saturating_sub(stamp.due));
                }
                ("resync", _) if event.channel_id == Some(self.ear.channel.id) => {
                    let until = event.cur_max_message_id.unwrap_or(u64::MAX);
                    self.unread.push_back(Resync { after: self.ear.hearing.last_id(), until });
                }
                ("draining", _) => {
                    let after_ms = event.reconnect_after_ms.unwrap_or_default();
                    draining = Some(Broken::Draining { after_ms, url: event.url });
                }
                _ => {}
            }
        }
        drop(latency);
        tally.deliveries.fetch_add(deliveries, Ordering::Relaxed);
        self.ear.report_missing(missed, tally);
        draining
    }

    /// Reads the missing ranges from history. After an error the next call continues with the
    /// page that failed.
    async fn fetch(&mut self) -> Result<(), Broken> {
        let (scenario, endpoint) = (Arc::clone(&self.scenario), Arc::clone(&self.endpoint));
        let headers = headers(scenario.plan.headers, &endpoint, Some(&self.bearer));
        let mut connection = scenario.connection(&endpoint, self.number).await?;
        while let Some(Resync { after, until }) = self.unread.front_mut() {
            if *after >= *until {
                self.unread.pop_front();
                continue;
            }
            let id = self.ear.channel.id;
            let path = format!("/v1/channels/{id}/messages?after={after}&limit={PAGE}");
            count(&scenario.tally.requests);
            let page = connection.call(Method::GET, &path, &headers, None, Duration::ZERO).await?;
            let page: Page<'_> = serde_json::from_slice(&page).map_err(Broken::foreign)?;
            let missed = self.ear.hearing.missing();
            for message in &page.messages {
                *after = message.message_id.max(*after);
                // Later messages arrive as events.
                if message.message_id <= *until
                    && let Some(stamp) = Stamp::of(&message.content)
                    && self.ear.hearing.fetch(stamp.number, message.message_id)
                {
                    count(&scenario.tally.fetched);
                }
            }
            self.ear.report_missing(missed, &scenario.tally);
            if !page.has_more || page.messages.is_empty() {
                self.unread.pop_front();
            }
        }
        Ok(())
    }

    /// Chooses the endpoint and the session after an error, and waits for the backoff.
    async fn recover(&mut self, why: Broken) {
        let tally = &self.scenario.tally;
        // Full jitter spreads reconnects best; the first attempt after a cut has no backoff.
        let bound = FIRST_WAIT.saturating_mul(1 << self.failures.min(10)).min(LONGEST_WAIT);
        let jitter = bound.mul_f64(rand::random());
        let first = self.failures == 0;
        self.failures += 1;
        let wait = match why {
            Broken::Cut(_) if first => Duration::ZERO,
            Broken::Cut(_) => {
                // The other node may be the one that is unavailable.
                self.endpoint = Arc::clone(&self.scenario.endpoint);
                jitter
            }
            Broken::SessionGone => {
                self.session = None;
                if first { Duration::ZERO } else { jitter }
            }
            Broken::Draining { after_ms, url } => {
                self.session = None;
                self.endpoint = self.scenario.named(url).await;
                Duration::from_millis(after_ms)
            }
            Broken::Refused(problem) if problem.code == Code::WrongNode => {
                self.endpoint = self.scenario.named(problem.url).await;
                if first { Duration::ZERO } else { jitter }
            }
            Broken::Refused(problem) => {
                tally.trouble(|| format!("a client was refused: {problem}"));
                problem.retry_after.unwrap_or_default() + jitter
            }
            Broken::Foreign(why) => {
                tally.trouble(|| {
                    format!("a client received a response that is not of Pabal: {why}")
                });
                jitter
            }
        };
        sleep(wait).await;
    }
}

impl Ear {
    /// Reports once, after the last message was sent, that the client has received every message.
    fn check(&mut self, phase: Phase, tally: &Tally) {
        if phase == Phase::Finish && !self.complete && self.hearing.of(&self.channel).lost == 0 {
            self.complete = true;
            tally.complete.fetch_add(1, Ordering::Relaxed);
            tally.progress.notify_one();
        }
    }

    /// Updates the sum of missing messages.
    fn report_missing(&self, before: u64, tally: &Tally) {
        let now = self.hearing.missing();
        if now != before {
            tally.missing.fetch_add(now as i64 - before as i64, Ordering::Relaxed);
        }
    }
}
