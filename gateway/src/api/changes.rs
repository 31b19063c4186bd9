//! Changes that come to their end although the client has gone, and a bound on them.

use std::future::Future;
use std::sync::Arc;

use pabal_core::protocol::{Problem, ProblemCode};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::Failure;

/// As many changes as may be under way at a time: while a port is away they pile up, though their
/// clients gave up.
const AT_ONCE: usize = 1_024;

/// Runs changes, each in a task of its own.
#[derive(Debug)]
pub struct Changes {
    tasks: TaskTracker,
    room: Arc<Semaphore>,
}

impl Changes {
    /// Changes whose tasks are tracked by `tasks`.
    pub fn new(tasks: TaskTracker) -> Self {
        Self { tasks, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Runs `work` to its end even if the client goes away meanwhile: between a change in the
    /// directory and telling the sessions it concerns there must be no place to stop.
    ///
    /// # Errors
    /// Those of `work`; `unavailable` if too many are under way: retry, nothing was done.
    pub async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Failure> {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            let detail = "too many changes are under way";
            return Err(Problem::new(ProblemCode::Unavailable, detail).into());
        };
        let change = async move {
            let outcome = work.await;
            drop(place);
            outcome
        };
        match self.tasks.spawn(change).await {
            Ok(outcome) => outcome.map_err(Failure::from),
            Err(error) => {
                tracing::error!(%error, "a request failed");
                Err(Problem::new(ProblemCode::Internal, "the request failed").into())
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
    async fn a_change_keeps_its_room_until_its_end_though_the_client_has_gone() {
        let tasks = TaskTracker::new();
        let changes = Changes { tasks: tasks.clone(), room: Arc::new(Semaphore::new(1)) };
        let (go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (may_go, is_done) = (go.clone(), done.clone());
        let mut first = Box::pin(changes.finish(async move {
            may_go.notified().await;
            is_done.notify_one();
            Ok(())
        }));
        assert!((&mut first).now_or_never().is_none());
        drop(first);
        let Failure(refused) = changes.finish(async { Ok(()) }).await.expect_err("no room");
        assert_eq!(refused.code, ProblemCode::Unavailable);
        go.notify_one();
        done.notified().await;
        tasks.close();
        tasks.wait().await;
        assert_eq!(changes.finish(async { Ok(7) }).await, Ok(7));
    }
}
