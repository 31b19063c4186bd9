//! A client: one session, kept alive over broken connections, and an oracle's ear.

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

use crate::counts::{Tally, Verdict, count, record};
use crate::error::Broken;
use crate::http::{Connection, headers};
use crate::line::{Line, Session, phase};
use crate::oracle::{Channel, Heard, Hearing};
use crate::orders::{Inbox, Order, Phase};
use crate::scene::Scene;
use crate::socket::Socket;
use crate::target::Place;
use crate::wire::{Document, Event, Frame, Page, Stamp};
use pabal_cost::Transport;

/// The bound of the first wait after a failure; it doubles with each, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// As many messages as a page of history holds.
const PAGE: u64 = 200;

/// One of those who receive.
#[derive(Debug)]
pub(crate) struct Listener {
    number: usize,
    bearer: HeaderValue,
    scene: Arc<Scene>,
    inbox: Inbox,
    ear: Ear,
    /// What is still to be read from history, of one batch at most.
    unread: VecDeque<Resync>,
    session: Option<Session>,
    /// A session was there once: the next one begins where it ended.
    known: bool,
    /// Where its session lives, or is to: the target, or another node that was named.
    place: Arc<Place>,
    failures: u32,
    /// The server has answered on the line it has.
    connected: bool,
    /// It was cut off on purpose and is not back yet.
    cut: bool,
}

/// What it heard of its channel.
#[derive(Debug)]
struct Ear {
    channel: Arc<Channel>,
    hearing: Hearing,
    /// It has said that it has everything.
    complete: bool,
}

/// Message ids of its channel that a session could not hold.
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
        scene: Arc<Scene>,
        inbox: Inbox,
    ) -> Self {
        Self {
            number,
            bearer,
            place: Arc::clone(&scene.place),
            scene,
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
        let (scene, place) = (Arc::clone(&self.scene), Arc::clone(&self.place));
        let headers = headers(scene.plan.headers, &place, Some(&self.bearer));
        if scene.plan.transport == Transport::WebSocket {
            if self.known && self.session.is_none() {
                // A socket that opens its own session might be handed messages before the server has
                // read from where on earlier ones are wanted.
                let mut connection = scene.connection(&place, self.number).await?;
                self.open_session(&mut connection, &headers).await?;
            }
            let line = self.open_socket(&place, headers).await?;
            self.arrived();
            return Ok(line);
        }
        let mut connection = scene.connection(&place, self.number).await?;
        let (session, fresh) = match &self.session {
            Some(session) => (session.clone(), true),
            None => (self.open_session(&mut connection, &headers).await?, false),
        };
        let now = Instant::now();
        let line = match scene.plan.transport {
            Transport::Sse => {
                let Session { id, next } = session;
                count(&scene.tally.requests);
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

    /// Opens a session, which begins where an earlier one ended.
    async fn open_session(
        &mut self,
        connection: &mut Connection,
        headers: &HeaderMap,
    ) -> Result<Session, Broken> {
        count(&self.scene.tally.requests);
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
        place: &Arc<Place>,
        headers: HeaderMap,
    ) -> Result<Line, Broken> {
        let scene = Arc::clone(&self.scene);
        let http = scene.plan.http;
        let path = match &self.session {
            Some(Session { id, next }) => format!("/v1/sessions/{id}/websocket?after={next}"),
            None => "/v1/websocket".into(),
        };
        let stream = scene.stream(place, self.number, http, &scene.tally.meter).await?;
        count(&scene.tally.requests);
        let mut socket = Socket::open(stream, place, &path, headers, http, &scene.tracker).await?;
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
            count(&self.scene.tally.sessions);
        }
        self.known = true;
        let session = Session { id: document.session_id, next: document.next };
        self.session.insert(session).clone()
    }

    /// The server has answered: the line is one that works.
    fn arrived(&mut self) {
        self.failures = 0;
        if !std::mem::replace(&mut self.connected, true) {
            self.scene.tally.connected.fetch_add(1, Ordering::Relaxed);
        }
        if std::mem::take(&mut self.cut) {
            count(&self.scene.tally.returned);
        }
    }

    /// Listens until the end, and says what it heard.
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
                    // A large future, and seldom needed: it is not to lie in every task for ever.
                    let established = Box::pin(self.establish()).await;
                    if established.is_ok() {
                        count(&self.scene.tally.reconnects);
                    }
                    established
                }
            };
            let why = match established {
                Ok(line) => self.read(line).await,
                Err(why) => why,
            };
            if std::mem::take(&mut self.connected) {
                self.scene.tally.connected.fetch_sub(1, Ordering::Relaxed);
            }
            Box::pin(self.recover(why)).await;
        }
    }

    /// Reads until the line breaks.
    async fn read(&mut self, mut line: Line) -> Broken {
        let scene = Arc::clone(&self.scene);
        // As long as it takes nothing.
        let mut deaf = None;
        loop {
            if !self.unread.is_empty()
                && let Err(why) = Box::pin(self.fetch()).await
            {
                return why;
            }
            self.ear.check(self.inbox.phase(), &scene.tally);
            let Some(session) = &self.session else { return Broken::SessionGone };
            let batch = {
                let mut batch = pin!(line.read(session, &scene.tally));
                loop {
                    tokio::select! {
                        biased;
                        order = self.inbox.next() => match order {
                            Order::Cut => {
                                self.cut = true;
                                return Broken::cut("cut off on purpose");
                            }
                            Order::Pause(pause) => deaf = Some(Instant::now() + pause),
                            Order::Nothing => self.ear.check(self.inbox.phase(), &scene.tally),
                        },
                        // What was asked for lies in the socket meanwhile.
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

    /// Takes in a batch, or whatever else a frame holds.
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
            count(&self.scene.tally.empty);
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

    /// Counts events; whether the node drains.
    fn hear(&mut self, events: Vec<Event<'_>>) -> Option<Broken> {
        if events.is_empty() {
            return None;
        }
        let mut draining = None;
        let tally = &self.scene.tally;
        let now = self.scene.epoch.elapsed();
        let mut latency = tally.latency();
        let (mut deliveries, missed) = (0, self.ear.hearing.missing());
        for event in events {
            match (&*event.kind, event.message) {
                ("message", Some(message)) if message.channel_id == self.ear.channel.id => {
                    // What somebody else says in this channel is nothing of the plan.
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
        self.ear.tell_missing(missed, tally);
        draining
    }

    /// Reads from history what sessions could not hold. What was read stays read if it fails.
    async fn fetch(&mut self) -> Result<(), Broken> {
        let (scene, place) = (Arc::clone(&self.scene), Arc::clone(&self.place));
        let headers = headers(scene.plan.headers, &place, Some(&self.bearer));
        let mut connection = scene.connection(&place, self.number).await?;
        while let Some(Resync { after, until }) = self.unread.front_mut() {
            if *after >= *until {
                self.unread.pop_front();
                continue;
            }
            let id = self.ear.channel.id;
            let path = format!("/v1/channels/{id}/messages?after={after}&limit={PAGE}");
            count(&scene.tally.requests);
            let page = connection.call(Method::GET, &path, &headers, None, Duration::ZERO).await?;
            let page: Page<'_> = serde_json::from_slice(&page).map_err(Broken::foreign)?;
            let missed = self.ear.hearing.missing();
            for message in &page.messages {
                *after = message.message_id.max(*after);
                // What is beyond comes as an event.
                if message.message_id <= *until
                    && let Some(stamp) = Stamp::of(&message.content)
                    && self.ear.hearing.fetch(stamp.number, message.message_id)
                {
                    count(&scene.tally.fetched);
                }
            }
            self.ear.tell_missing(missed, &scene.tally);
            if !page.has_more || page.messages.is_empty() {
                self.unread.pop_front();
            }
        }
        Ok(())
    }

    /// Does what is to be done after a line broke, and waits as long as is fitting.
    async fn recover(&mut self, why: Broken) {
        let tally = &self.scene.tally;
        // Full jitter, which spreads a crowd best; none before the first try after a cut.
        let bound = FIRST_WAIT.saturating_mul(1 << self.failures.min(10)).min(LONGEST_WAIT);
        let jitter = bound.mul_f64(rand::random());
        let first = self.failures == 0;
        self.failures += 1;
        let wait = match why {
            Broken::Cut(_) if first => Duration::ZERO,
            Broken::Cut(_) => {
                // The node that was named may be the one that is not there.
                self.place = Arc::clone(&self.scene.place);
                jitter
            }
            Broken::SessionGone => {
                self.session = None;
                if first { Duration::ZERO } else { jitter }
            }
            Broken::Draining { after_ms, url } => {
                self.session = None;
                self.place = self.scene.named(url).await;
                Duration::from_millis(after_ms)
            }
            Broken::Refused(problem) if problem.code == Code::WrongNode => {
                self.place = self.scene.named(problem.url).await;
                if first { Duration::ZERO } else { jitter }
            }
            Broken::Refused(problem) => {
                tally.trouble(|| format!("a client was refused: {problem}"));
                problem.retry_after.unwrap_or_default() + jitter
            }
            Broken::Foreign(why) => {
                tally.trouble(|| format!("a client got no answer of Pabal: {why}"));
                jitter
            }
        };
        sleep(wait).await;
    }
}

impl Ear {
    /// Says once that it has everything, when all is said.
    fn check(&mut self, phase: Phase, tally: &Tally) {
        if phase == Phase::Finish && !self.complete && self.hearing.of(&self.channel).lost == 0 {
            self.complete = true;
            tally.complete.fetch_add(1, Ordering::Relaxed);
            tally.progress.notify_one();
        }
    }

    /// Brings the sum of what is missing up to date.
    fn tell_missing(&self, before: u64, tally: &Tally) {
        let now = self.hearing.missing();
        if now != before {
            tally.missing.fetch_add(now as i64 - before as i64, Ordering::Relaxed);
        }
    }
}
