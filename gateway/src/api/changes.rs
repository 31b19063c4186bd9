//! Changes that run to completion although the client has disconnected, and a bound on their
//! number.

use std::future::Future;
use std::sync::Arc;

use pabal_core::protocol::{Problem, ProblemCode};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::Failure;

/// The most changes in progress at a time. While a port is unavailable they accumulate, although
/// their clients have given up.
const MAX_CONCURRENT: usize = 1_024;

/// Runs each change in a task of its own, at most 1,024 at a time.
#[derive(Debug)]
pub struct Changes {
    tasks: TaskTracker,
    permits: Arc<Semaphore>,
}

impl Changes {
    /// Runs changes as tasks of `tasks`, which a shutdown waits for.
    pub fn new(tasks: TaskTracker) -> Self {
        Self { tasks, permits: Arc::new(Semaphore::new(MAX_CONCURRENT)) }
    }

    /// Runs `work` to completion, even if the caller drops the returned future because its client
    /// has disconnected: a change in the directory and the event that reports it to sessions should
    /// not be separated. They are if the node dies. What must not be lost then, access that was taken
    /// away, the directory records with the change (`gateway/src/revocations.rs` tells it).
    ///
    /// # Errors
    /// Those of `work`; `unavailable` if too many changes are in progress (retry, nothing was
    /// done); `internal` if `work` panicked.
    pub async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Failure> {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            let detail = "too many changes are in progress on this node; retry";
            return Err(Problem::new(ProblemCode::Unavailable, detail).into());
        };
        let change = async move {
            let outcome = work.await;
            drop(permit);
            outcome
        };
        match self.tasks.spawn(change).await {
            Ok(outcome) => outcome.map_err(Failure::from),
            Err(error) => {
                tracing::error!(%error, "a change panicked");
                Err(Problem::new(ProblemCode::Internal, "the request failed on the server").into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_change_holds_its_permit_until_it_ends_although_the_client_has_disconnected() {
        let tasks = TaskTracker::new();
        let changes = Changes { tasks: tasks.clone(), permits: Arc::new(Semaphore::new(1)) };
        let (go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (may_go, is_done) = (go.clone(), done.clone());
        let mut first = Box::pin(changes.finish(async move {
            may_go.notified().await;
            is_done.notify_one();
            Ok(())
        }));
        assert!((&mut first).now_or_never().is_none());
        drop(first);
        let Failure(refused) = changes.finish(async { Ok(()) }).await.expect_err("no permit left");
        assert_eq!(refused.code, ProblemCode::Unavailable);
        go.notify_one();
        done.notified().await;
        tasks.close();
        tasks.wait().await;
        assert_eq!(changes.finish(async { Ok(7) }).await, Ok(7));
    }
}
