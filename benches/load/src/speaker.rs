//! Those who speak: users of their own, each on one WebSocket for many channels. Sends leave when the
//! schedule says, whatever became of earlier ones.

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
use crate::scene::Scene;
use crate::schedule::Schedule;
use crate::socket::Socket;
use crate::target::Place;
use crate::wire::{Echo, Stamp};
use pabal_cost::{Headers, Http};

/// As many sends of one speaker as wait for their acknowledgement: fewer than a server takes from one
/// socket (256), so that it never has to leave the socket unread.
const IN_FLIGHT: usize = 240;
/// As many messages as wait to be sent by one speaker. What is beyond holds the schedule up, and is late.
const WAITING: usize = 4_096;
/// Before a send is repeated, where the server names no time.
const REPEAT_AFTER: Duration = Duration::from_millis(100);
/// How long one send may be repeated.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// As many own messages are received before that is confirmed.
const ACK_EVENTS: u64 = 256;

/// What is to be said, where and when.
#[derive(Debug)]
pub(crate) struct Due {
    channel: Arc<Channel>,
    at: Duration,
}

/// The way to a speaker.
pub(crate) type Mouth = mpsc::Sender<Due>;

/// One of those who speak.
pub(crate) struct Speaker {
    number: usize,
    bearer: HeaderValue,
    /// Where it connects first, and again when another node that was named is not there.
    home: Arc<Place>,
    place: Arc<Place>,
    scene: Arc<Scene>,
    due: mpsc::Receiver<Due>,
    /// By the id of the command, which counts up.
    in_flight: BTreeMap<u64, Send>,
    /// To be sent, again or for the first time, in this order.
    again: VecDeque<(Later, u64)>,
    last_id: u64,
}

/// A message on its way.
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
        home: Arc<Place>,
        scene: Arc<Scene>,
    ) -> (Self, Mouth) {
        let (mouth, due) = mpsc::channel(WAITING);
        let (in_flight, again) = (BTreeMap::new(), VecDeque::new());
        let place = Arc::clone(&home);
        (Self { number, bearer, home, place, scene, due, in_flight, again, last_id: 0 }, mouth)
    }

    /// Connects, with a new session each time: what it hears does not matter to it.
    pub(crate) async fn connect(&self) -> Result<Socket, Broken> {
        let (place, Scene { tally, tracker, .. }) = (&self.place, &*self.scene);
        let stream = self.scene.stream(place, self.number, Http::One, &tally.speakers).await?;
        let headers = headers(Headers::Minimal, place, Some(&self.bearer));
        Socket::open(stream, place, "/v1/websocket", headers, Http::One, tracker).await
    }

    /// Says what is due, until nobody has anything more to be said and all is acknowledged.
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
                        // Who knows what arrived: all of it again, under the same names.
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
                    self.place = self.scene.named(Some(url)).await;
                    Duration::from_millis(after_ms)
                }
                why => {
                    let tally = &self.scene.tally;
                    tally.trouble(|| format!("a speaker lost its connection: {}", why.line()));
                    self.place = Arc::clone(&self.home);
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
            let room = self.in_flight.len() < IN_FLIGHT;
            tokio::select! {
                text = socket.next() => heard = self.take(&text?)?.unwrap_or(heard),
                due = self.due.recv(), if open && room => match due {
                    Some(due) => {
                        self.say(due, &mut socket).await?;
                        // What is due as well leaves in the same write.
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
        self.scene.tally.late(self.scene.since(due.at));
        socket.feed(text).await
    }

    /// Sends again what is to be sent by now.
    async fn repeat(&mut self, socket: &mut Socket) -> Result<(), Broken> {
        while let Some((at, id)) = self.again.front().copied()
            && at <= Later::now()
        {
            self.again.pop_front();
            if let Some(send) = self.in_flight.get(&id) {
                count(&self.scene.tally.retried);
                socket.feed(self.command(id, send)).await?;
            }
        }
        socket.flush().await
    }

    fn command(&self, id: u64, send: &Send) -> String {
        let content = send.stamp.content(self.scene.plan.content_bytes);
        let (channel, number) = (send.channel.id, send.stamp.number);
        // Nothing in it needs to be escaped.
        format!(
            "{{\"id\":\"{id}\",\"type\":\"send\",\"channel_id\":\"{channel}\",\
             \"client_message_id\":\"{number}\",\"content\":\"{content}\"}}"
        )
    }

    /// Takes in a frame; how far the session's events go, if it was a batch.
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
        let tally = &self.scene.tally;
        let id = reply.id.as_deref().and_then(|id| id.parse::<u64>().ok());
        let id = id.ok_or_else(|| Broken::foreign("a reply to nothing"))?;
        match reply.error {
            Some(problem) if problem.retryable() => {
                tally.trouble(|| format!("a send was refused: {problem}"));
                let after = problem.retry_after.unwrap_or(REPEAT_AFTER);
                self.again.push_back((Later::now() + after, id));
            }
            outcome => {
                // A second reply, to a send that was repeated, finds nothing.
                let Some(send) = self.in_flight.remove(&id) else { return Ok(None) };
                match outcome {
                    None => count(&tally.messages),
                    Some(problem) => {
                        tally.trouble(|| format!("a send was refused: {problem}"));
                        send.doubt(&self.scene);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Lets go of what was tried for too long.
    fn give_up(&mut self) {
        self.in_flight.retain(|_, send| {
            let keep = send.began.elapsed() < GIVE_UP_AFTER;
            if !keep {
                send.doubt(&self.scene);
            }
            keep
        });
    }
}

impl Drop for Speaker {
    /// What was not acknowledged never will be.
    fn drop(&mut self) {
        for send in self.in_flight.values() {
            send.doubt(&self.scene);
        }
        // Nor will what never left.
        self.due.close();
        while self.due.try_recv().is_ok() {
            count(&self.scene.tally.failed);
        }
    }
}

impl Send {
    fn doubt(&self, scene: &Scene) {
        self.channel.doubt(self.stamp.number);
        count(&scene.tally.failed);
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
        mouths: Vec<Mouth>,
        scene: Arc<Scene>,
    ) -> std::io::Result<Self> {
        let end = Arc::<OnceLock<Instant>>::default();
        let ends = Arc::clone(&end);
        let beat = move || {
            let start = Instant::now();
            let offset = start - scene.epoch;
            for (at, channel) in schedule.arrivals(channels.len()) {
                // Later than a clock can tell is never.
                let Some(wanted) = start.checked_add(at) else { return };
                while ends.get().is_none()
                    && let rest = wanted.saturating_duration_since(Instant::now())
                    && !rest.is_zero()
                {
                    std::thread::park_timeout(rest);
                }
                // What was due before the end is said, however late.
                if ends.get().is_some_and(|end| *end < wanted) {
                    return;
                }
                let due = Due { channel: Arc::clone(&channels[channel]), at: offset + at };
                if mouths[channel % mouths.len()].blocking_send(due).is_err() {
                    count(&scene.tally.failed);
                }
            }
        };
        let thread = std::thread::Builder::new().name("schedule".into()).spawn(beat)?;
        Ok(Self { thread: Some(thread), end })
    }

    /// Nothing becomes due any more.
    pub(crate) fn stop(&self) {
        // It may have been stopped before.
        let _ = self.end.set(Instant::now());
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Stops, and waits until all that was due is said or, where speakers have gone, counted as failed.
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
    /// It ends by itself from here: it has nothing to wait for but the speakers.
    fn drop(&mut self) {
        self.stop();
    }
}
