//! `pabal load`: from flags to a report.

mod flags;
mod live;
mod report;

use std::cell::Cell;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::ctrl_c;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};

use crate::counts::{Counts, Verdict};
use crate::crowd::Crowd;
use crate::error::LoadError;
use crate::latency::{add, histogram};
use crate::people::{People, raise_descriptor_limit};
use live::{Live, Now};
use report::{Report, Row, Storm};

pub use flags::Flags;

/// How long the last messages may take to reach all clients.
const ALL_HEARD_WITHIN: Duration = Duration::from_secs(60);
/// The resolution of the time until all clients have reconnected after a storm.
const BACK_STEP: Duration = Duration::from_millis(5);

/// Why `pabal load` failed, in one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The load test could not start.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The server violated a delivery guarantee, or sends failed. The report is on standard output.
    #[error("{0}")]
    NotClean(String),
    /// It was interrupted before messages were sent.
    #[error("interrupted before messages were sent")]
    Interrupted,
    /// The JSON could not be written.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The terminal or the operating system returned an error.
    #[error("operating system error: {0}")]
    System(#[from] io::Error),
}

/// Runs `pabal load`.
///
/// # Errors
/// See [`Failure`].
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(load(flags));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn load(flags: &Flags) -> Result<(), Failure> {
    flags.check()?;
    raise_descriptor_limit(flags.clients)?;
    // Open the file first: an unwritable path must not cost a whole run.
    let json = flags.json.as_deref().map(std::fs::File::create).transpose();
    let path = || flags.json.clone().unwrap_or_default();
    let json = json.map_err(|source| Failure::Json { path: path(), source })?;
    let mut live = Live::new();
    let crowds = tokio::select! {
        crowds = gather(flags, &live) => crowds,
        _ = ctrl_c() => Err(Failure::Interrupted),
    };
    live.clear();
    let mut run = Run::new(flags, crowds?);
    run.talk(&mut live).await?;
    let report = tokio::select! {
        report = run.finish(&mut live) => report,
        // A second Ctrl-C ends the wait for the last messages.
        _ = ctrl_c() => return Err(Failure::NotClean("interrupted before all messages had arrived".into())),
    };
    live.clear();
    let mut out = io::stdout().lock();
    out.write_all(report.text().as_bytes()).and_then(|()| out.flush())?;
    if let Some(mut file) = json {
        let text = report.json();
        file.write_all(text.as_bytes()).map_err(|source| Failure::Json { path: path(), source })?;
    }
    report.complaint().map_or(Ok(()), |why| Err(Failure::NotClean(why)))
}

/// Makes the crowds, one per transport, and connects them concurrently.
async fn gather(flags: &Flags, live: &Live) -> Result<Vec<Crowd>, Failure> {
    let (target, plans) = (flags.target(), flags.plans());
    let all = plans.iter().map(|plan| plan.clients.div_ceil(plan.group)).sum();
    let mut people = Vec::new();
    let made = Cell::new(0);
    for plan in &plans {
        let progress = |_, _| live.progress("channels made", one_more(&made), all);
        let mut gathered = People::gather_watched(&target, plan, progress).await?;
        if let Some(url) = &flags.speak_url {
            gathered.speak_at(url).await?;
        }
        people.push(gathered);
    }
    let connected = Cell::new(0);
    let progress = |_, _| live.progress("clients connected", one_more(&connected), flags.clients);
    let connecting = people.into_iter().map(|people| people.connect_over(flags.ramp, progress));
    Ok(futures::future::try_join_all(connecting).await?)
}

fn one_more(count: &Cell<usize>) -> usize {
    count.set(count.get() + 1);
    count.get()
}

/// A running load test.
struct Run<'a> {
    flags: &'a Flags,
    crowds: Vec<Watched>,
    began: Instant,
    cpu_began: Duration,
    storms: Vec<Storm>,
    /// The storm that is not over: its begin, and the number of reconnects at which it is.
    storm: Option<(Instant, u64)>,
}

/// A crowd, with its counts before the first message and the latencies so far.
struct Watched {
    crowd: Crowd,
    before: Counts,
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
}

impl<'a> Run<'a> {
    fn new(flags: &'a Flags, crowds: Vec<Crowd>) -> Self {
        let watched = |crowd: Crowd| {
            let before = crowd.counts();
            Watched { crowd, before, latency: histogram(), lateness: histogram() }
        };
        Self {
            flags,
            crowds: crowds.into_iter().map(watched).collect(),
            began: Instant::now(),
            cpu_began: cpu(),
            storms: Vec::new(),
            storm: None,
        }
    }

    /// Sends messages for the time of the flags, or until Ctrl-C.
    async fn talk(&mut self, live: &mut Live) -> Result<(), Failure> {
        self.began = Instant::now();
        self.cpu_began = cpu();
        for (number, watched) in self.crowds.iter_mut().enumerate() {
            watched.crowd.talk(self.flags.schedule(number))?;
        }
        let Flags { duration, storm, slow, .. } = *self.flags;
        let at = |time: Duration| tokio::time::Instant::from_std(self.began + time);
        let (end, slow_at) = (at(duration), at(duration / 3));
        let mut storms = storm.map(|storm| every(at(storm.time), storm.time));
        let mut slow = slow;
        let mut drawn = every(at(live.every()), live.every());
        let mut back = interval(BACK_STEP);
        back.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                _ = ctrl_c() => break,
                () = sleep_until(end) => break,
                _ = back.tick(), if self.storm.is_some() => self.see_return(),
                () = next(storms.as_mut()) => {
                    if let Some(storm) = storm {
                        self.cut(storm.what.0);
                    }
                }
                () = sleep_until(slow_at), if slow.is_some() => {
                    if let Some(slow) = slow.take() {
                        self.each(|crowd| crowd.pause(slow.what.0, slow.time));
                    }
                }
                _ = drawn.tick() => self.draw(live),
            }
        }
        self.each(Crowd::hush);
        Ok(())
    }

    /// Waits until all messages have arrived, and makes the report.
    async fn finish(&mut self, live: &mut Live) -> Report {
        let seconds = self.began.elapsed().as_secs_f64();
        let clients = self.crowds.iter().map(|it| it.crowd.plan().clients).sum::<usize>();
        live.say("waiting for the last messages");
        let within = ALL_HEARD_WITHIN + self.flags.slow.map_or(Duration::ZERO, |slow| slow.time);
        let back = async {
            // The clients of the last storm reconnect, too.
            while let Some((_, until)) = self.storm
                && self.crowds.iter().map(|it| it.crowd.returned()).sum::<u64>() < until
            {
                tokio::time::sleep(BACK_STEP).await;
            }
        };
        let _ = tokio::time::timeout(within, back).await;
        self.see_return();
        let leaving = self.crowds.iter_mut().map(|it| it.crowd.leave(within));
        let verdicts = futures::future::join_all(leaving).await;
        let cpu = cpu().saturating_sub(self.cpu_began);
        let rows = std::mem::take(&mut self.crowds).into_iter().zip(verdicts);
        let rows = rows.map(|(mut watched, verdict)| {
            watched.collect();
            Row {
                plan: *watched.crowd.plan(),
                counts: watched.crowd.counts() - watched.before,
                verdict,
                trouble: watched.crowd.trouble(),
                latency: watched.latency,
                lateness: watched.lateness,
            }
        });
        let rows = rows.collect();
        let storms = std::mem::take(&mut self.storms);
        let Flags { url, seed, .. } = self.flags.clone();
        Report { url, seed, clients, seconds, cpu, rows, storms }
    }

    fn each(&self, act: impl Fn(&Crowd)) {
        self.crowds.iter().for_each(|it| act(&it.crowd));
    }

    /// Disconnects a share of all clients.
    fn cut(&mut self, share: f64) {
        // One storm at a time: the number of reconnects does not say to which storm they belong.
        if self.storm.is_some() {
            return;
        }
        let before: u64 = self.crowds.iter().map(|it| it.crowd.returned()).sum();
        let cut: usize = self.crowds.iter().map(|it| it.crowd.cut(share)).sum();
        let at_seconds = self.began.elapsed().as_secs_f64();
        self.storms.push(Storm { at_seconds, clients: cut, back_ms: None });
        self.storm = Some((Instant::now(), before + cut as u64));
    }

    /// Records when the last client of the storm has reconnected.
    fn see_return(&mut self) {
        let returned: u64 = self.crowds.iter().map(|it| it.crowd.returned()).sum();
        if let Some((since, until)) = self.storm
            && returned >= until
        {
            self.storm = None;
            if let Some(storm) = self.storms.last_mut() {
                storm.back_ms = Some(since.elapsed().as_secs_f64() * 1e3);
            }
        }
    }

    fn draw(&mut self, live: &mut Live) {
        let mut now = Now {
            left: self.flags.duration.saturating_sub(self.began.elapsed()),
            clients: self.flags.clients,
            connected: 0,
            counts: Counts::default(),
            verdict: Verdict::default(),
            latency: histogram(),
            lateness: histogram(),
            cpu: cpu(),
        };
        for watched in &mut self.crowds {
            now.connected += watched.crowd.connected();
            now.counts += watched.crowd.counts() - watched.before;
            now.verdict += watched.crowd.so_far();
            let (latency, lateness) = watched.collect();
            add(&mut now.latency, &latency);
            add(&mut now.lateness, &lateness);
        }
        live.draw(&now);
    }
}

impl Watched {
    /// Adds latency and lateness since the last call to those so far; returns what it added.
    fn collect(&mut self) -> (Histogram<u64>, Histogram<u64>) {
        let (latency, lateness) = (self.crowd.take_latency(), self.crowd.take_lateness());
        add(&mut self.latency, &latency);
        add(&mut self.lateness, &lateness);
        (latency, lateness)
    }
}

/// A tick at `first` and after each period from then on.
fn every(first: tokio::time::Instant, period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(first, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

/// The next tick; without an interval it never comes.
async fn next(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// CPU time of this process, user and system.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
