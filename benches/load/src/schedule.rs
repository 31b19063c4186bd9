//! The arrival schedule: a seeded Poisson process per channel, open loop. It does not depend on the
//! fate of earlier messages, so a slow server cannot slow it down.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The rate of messages over time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Messages per minute and channel, and so per client.
    pub per_minute: f64,
    /// A span of time with another rate.
    pub spike: Option<Spike>,
    /// The same seed makes the same arrivals.
    pub seed: u64,
}

/// A span of time with a multiple of the rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spike {
    /// The factor of the rate.
    pub factor: f64,
    /// When it begins, from the first moment of the schedule.
    pub begins: Duration,
    /// How long it lasts.
    pub lasts: Duration,
}

impl Schedule {
    /// A constant rate.
    pub fn steady(per_minute: f64, seed: u64) -> Self {
        Self { per_minute, spike: None, seed }
    }

    /// The messages of `channels` channels: each with its time from the begin and its channel. The iterator is
    /// infinite, and empty at a rate of 0.
    pub fn arrivals(self, channels: usize) -> Arrivals {
        let per_second = self.per_minute / 60.0 * channels as f64;
        let random = StdRng::seed_from_u64(self.seed);
        Arrivals { schedule: self, channels, per_second, random, now: 0.0 }
    }

    /// The time at which `work` is done from `from` on, in seconds. A second does one second of work, and
    /// `factor` of it in the spike.
    fn after(&self, from: f64, work: f64) -> f64 {
        let Some(Spike { factor, begins, lasts }) = self.spike else { return from + work };
        let (begins, ends) = (begins.as_secs_f64(), (begins + lasts).as_secs_f64());
        let (mut now, mut left) = (from, work);
        for (until, pace) in [(begins, 1.0), (ends, factor)] {
            let capacity = (until - now).max(0.0) * pace;
            if left <= capacity && pace > 0.0 {
                return now + left / pace;
            }
            left -= capacity;
            now = now.max(until);
        }
        now + left
    }
}

/// The messages of all channels in order of time. Independent Poisson processes, one per channel, merge into
/// one process with the sum of their rates, in which every channel is equally likely.
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
        // 1 − u is in (0, 1], so the logarithm is finite.
        let pause = -(1.0 - self.random.random::<f64>()).ln() / self.per_second;
        self.now = self.schedule.after(self.now, pause);
        // A time beyond the range of a duration is never.
        let at = Duration::try_from_secs_f64(self.now).ok()?;
        Some((at, self.random.random_range(0..self.channels)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(from: Schedule, channels: usize, until: u64) -> Vec<(Duration, usize)> {
        let until = Duration::from_secs(until);
        from.arrivals(channels).take_while(|(at, _)| *at < until).collect()
    }

    #[test]
    fn each_channel_receives_messages_at_the_rate() {
        let said = seconds(Schedule::steady(120.0, 7), 10, 1_000);
        // 20,000 are expected; the standard deviation of a Poisson count is its square root, 141.
        assert!((19_300..20_700).contains(&said.len()), "{}", said.len());
        for channel in 0..10 {
            let count = said.iter().filter(|(_, of)| *of == channel).count();
            assert!((1_750..2_250).contains(&count), "{channel}: {count}");
        }
        assert!(said.windows(2).all(|pair| pair[0].0 <= pair[1].0), "in the order of time");
    }

    /// The standard deviation of the pauses of a Poisson process equals their mean: that of regular pauses
    /// is smaller, that of bursts larger.
    #[test]
    fn pauses_are_those_of_a_poisson_process() {
        let said = seconds(Schedule::steady(60.0, 7), 1, 20_000);
        let pauses: Vec<_> =
            said.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64()).collect();
        let mean = pauses.iter().sum::<f64>() / pauses.len() as f64;
        let squares = pauses.iter().map(|pause| (pause - mean).powi(2)).sum::<f64>();
        let strays = (squares / pauses.len() as f64).sqrt();
        assert!((0.97..1.03).contains(&mean), "{mean}");
        assert!((0.95..1.05).contains(&strays), "{strays}");
    }

    #[test]
    fn a_seed_makes_the_same_arrivals_and_another_seed_others() {
        let of = |seed| seconds(Schedule::steady(60.0, seed), 5, 100);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(Schedule::steady(0.0, 1).arrivals(5).next().is_none(), "silence");
    }

    #[test]
    fn a_spike_is_so_many_times_the_rate_and_no_longer() {
        let (begins, lasts) = (Duration::from_secs(300), Duration::from_secs(100));
        let spike = Some(Spike { factor: 10.0, begins, lasts });
        let said = seconds(Schedule { per_minute: 60.0, spike, seed: 3 }, 10, 700);
        let count = |from: u64, until: u64| {
            let time = Duration::from_secs(from)..Duration::from_secs(until);
            said.iter().filter(|(at, _)| time.contains(at)).count()
        };
        assert!((2_800..3_200).contains(&count(0, 300)), "{}", count(0, 300));
        assert!((9_600..10_400).contains(&count(300, 400)), "{}", count(300, 400));
        assert!((2_800..3_200).contains(&count(400, 700)), "{}", count(400, 700));
    }
}
