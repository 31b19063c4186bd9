//! A client: one session, kept alive over broken connections, and an oracle's ear.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use http::header::HeaderValue;
use http::{HeaderMap, Method};
use pabal_client::Code;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::counts::{Tally, Verdict, count, record};
use crate::error::Broken;
use crate::http::headers;
use crate::line::{Line, Session};
use crate::oracle::{Channel, Heard, Hearing};
use crate::orders::{Inbox, Order, Phase};
use crate::plan::{Http, Transport};
use crate::scene::Scene;
use crate::socket::Socket;
use crate::target::Place;
use crate::wire::{Document, Event, Frame, Page, Stamp};

/// The bound of the first wait after a failure; it doubles with each, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// As many messages as a page of history holds.
const PAGE: u64 = 200;

/// One of those who receive.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) number: usize,
    pub(crate) bearer: HeaderValue,
    pub(crate) scene: Arc<Scene>,
    pub(crate) inbox: Inbox,
    ear: Ear,
    session: Option<Session>,
    /// A session was there once: the next one begins where it ended.
    known: bool,
    /// Where its session lives, or is to: the target, or another node that was named.
    place: Arc<Place>,
    failures: u32,
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

/// What is still to be read from history.
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
            session: None,
            known: false,
            failures: 0,
            cut: false,
        }
    }

    /// Connects; opens a session if there is none.
    pub(crate) async fn establish(&mut self) -> Result<Line, Broken> {
        let (scene, place) = (Arc::clone(&self.scene), Arc::clone(&self.place));
        let headers = headers(scene.plan.headers, &place, Some(&self.bearer));
        let http = scene.plan.http;
        let line = match scene.plan.transport {
            Transport::WebSocket => self.open_socket(&place, headers, http).await?,
            transport => {
                let mut connection = scene.connection(&place, self.number).await?;
                let session = match &self.session {
                    Some(session) => session.clone(),
                    None => {
                        count(&scene.tally.requests);
                        let body = if self.known {
                            json!({ "channels": self.cursors() })
                        } else {
                            json!({})
                        };
                        let document: Document = connection
                            .json(Method::POST, "/v1/sessions", &headers, Some(&body))
                            .await?;
                        self.begin(document)
                    }
                };
                match transport {
                    Transport::Sse => {
                        let Session { id, next } = session;
                        count(&scene.tally.requests);
                        let path = format!("/v1/sessions/{id}/events?after={next}");
                        let body = connection.stream(&path, &headers).await?;
                        Line::Sse { connection, body, buffer: BytesMut::new() }
                    }
                    Transport::ShortPolling { every_ms } => {
                        let every = Duration::from_millis(every_ms);
                        // Clients of the real world do not ask in step.
                        let due = Instant::now() + every.mul_f64(rand::random());
                        Line::Polling { connection, headers, every: Some(every), due }
                    }
                    _ => Line::Polling { connection, headers, every: None, due: Instant::now() },
                }
            }
        };
        self.failures = 0;
        Ok(line)
    }

    async fn open_socket(
        &mut self,
        place: &Arc<Place>,
        headers: HeaderMap,
        http: Http,
    ) -> Result<Line, Broken> {
        let scene = Arc::clone(&self.scene);
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
            let catch_up = self.known.then(|| json!({ "channels": self.cursors() }));
            self.begin(document);
            if let Some(catch_up) = catch_up {
                socket.feed(catch_up.to_string()).await?;
                socket.flush().await?;
            }
        }
        let acked = self.session.as_ref().map_or(0, |session| session.next);
        Ok(Line::WebSocket { socket, acked, acked_at: Instant::now() })
    }

    /// What it has of its channel, for a session to begin with.
    fn cursors(&self) -> Value {
        json!({ self.ear.channel.id.to_string(): self.ear.hearing.last_id().to_string() })
    }

    fn begin(&mut self, document: Document) -> Session {
        if self.known {
            count(&self.scene.tally.sessions);
        }
        self.known = true;
        let session = Session { id: document.session_id, next: document.next };
        self.session.insert(session).clone()
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
                // A large future, and seldom needed: it is not to lie in every task for ever.
                None => Box::pin(self.establish()).await,
            };
            let why = match established {
                Ok(line) => {
                    let scene = Arc::clone(&self.scene);
                    scene.tally.connected.fetch_add(1, Ordering::Relaxed);
                    if std::mem::take(&mut self.cut) {
                        count(&scene.tally.returned);
                    }
                    let why = self.read(line).await;
                    scene.tally.connected.fetch_sub(1, Ordering::Relaxed);
                    count(&scene.tally.reconnects);
                    why
                }
                Err(why) => why,
            };
            Box::pin(self.recover(why)).await;
        }
    }

    /// Reads until the line breaks.
    async fn read(&mut self, mut line: Line) -> Broken {
        let scene = Arc::clone(&self.scene);
        loop {
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
                            // Nothing is read meanwhile: what was asked for lies in the socket.
                            Order::Pause(pause) => sleep(pause).await,
                            Order::Nothing => self.ear.check(self.inbox.phase(), &scene.tally),
                        },
                        batch = &mut batch => break batch,
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
        if frame.events.is_empty() && line.polls() {
            count(&self.scene.tally.empty);
        }
        let events = frame.events.len();
        let (resyncs, draining) = self.hear(frame.events);
        if let Some(session) = &mut self.session {
            session.next = next;
        }
        for resync in resyncs {
            Box::pin(self.fetch(resync)).await?;
        }
        if let Some(draining) = draining {
            return Err(draining);
        }
        line.taken(next, events, frame.timeout).await
    }

    /// Counts events; what is to be done about some of them.
    fn hear(&mut self, events: Vec<Event<'_>>) -> (Vec<Resync>, Option<Broken>) {
        let (mut resyncs, mut draining) = (Vec::new(), None);
        if events.is_empty() {
            return (resyncs, draining);
        }
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
                    resyncs.push(Resync { after: self.ear.hearing.last_id(), until });
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
        (resyncs, draining)
    }

    /// Reads from history what the session could not hold.
    async fn fetch(&mut self, Resync { mut after, until }: Resync) -> Result<(), Broken> {
        let (scene, place) = (Arc::clone(&self.scene), Arc::clone(&self.place));
        let headers = headers(scene.plan.headers, &place, Some(&self.bearer));
        let mut connection = scene.connection(&place, self.number).await?;
        while after < until {
            let id = self.ear.channel.id;
            let path = format!("/v1/channels/{id}/messages?after={after}&limit={PAGE}");
            count(&scene.tally.requests);
            let page = connection.call(Method::GET, &path, &headers, None, Duration::ZERO).await?;
            let page: Page<'_> = serde_json::from_slice(&page).map_err(Broken::foreign)?;
            let missed = self.ear.hearing.missing();
            for message in &page.messages {
                after = after.max(message.message_id);
                // What is beyond comes as an event.
                if message.message_id <= until
                    && let Some(stamp) = Stamp::of(&message.content)
                    && self.ear.hearing.fetch(stamp.number, message.message_id)
                {
                    count(&scene.tally.fetched);
                }
            }
            self.ear.tell_missing(missed, &scene.tally);
            if !page.has_more || page.messages.is_empty() {
                break;
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
