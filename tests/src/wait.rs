//! Waiting for conditions with a deadline. No test sleeps and hopes.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long a condition may take that is fulfilled soon, even on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Awaits `future`, at most for [`SOON`].
///
/// # Panics
/// At the deadline, with `what`.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {SOON:?}: {what}"),
    }
}

/// Checks repeatedly until there is a value, at most for [`SOON`].
///
/// # Panics
/// At the deadline, with `what`.
pub async fn until<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + SOON;
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(value) = ask().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
