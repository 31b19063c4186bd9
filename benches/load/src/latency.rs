//! Histograms of latencies: microseconds up to an hour, to three significant digits.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that has a bucket of its own, in microseconds; longer ones count as this.
const LONGEST: u64 = 3_600_000_000;

/// No latencies yet. All histograms of this function have the same bounds and can be added.
pub fn histogram() -> Histogram<u64> {
    // These bounds are in order, so the library refuses nothing.
    Histogram::new_with_bounds(1, LONGEST, 3).unwrap_or_else(|_| unreachable!("1 to an hour"))
}

/// Counts one latency. Less than a microsecond counts as one.
pub fn record(to: &mut Histogram<u64>, latency: Duration) {
    to.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LONGEST).max(1));
}

/// Adds one histogram to another; both come from [`histogram`].
pub(crate) fn add(to: &mut Histogram<u64>, more: &Histogram<u64>) {
    // The bounds are the same, so the library refuses nothing.
    to.add(more).unwrap_or_else(|_| unreachable!("the same bounds"));
}

/// The latency in milliseconds that this share of them did not exceed; 0 if there are none.
pub fn quantile_ms(of: &Histogram<u64>, share: f64) -> f64 {
    of.value_at_quantile(share) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_recorded_latencies() {
        let mut latencies = histogram();
        assert_eq!(quantile_ms(&latencies, 0.5), 0.0);
        for millis in 1..=100 {
            record(&mut latencies, Duration::from_millis(millis));
        }
        assert!((quantile_ms(&latencies, 0.5) - 50.0).abs() < 0.1);
        assert!((quantile_ms(&latencies, 0.99) - 99.0).abs() < 0.1);
    }

    #[test]
    fn latencies_out_of_bounds_count_at_the_bounds() {
        let mut latencies = histogram();
        record(&mut latencies, Duration::ZERO);
        record(&mut latencies, Duration::from_secs(7_200));
        assert_eq!((latencies.len(), latencies.min()), (2, 1));
        assert!((quantile_ms(&latencies, 1.0) - 3.6e6).abs() < 3.6e3);
    }
}
