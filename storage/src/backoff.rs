//! The pause between attempts: exponential, up to a maximum, without jitter. Owns no clock and no
//! limit on attempts; the caller sleeps and decides when to stop.

use std::time::Duration;

/// Pauses that double from `first` to `max`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    #[cfg(any(test, feature = "redis"))]
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, max: Duration) -> Self {
        Self {
            #[cfg(any(test, feature = "redis"))]
            first,
            max,
            next: first,
        }
    }

    /// The pause before the next attempt.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause
    }

    /// Starts again at the first pause, after progress.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_and_start_again_after_a_reset() {
        let [first, max] = [2, 10].map(Duration::from_millis);
        let mut backoff = Backoff::new(first, max);
        let pauses: Vec<_> = (0..5).map(|_| backoff.next_pause().as_millis()).collect();
        assert_eq!(pauses, [2, 4, 8, 10, 10]);
        backoff.reset();
        assert_eq!(backoff.next_pause(), first);
    }
}
