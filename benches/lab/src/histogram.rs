//! Latencies by the million: counts in buckets that are at most 3 % wide.

use std::time::Duration;

/// Sub-buckets of a power of two.
const STEPS: u64 = 32;

/// How often each latency, in microseconds, was seen.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; (STEPS * 40) as usize] }
    }
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, latency: Duration) {
        let index = bucket(latency.as_micros() as u64).min(self.counts.len() - 1);
        self.counts[index] += 1;
    }

    /// The latency that this share of them did not exceed, in milliseconds; 0 if there are none.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let all: u64 = self.counts.iter().sum();
        let wanted = (all as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return lower_bound(index as u64) as f64 / 1e3;
            }
        }
        0.0
    }
}

fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let shift = u64::from(micros.ilog2() - STEPS.ilog2());
    (STEPS * (shift + 1) + ((micros >> shift) - STEPS)) as usize
}

fn lower_bound(index: u64) -> u64 {
    if index < STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    (STEPS + index % STEPS) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_begins_at_most_three_percent_below_what_falls_into_it() {
        for micros in (0..100_000u64).chain([1 << 30, (1 << 31) - 1]) {
            let begins = lower_bound(bucket(micros) as u64);
            assert!(begins <= micros && (micros - begins) * 32 <= micros, "{micros}: {begins}");
        }
    }

    #[test]
    fn quantiles_are_of_what_was_added() {
        let mut histogram = Histogram::default();
        for millis in 1..=100 {
            histogram.add(Duration::from_millis(millis));
        }
        assert!((histogram.quantile_ms(0.5) - 50.0).abs() < 2.0);
        assert!((histogram.quantile_ms(0.99) - 99.0).abs() < 4.0);
    }
}
