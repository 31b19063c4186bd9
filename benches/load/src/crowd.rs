//! A crowd at work: everybody connected, and what is seen of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::counts::{Counts, Verdict, histogram};
use crate::error::LoadError;
use crate::oracle::Channel;
use crate::orders::{Orders, Phase, meant};
use crate::scene::Scene;
use crate::schedule::Schedule;
use crate::speaker::{Metronome, Mouth};
use pabal_cost::Plan;

/// Everybody, connected. Needs a tokio runtime around it. Dropping it ends all of it at once.
#[derive(Debug)]
pub struct Crowd {
    scene: Arc<Scene>,
    orders: watch::Sender<Orders>,
    listening: JoinSet<Verdict>,
    speaking: JoinSet<()>,
    mouths: Vec<Mouth>,
    channels: Vec<Arc<Channel>>,
    metronome: Option<Metronome>,
}

impl Crowd {
    pub(crate) fn new(
        scene: Arc<Scene>,
        orders: watch::Sender<Orders>,
        listening: JoinSet<Verdict>,
        speaking: JoinSet<()>,
        mouths: Vec<Mouth>,
        channels: Vec<Arc<Channel>>,
    ) -> Self {
        Self { scene, orders, listening, speaking, mouths, channels, metronome: None }
    }

    /// The plan of the crowd.
    pub fn plan(&self) -> &Plan {
        &self.scene.plan
    }

    /// What was seen since the crowd connected; see [`Counts`] for a window of it.
    pub fn counts(&self) -> Counts {
        self.scene.tally.counts()
    }

    /// Time from when the schedule wanted a message sent to its receipt, in microseconds, of all
    /// deliveries since the last call.
    pub fn take_latency(&self) -> Histogram<u64> {
        std::mem::replace(&mut *self.scene.tally.latency(), histogram())
    }

    /// How late sends left against the schedule, in microseconds, of all since the last call.
    pub fn take_lateness(&self) -> Histogram<u64> {
        std::mem::replace(&mut *self.scene.tally.lateness(), histogram())
    }

    /// What the oracle has found so far. `lost` are those that did not come although later ones did,
    /// some of which may be on their way; the judgement is that of [`leave`](Self::leave).
    pub fn so_far(&self) -> Verdict {
        self.scene.tally.so_far()
    }

    /// Clients that are connected now.
    pub fn connected(&self) -> usize {
        self.scene.tally.connected.load(Ordering::Relaxed)
    }

    /// The first thing that went wrong, in a line; nothing of it need be anybody's fault.
    pub fn trouble(&self) -> Option<String> {
        self.scene.tally.first_trouble()
    }

    /// Messages begin to be sent by a schedule, which begins now. An earlier one ends.
    ///
    /// # Errors
    /// [`LoadError::System`] if there is no thread to be had.
    pub fn talk(&mut self, schedule: Schedule) -> Result<(), LoadError> {
        self.hush();
        let (channels, mouths) = (self.channels.clone(), self.mouths.clone());
        let metronome = Metronome::start(schedule, channels, mouths, Arc::clone(&self.scene))?;
        self.metronome = Some(metronome);
        Ok(())
    }

    /// Nothing becomes due any more. What was due is said and received still.
    pub fn hush(&self) {
        if let Some(metronome) = &self.metronome {
            metronome.stop();
        }
    }

    /// Cuts a share of all clients off at once, without a word; they come back by themselves. Answers
    /// how many are meant; those who have no connection just then are cut off when they do.
    pub fn cut(&self, share: f64) -> usize {
        let mut time = 0;
        self.orders.send_modify(|orders| {
            orders.cuts += 1;
            orders.cut_share = share;
            time = orders.cuts;
        });
        (0..self.plan().clients).filter(|&number| meant(number, time, share)).count()
    }

    /// How many came back after [`cut`](Self::cut), over all times.
    pub fn returned(&self) -> u64 {
        self.scene.tally.returned.load(Ordering::Relaxed)
    }

    /// A share of all clients takes nothing for a while, with their connections open.
    pub fn pause(&self, share: f64, pause: Duration) {
        self.orders.send_modify(|orders| {
            orders.pauses += 1;
            orders.pause_share = share;
            orders.pause = pause;
        });
    }

    /// Hushes, waits until everybody has everything that was acknowledged, at most `within`, and then
    /// judges. All connections are closed afterwards; [`counts`](Self::counts) stay.
    pub async fn leave(&mut self, within: Duration) -> Verdict {
        self.hush();
        self.mouths.clear();
        let everything = async {
            while let Some(spoken) = self.speaking.join_next().await {
                whole(spoken);
            }
            self.orders.send_modify(|orders| orders.phase = Phase::Finish);
            let tally = &self.scene.tally;
            while tally.complete.load(Ordering::Relaxed) < self.scene.plan.clients {
                tally.progress.notified().await;
            }
        };
        // Whoever has not everything by then is judged by what they have.
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
        self.scene.tracker.close();
        self.scene.tracker.wait().await;
        verdict
    }
}

/// What a task came to. Without the verdict of one that panicked there is none.
fn whole<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
