//! The tasks of one engine: each of them ends when the engine shuts down.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks and ends them. Clones share the same tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs `task` until it ends or the engine shuts down.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stop.cancelled() => {}
            }
        })
    }

    /// Runs `task`, which ends by itself soon after [`stopping`](Self::stopping): it has something to
    /// release.
    pub(super) fn spawn_until_released(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Runs `task` and waits for its end. The task continues if the caller is dropped, as request
    /// handlers are when their client disconnects.
    pub(super) async fn complete(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (done, is_done) = tokio::sync::oneshot::channel();
        self.spawn(async move {
            task.await;
            // The receiver is gone if the caller was dropped.
            let _ = done.send(());
        });
        // It fails only if the engine shut down first.
        let _ = is_done.await;
    }

    /// Completes when the engine begins to shut down.
    pub(super) async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Ends all tasks and waits for them.
    pub(super) async fn shutdown(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
