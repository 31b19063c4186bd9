//! Exponential backoff: how long a caller waits before it calls a port again that failed.

use std::time::Duration;

/// The wait after the first failure. Each further wait is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(2);

/// The waits of one call. Many callers may wait for the same port, so only the first failure of a
/// call is logged as a warning.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// Waits before the next attempt to call `port`, which failed with `error`.
    pub(super) async fn wait(
        &mut self,
        port: &'static str,
        error: &(dyn std::error::Error + Sync),
    ) {
        if self.next == FIRST {
            tracing::warn!(%error, "{port} unavailable");
        } else {
            tracing::debug!(%error, "{port} still unavailable");
        }
        debug_assert!(self.next <= LONGEST, "a wait is bounded");
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(LONGEST);
    }
}
