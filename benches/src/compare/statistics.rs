//! Ratios of paired measurements: their median, an interval of it, and the verdict.

use std::fmt::{Display, Formatter};

use crate::report::median;

/// The median ratio, after to before, up to which a program counts as not slower.
pub const AT_MOST: f64 = 1.03;
/// The probability with which the interval has to cover the true median.
const CONFIDENCE: f64 = 0.95;
/// The fewest pairs whose range covers the true median with that probability.
pub const FEWEST_PAIRS: usize = 6;

/// The median of some ratios, and an interval that covers the true median with a probability of at
/// least 95 %.
///
/// The interval lies between two order statistics, so it assumes nothing about the distribution of the
/// ratios: the `k`-th smallest of `n` exceeds the true median with the probability that a fair coin shows
/// heads fewer than `k` times in `n` throws (David and Nagaraja, *Order Statistics*, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The median of the ratios.
    pub median: f64,
    /// The bounds; none for fewer than [`FEWEST_PAIRS`] ratios, whose range covers less than 95 %.
    pub interval: Option<(f64, f64)>,
}

/// What the ratios of a cost say about the later program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The median is at most [`AT_MOST`], or the interval covers 1.
    Pass,
    /// The median is above the bound, and so is the whole interval above 1.
    Worse,
    /// There are too few pairs for an interval, and the median is above the bound.
    Undecided,
}

impl Estimate {
    /// Of ratios after to before; nothing without any.
    pub fn of(ratios: &[f64]) -> Option<Self> {
        if ratios.is_empty() {
            return None;
        }
        let mut sorted = ratios.to_vec();
        sorted.sort_by(f64::total_cmp);
        let interval =
            rank(sorted.len()).map(|rank| (sorted[rank - 1], sorted[sorted.len() - rank]));
        let median = median(sorted);
        debug_assert!(
            interval.is_none_or(|(low, high)| low <= median && median <= high),
            "the interval holds the median"
        );
        Some(Self { median, interval })
    }

    /// Whether the cost is accepted.
    pub fn verdict(&self) -> Verdict {
        match self.interval {
            _ if self.median <= AT_MOST => Verdict::Pass,
            Some((low, high)) if low <= 1.0 && 1.0 <= high => Verdict::Pass,
            Some(_) => Verdict::Worse,
            None => Verdict::Undecided,
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Worse => "WORSE",
            Self::Undecided => "too few pairs",
        })
    }
}

/// The largest `k` for which the `k`-th smallest and the `k`-th largest of `count` values enclose the
/// true median with the wanted probability.
fn rank(count: usize) -> Option<usize> {
    // The probability of fewer than `k` heads, for k = 1, 2, …
    let mut probability = 0.5f64.powi(i32::try_from(count).ok()?);
    let (mut below, mut rank) = (probability, 0);
    while 2.0 * below <= 1.0 - CONFIDENCE {
        rank += 1;
        probability *= (count - rank + 1) as f64 / rank as f64;
        below += probability;
    }
    (rank > 0).then_some(rank)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Table A.18 of Hollander and Wolfe, *Nonparametric Statistical Methods* (the sign test).
    #[test]
    fn ranks_are_those_of_the_sign_test() {
        let known =
            [(5, None), (6, Some(1)), (8, Some(1)), (9, Some(2)), (12, Some(3)), (15, Some(4))];
        for (count, expected) in known {
            assert_eq!(rank(count), expected, "{count} values");
        }
        assert_eq!(rank(FEWEST_PAIRS - 1), None);
        assert!(rank(FEWEST_PAIRS).is_some());
    }

    #[test]
    fn nine_ratios_have_the_interval_of_the_second_and_the_eighth() {
        let ratios = [1.09, 1.01, 1.02, 1.08, 1.03, 1.07, 1.04, 1.06, 1.05];
        let expected = Estimate { median: 1.05, interval: Some((1.02, 1.08)) };
        assert_eq!(Estimate::of(&ratios), Some(expected));
    }

    #[test]
    fn the_interval_covers_the_true_median_as_often_as_promised() {
        let mut random = StdRng::seed_from_u64(1);
        let (runs, true_median) = (4_000, 0.5);
        for count in [6, 9, 16] {
            let covered = (0..runs).filter(|_| {
                let ratios: Vec<f64> = (0..count).map(|_| random.random_range(0.0..1.0)).collect();
                let estimate = Estimate::of(&ratios).expect("there are ratios");
                let (low, high) = estimate.interval.expect("enough ratios");
                low <= true_median && true_median <= high
            });
            let share = covered.count() as f64 / f64::from(runs);
            assert!((0.94..=0.99).contains(&share), "{count} ratios: {share}");
        }
    }

    #[test]
    fn a_cost_within_the_bound_passes() {
        let estimate = Estimate { median: 1.03, interval: Some((1.02, 1.05)) };
        assert_eq!(estimate.verdict(), Verdict::Pass);
    }

    #[test]
    fn a_cost_above_the_bound_passes_only_if_no_difference_is_possible() {
        let noisy = Estimate { median: 1.10, interval: Some((0.98, 1.30)) };
        assert_eq!(noisy.verdict(), Verdict::Pass);
        let worse = Estimate { median: 1.10, interval: Some((1.01, 1.30)) };
        assert_eq!(worse.verdict(), Verdict::Worse);
    }

    #[test]
    fn few_pairs_decide_nothing_about_a_cost_above_the_bound() {
        let few = Estimate::of(&[1.2, 1.3, 1.4]).expect("there are ratios");
        assert_eq!(few.verdict(), Verdict::Undecided);
        assert_eq!(Estimate::of(&[]), None);
    }
}
