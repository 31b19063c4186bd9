//! Waiting for a condition with a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a server may take to start, on a machine that is busy.
pub const READY_WITHIN: Duration = Duration::from_secs(120);

/// Checks repeatedly until there is a value, at most for [`READY_WITHIN`].
///
/// # Panics
/// At the deadline, with `what`.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + READY_WITHIN;
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(value) = ask().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {READY_WITHIN:?}: {what}");
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
