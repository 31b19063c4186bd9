//! A crowd: the connected virtual users of a plan, and what they have received.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::counts::{Counts, Verdict};
use crate::error::LoadError;
use crate::latency::histogram;
use crate::oracle::Channel;
use crate::orders::{Orders, Phase, meant};
use crate::scenario::Scenario;
use crate::schedule::Schedule;
use crate::speaker::{Metronome, SendQueue};
use pabal_cost::Plan;

/// The connected virtual users of a plan. Needs a tokio runtime. Dropping it closes all connections at once.
#[derive(Debug)]
pub struct Crowd {
    scenario: Arc<Scenario>,
    orders: watch::Sender<Orders>,
    listening: JoinSet<Verdict>,
    speaking: JoinSet<()>,
    send_queues: Vec<SendQueue>,
    channels: Vec<Arc<Channel>>,
    metronome: Option<Metronome>,
}

impl Crowd {
    pub(crate) fn new(
        scenario: Arc<Scenario>,
        orders: watch::Sender<Orders>,
        listening: JoinSet<Verdict>,
        speaking: JoinSet<()>,
        send_queues: Vec<SendQueue>,
        channels: Vec<Arc<Channel>>,
    ) -> Self {
        Self { scenario, orders, listening, speaking, send_queues, channels, metronome: None }
    }

    /// The plan of the crowd.
    pub fn plan(&self) -> &Plan {
        &self.scenario.plan
    }

    /// What was counted since the crowd connected; see [`Counts`] for a window of it.
    pub fn counts(&self) -> Counts {
        self.scenario.tally.counts()
    }

    /// Time from when the schedule wanted a message sent to its receipt, in microseconds, of all
    /// deliveries since the last call.
    pub fn take_latency(&self) -> Histogram<u64> {
        std::mem::replace(&mut *self.scenario.tally.latency(), histogram())
    }

    /// How late sends left against the schedule, in microseconds, of all since the last call.
    pub fn take_lateness(&self) -> Histogram<u64> {
        std::mem::replace(&mut *self.scenario.tally.lateness(), histogram())
    }

    /// The preliminary verdict. `lost` counts messages that did not arrive although later ones did; some of
    /// them may still arrive. [`leave`](Self::leave) returns the final verdict.
    pub fn so_far(&self) -> Verdict {
        self.scenario.tally.so_far()
    }

    /// Clients that are connected now.
    pub fn connected(&self) -> usize {
        self.scenario.tally.connected.load(Ordering::Relaxed)
    }

    /// The first error of the run, in a line. The server need not have caused it.
    pub fn trouble(&self) -> Option<String> {
        self.scenario.tally.first_trouble()
    }

    /// Starts to send messages by a schedule, from now on. It replaces an earlier schedule.
    ///
    /// # Errors
    /// [`LoadError::System`] if no thread can be started.
    pub fn talk(&mut self, schedule: Schedule) -> Result<(), LoadError> {
        self.hush();
        let (channels, send_queues) = (self.channels.clone(), self.send_queues.clone());
        let metronome =
            Metronome::start(schedule, channels, send_queues, Arc::clone(&self.scenario))?;
        self.metronome = Some(metronome);
        Ok(())
    }

    /// Stops the schedule. Messages that were due are still sent and received.
    pub fn hush(&self) {
        if let Some(metronome) = &self.metronome {
            metronome.stop();
        }
    }

    /// Disconnects a share of all clients at once, without a close frame; they reconnect by themselves.
    /// Returns how many clients this concerns; a client without a connection is disconnected as soon as it
    /// has one.
    pub fn cut(&self, share: f64) -> usize {
        let mut time = 0;
        self.orders.send_modify(|orders| {
            orders.cuts += 1;
            orders.cut_share = share;
            time = orders.cuts;
        });
        (0..self.plan().clients).filter(|&number| meant(number, time, share)).count()
    }

    /// How many clients reconnected after [`cut`](Self::cut), over all calls.
    pub fn returned(&self) -> u64 {
        self.scenario.tally.returned.load(Ordering::Relaxed)
    }

    /// A share of all clients stops reading for a while, with open connections.
    pub fn pause(&self, share: f64, pause: Duration) {
        self.orders.send_modify(|orders| {
            orders.pauses += 1;
            orders.pause_share = share;
            orders.pause = pause;
        });
    }

    /// Stops the schedule, waits until every client has every acknowledged message, at most `within`, and
    /// returns the verdict. All connections are closed then; [`counts`](Self::counts) stay.
    pub async fn leave(&mut self, within: Duration) -> Verdict {
        self.hush();
        self.send_queues.clear();
        let everything = async {
            while let Some(spoken) = self.speaking.join_next().await {
                whole(spoken);
            }
            self.orders.send_modify(|orders| orders.phase = Phase::Finish);
            let tally = &self.scenario.tally;
            while tally.complete.load(Ordering::Relaxed) < self.scenario.plan.clients {
                tally.progress.notified().await;
            }
        };
        // After the timeout a client is judged by what it has received so far.
        let _ = timeout(within, everything).await;
        self.speaking.shutdown().await;
        if let Some(metronome) = self.metronome.take() {
            metronome.finish().await;
        }
        self.orders.send_modify(|orders| orders.phase = Phase::Judge);
        let mut verdict = Verdict::default();
        while let Some(heard) = self.listening.join_next().await {
            verdict += whole(heard);
        }
        self.scenario.tracker.close();
        self.scenario.tracker.wait().await;
        verdict
    }
}

/// The result of a task. A panic in a task is a panic here: without that task's verdict there is none.
fn whole<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
