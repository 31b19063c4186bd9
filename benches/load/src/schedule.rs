//! When which channel hears something: a Poisson process for each channel, seeded, open-loop. It knows
//! nothing of what became of earlier messages, so a slow server cannot slow it down.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Messages a channel, and so each of its listeners, hears in a minute.
    pub per_minute: f64,
    /// A time with more.
    pub spike: Option<Spike>,
    /// The same seed says the same things at the same times.
    pub seed: u64,
}

/// A time in which the rate is another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spike {
    /// How many times the rate.
    pub factor: f64,
    /// When it begins, from the first moment of the schedule.
    pub begins: Duration,
    /// How long it lasts.
    pub lasts: Duration,
}

impl Schedule {
    /// The same rate all the time.
    pub fn steady(per_minute: f64, seed: u64) -> Self {
        Self { per_minute, spike: None, seed }
    }

    /// What is to be said in `channels` channels: when, from the beginning, and in which of them.
    /// Never ends, unless nothing is to be said.
    pub fn arrivals(self, channels: usize) -> Arrivals {
        let per_second = self.per_minute / 60.0 * channels as f64;
        let random = StdRng::seed_from_u64(self.seed);
        Arrivals { schedule: self, channels, per_second, random, now: 0.0 }
    }

    /// The time at which `work` has been done since `from`, all in seconds; one second's work is a
    /// second's, and in the spike so many times of it.
    fn after(&self, from: f64, work: f64) -> f64 {
        let Some(Spike { factor, begins, lasts }) = self.spike else { return from + work };
        let (begins, ends) = (begins.as_secs_f64(), (begins + lasts).as_secs_f64());
        let (mut now, mut left) = (from, work);
        for (until, pace) in [(begins, 1.0), (ends, factor)] {
            let room = (until - now).max(0.0) * pace;
            if left <= room && pace > 0.0 {
                return now + left / pace;
            }
            left -= room;
            now = now.max(until);
        }
        now + left
    }
}

/// One message after the other. Independent Poisson processes, one a channel, are together one of the
/// sum of their rates in which each channel is as likely as every other.
#[derive(Debug)]
pub struct Arrivals {
    schedule: Schedule,
    channels: usize,
    per_second: f64,
    random: StdRng,
    now: f64,
}

impl Iterator for Arrivals {
    type Item = (Duration, usize);

    fn next(&mut self) -> Option<Self::Item> {
        if self.per_second <= 0.0 {
            return None;
        }
        // 1 − u is in (0, 1]: the logarithm is of no zero.
        let pause = -(1.0 - self.random.random::<f64>()).ln() / self.per_second;
        self.now = self.schedule.after(self.now, pause);
        // A time beyond what a duration holds is never.
        let at = Duration::try_from_secs_f64(self.now).ok()?;
        Some((at, self.random.random_range(0..self.channels)))
    }
}
