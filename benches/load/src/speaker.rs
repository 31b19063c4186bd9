//! Sending users, each with one WebSocket for many channels. A send leaves at the time of the schedule,
//! whether earlier ones were acknowledged or not (open loop).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use tokio::sync::mpsc;
use tokio::time::{Instant as Later, sleep, sleep_until};

use crate::counts::count;
use crate::error::Broken;
use crate::http::headers;
use crate::oracle::Channel;
use crate::scenario::Scenario;
use crate::schedule::Schedule;
use crate::socket::Socket;
use crate::target::Endpoint;
use crate::wire::{Echo, Stamp};
use pabal_cost::{Headers, Http};

/// Unacknowledged sends of a speaker: fewer than a server accepts from one socket (256), so that the server
/// never stops reading the socket.
const IN_FLIGHT: usize = 240;
/// Queued messages of a speaker. A full queue delays the schedule, and the delay counts as lateness.
const WAITING: usize = 4_096;
/// The delay before a send is repeated, if the server returns none.
const REPEAT_AFTER: Duration = Duration::from_millis(100);
/// How long a send is repeated before it counts as failed.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// Own messages that a speaker receives between two acknowledgements.
const ACK_EVENTS: u64 = 256;

/// A message of the schedule: its channel and when it is due.
#[derive(Debug)]
pub(crate) struct Due {
    channel: Arc<Channel>,
    at: Duration,
}

/// The queue of due messages of a speaker.
pub(crate) type SendQueue = mpsc::Sender<Due>;

/// A sending user.
pub(crate) struct Speaker {
    number: usize,
    bearer: HeaderValue,
    /// The endpoint of the first connection, and of the next one when another node is unavailable.
    home: Arc<Endpoint>,
    endpoint: Arc<Endpoint>,
    scenario: Arc<Scenario>,
    due: mpsc::Receiver<Due>,
    /// By the id of the command, which counts up.
    in_flight: BTreeMap<u64, Send>,
    /// Sends to repeat, by time.
    again: VecDeque<(Later, u64)>,
    last_id: u64,
}

/// An unacknowledged message.
#[derive(Debug)]
struct Send {
    channel: Arc<Channel>,
    stamp: Stamp,
    began: Instant,
}

impl Speaker {
    pub(crate) fn new(
        number: usize,
        bearer: HeaderValue,
        home: Arc<Endpoint>,
        scenario: Arc<Scenario>,
    ) -> (Self, SendQueue) {
        let (send_queue, due) = mpsc::channel(WAITING);
        let (in_flight, again) = (BTreeMap::new(), VecDeque::new());
        let endpoint = Arc::clone(&home);
        (
            Self { number, bearer, home, endpoint, scenario, due, in_flight, again, last_id: 0 },
            send_queue,
        )
    }

    /// Connects with a new session each time: a speaker does not check what it receives.
    pub(crate) async fn connect(&self) -> Result<Socket, Broken> {
        let (endpoint, Scenario { tally, tracker, .. }) = (&self.endpoint, &*self.scenario);
        let stream =
            self.scenario.stream(endpoint, self.number, Http::One, &tally.speakers).await?;
        let headers = headers(Headers::Minimal, endpoint, Some(&self.bearer));
        Socket::open(stream, endpoint, "/v1/websocket", headers, Http::One, tracker).await
    }

    /// Sends due messages until the schedule has ended and every send is acknowledged or failed.
    pub(crate) async fn run(mut self, socket: Socket) {
        let mut socket = Some(socket);
        let mut failures = 0;
        loop {
            let why = match socket.take() {
                Some(socket) => {
                    failures = 0;
                    match self.speak(socket).await {
                        Ok(()) => return,
                        Err(why) => why,
                    }
                }
                None => match self.connect().await {
                    Ok(connected) => {
                        socket = Some(connected);
                        // Unacknowledged sends may have arrived: repeat them with the same client_message_id.
                        self.again = self.in_flight.keys().map(|&id| (Later::now(), id)).collect();
                        continue;
                    }
                    Err(why) => why,
                },
            };
            self.give_up();
            let jitter = REPEAT_AFTER.saturating_mul(1 << failures.min(5)).mul_f64(rand::random());
            failures += 1;
            let wait = match why {
                Broken::Draining { after_ms, url: Some(url) } => {
                    self.endpoint = self.scenario.named(Some(url)).await;
                    Duration::from_millis(after_ms)
                }
                why => {
                    let tally = &self.scenario.tally;
                    tally.trouble(|| format!("a speaker lost its connection: {}", why.line()));
                    self.endpoint = Arc::clone(&self.home);
                    jitter
                }
            };
            sleep(wait).await;
        }
    }

    async fn speak(&mut self, mut socket: Socket) -> Result<(), Broken> {
        let mut open = true;
        let (mut acked, mut heard) = (0, 0);
        while open || !self.in_flight.is_empty() {
            let repeat = self.again.front().map(|(at, _)| *at);
            let has_capacity = self.in_flight.len() < IN_FLIGHT;
            tokio::select! {
                text = socket.next() => heard = self.take(&text?)?.unwrap_or(heard),
                due = self.due.recv(), if open && has_capacity => match due {
                    Some(due) => {
                        self.say(due, &mut socket).await?;
                        // All due messages leave in one write.
                        while self.in_flight.len() < IN_FLIGHT && let Ok(due) = self.due.try_recv() {
                            self.say(due, &mut socket).await?;
                        }
                        socket.flush().await?;
                    }
                    None => open = false,
                },
                () = sleep_until(repeat.unwrap_or_else(Later::now)), if repeat.is_some() => {
                    self.give_up();
                    self.repeat(&mut socket).await?;
                }
            }
            if heard >= acked + ACK_EVENTS {
                acked = heard;
                socket.feed(format!("{{\"ack\":\"{acked}\"}}")).await?;
                socket.flush().await?;
            }
        }
        Ok(())
    }

    async fn say(&mut self, due: Due, socket: &mut Socket) -> Result<(), Broken> {
        let stamp = Stamp { number: due.channel.say(), due: due.at };
        self.last_id += 1;
        let send = Send { channel: due.channel, stamp, began: Instant::now() };
        let text = self.command(self.last_id, &send);
        self.in_flight.insert(self.last_id, send);
        self.scenario.tally.late(self.scenario.since(due.at));
        socket.feed(text).await
    }

    /// Repeats the sends whose delay has passed.
    async fn repeat(&mut self, socket: &mut Socket) -> Result<(), Broken> {
        while let Some((at, id)) = self.again.front().copied()
            && at <= Later::now()
        {
            self.again.pop_front();
            if let Some(send) = self.in_flight.get(&id) {
                count(&self.scenario.tally.retried);
                socket.feed(self.command(id, send)).await?;
            }
        }
        socket.flush().await
    }

    fn command(&self, id: u64, send: &Send) -> String {
        let content = send.stamp.content(self.scenario.plan.content_bytes);
        let (channel, number) = (send.channel.id, send.stamp.number);
        // No character of it needs an escape in JSON.
        format!(
            "{{\"id\":\"{id}\",\"type\":\"send\",\"channel_id\":\"{channel}\",\
             \"client_message_id\":\"{number}\",\"content\":\"{content}\"}}"
        )
    }

    /// Processes a frame; returns the cursor of a batch.
    fn take(&mut self, text: &str) -> Result<Option<u64>, Broken> {
        let Echo { reply, events, next, error } =
            serde_json::from_str(text).map_err(Broken::foreign)?;
        if let Some(problem) = error {
            return Err(Broken::Refused(Box::new(problem)));
        }
        if let Some(notice) = events.into_iter().find(|event| event.kind == "draining") {
            let after_ms = notice.reconnect_after_ms.unwrap_or_default();
            return Err(Broken::Draining { after_ms, url: notice.url });
        }
        let Some(reply) = reply else { return Ok(next) };
        let tally = &self.scenario.tally;
        let id = reply.id.as_deref().and_then(|id| id.parse::<u64>().ok());
        let id = id.ok_or_else(|| Broken::foreign("a reply to nothing"))?;
        match reply.error {
            Some(problem) if problem.retryable() => {
                tally.trouble(|| format!("a send was refused: {problem}"));
                let after = problem.retry_after.unwrap_or(REPEAT_AFTER);
                self.again.push_back((Later::now() + after, id));
            }
            outcome => {
                // The second reply to a repeated send has no send any more.
                let Some(send) = self.in_flight.remove(&id) else { return Ok(None) };
                match outcome {
                    None => count(&tally.messages),
                    Some(problem) => {
                        tally.trouble(|| format!("a send was refused: {problem}"));
                        send.doubt(&self.scenario);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Drops the sends that were repeated for too long; they count as failed.
    fn give_up(&mut self) {
        self.in_flight.retain(|_, send| {
            let keep = send.began.elapsed() < GIVE_UP_AFTER;
            if !keep {
                send.doubt(&self.scenario);
            }
            keep
        });
    }
}

impl Drop for Speaker {
    /// Unacknowledged and unsent messages count as failed.
    fn drop(&mut self) {
        for send in self.in_flight.values() {
            send.doubt(&self.scenario);
        }
        // Queued messages never left.
        self.due.close();
        while self.due.try_recv().is_ok() {
            count(&self.scenario.tally.failed);
        }
    }
}

impl Send {
    fn doubt(&self, scenario: &Scenario) {
        self.channel.doubt(self.stamp.number);
        count(&scenario.tally.failed);
    }
}

/// The thread that keeps the schedule: timers of tokio are a millisecond wide, the kernel's are not.
#[derive(Debug)]
pub(crate) struct Metronome {
    thread: Option<JoinHandle<()>>,
    end: Arc<OnceLock<Instant>>,
}

impl Metronome {
    /// Begins a schedule now. Each channel has one speaker, the same for all its messages.
    pub(crate) fn start(
        schedule: Schedule,
        channels: Vec<Arc<Channel>>,
        send_queues: Vec<SendQueue>,
        scenario: Arc<Scenario>,
    ) -> std::io::Result<Self> {
        let end = Arc::<OnceLock<Instant>>::default();
        let ends = Arc::clone(&end);
        let beat = move || {
            let start = Instant::now();
            let offset = start - scenario.epoch;
            for (at, channel) in schedule.arrivals(channels.len()) {
                // A time beyond the range of the clock is never.
                let Some(wanted) = start.checked_add(at) else { return };
                while ends.get().is_none()
                    && let rest = wanted.saturating_duration_since(Instant::now())
                    && !rest.is_zero()
                {
                    std::thread::park_timeout(rest);
                }
                // A message that was due before the end is sent, however late.
                if ends.get().is_some_and(|end| *end < wanted) {
                    return;
                }
                let due = Due { channel: Arc::clone(&channels[channel]), at: offset + at };
                if send_queues[channel % send_queues.len()].blocking_send(due).is_err() {
                    count(&scenario.tally.failed);
                }
            }
        };
        let thread = std::thread::Builder::new().name("schedule".into()).spawn(beat)?;
        Ok(Self { thread: Some(thread), end })
    }

    /// Ends the schedule.
    pub(crate) fn stop(&self) {
        // It may have been stopped before.
        let _ = self.end.set(Instant::now());
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Ends the schedule, and waits until every due message is queued or, without its speaker, counted as
    /// failed.
    pub(crate) async fn finish(mut self) {
        self.stop();
        let Some(thread) = self.thread.take() else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if let Ok(Err(panic)) = joined {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Metronome {
    /// The thread ends by itself after this: it waits for the speakers only.
    fn drop(&mut self) {
        self.stop();
    }
}
