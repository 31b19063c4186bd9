//! Posts notifications to a webhook.
//!
//! Delivery is at least once: a notification is removed from the queue after the webhook has
//! accepted or rejected it, or once it is too old. A post is `{"user_id", "message": {…},
//! "queued_at"}`; any 2xx status accepts it.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use pabal_core::Backoff;
use pabal_core::model::{Timestamp, UserId};
use pabal_core::ports::{Clock, Notification, PushNotifier, PushPosition, QueuedNotification};
use pabal_core::protocol::MessageView;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::{Client, ClientError};
use crate::config;

/// The waits while the queue is unavailable.
const QUEUE_BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
/// How many notifications are read from the queue at a time.
const BATCH: usize = 64;

/// A worker that takes notifications from the queue and posts them to the webhook.
#[derive(Clone)]
pub struct Webhook {
    queue: Arc<dyn PushNotifier>,
    clock: Arc<dyn Clock>,
    client: Client,
    posts: Arc<Semaphore>,
    max_in_progress: usize,
    backoff: Backoff,
    give_up_after: Duration,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Post<'a> {
    user_id: UserId,
    message: MessageView<'a>,
    queued_at: Timestamp,
}

/// The outcome of a post.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Accepted,
    /// The same post would be rejected again.
    Rejected(StatusCode),
    /// A later post may succeed, after this time if the webhook asked for one.
    Retry(Option<Duration>),
}

impl Webhook {
    /// A worker that posts the notifications of `queue` to `url`, with the limits in `push`.
    ///
    /// # Errors
    /// [`ClientError`]; do not retry.
    pub fn new(
        url: &str,
        push: &config::Push,
        queue: Arc<dyn PushNotifier>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        let timeout = Duration::from_millis(push.post_timeout_ms);
        let client = Client::new(url, push.webhook_token.as_deref(), timeout)?;
        Ok(Self {
            queue,
            clock,
            client,
            posts: Arc::new(Semaphore::new(push.concurrent_posts)),
            max_in_progress: push.waiting_retries,
            backoff: Backoff::new(
                Duration::from_millis(push.first_retry_ms),
                Duration::from_millis(push.longest_retry_ms),
            ),
            give_up_after: Duration::from_secs(u64::from(push.give_up_after_hours) * 3_600),
        })
    }

    /// Runs until `stop`. Notifications that are not confirmed by then stay in the queue.
    pub async fn run(self, stop: CancellationToken) {
        let mut in_progress: JoinSet<()> = JoinSet::new();
        let work = async {
            let (mut position, mut backoff) = (PushPosition::default(), QUEUE_BACKOFF);
            loop {
                while in_progress.len() >= self.max_in_progress {
                    in_progress.join_next().await;
                }
                while in_progress.try_join_next().is_some() {}
                let capacity = (self.max_in_progress - in_progress.len()).min(BATCH);
                match self.queue.pending(position, capacity).await {
                    Ok(entries) => {
                        backoff.reset();
                        position = entries.last().map_or(position, |entry| entry.position);
                        for entry in entries {
                            in_progress.spawn(self.clone().deliver(entry));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot read the push queue; retrying");
                        tokio::time::sleep(backoff.next_jittered(rand::random(), None)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
        in_progress.shutdown().await;
    }

    /// Posts one notification until it is accepted, rejected or too old, then removes it from the
    /// queue.
    async fn deliver(self, entry: QueuedNotification) {
        let QueuedNotification { position, notification } = entry;
        let mut backoff = self.backoff;
        loop {
            let age = self.clock.now().since(notification.queued_at);
            if age >= self.give_up_after {
                tracing::warn!(
                    position = position.0,
                    "discarded a notification: it was older than push.give_up_after_hours"
                );
                break;
            }
            match self.post(&notification).await {
                Outcome::Accepted => break,
                Outcome::Rejected(status) => {
                    tracing::warn!(position = position.0, %status, "the webhook rejected a notification");
                    break;
                }
                Outcome::Retry(requested) => {
                    let left = self.give_up_after.saturating_sub(age);
                    let wait = backoff.next_jittered(rand::random(), requested);
                    tokio::time::sleep(wait.min(left)).await;
                }
            }
        }
        let mut backoff = QUEUE_BACKOFF;
        while let Err(error) = self.queue.confirm(&[position]).await {
            tracing::warn!(%error, "cannot remove a notification from the push queue; retrying");
            tokio::time::sleep(backoff.next_jittered(rand::random(), None)).await;
        }
    }

    async fn post(&self, notification: &Notification) -> Outcome {
        let Ok(_permit) = self.posts.acquire().await else {
            return Outcome::Retry(None);
        };
        let post = Post {
            user_id: notification.user_id,
            message: MessageView::from(&notification.message),
            queued_at: notification.queued_at,
        };
        let json = match serde_json::to_vec(&post) {
            Ok(json) => json,
            Err(error) => {
                tracing::error!(%error, "cannot serialise a notification as JSON");
                return Outcome::Retry(None);
            }
        };
        match self.client.post(json.into()).await {
            Ok((status, headers)) => judge(status, &headers),
            Err(error) => {
                tracing::warn!(%error, "webhook unavailable; retrying");
                Outcome::Retry(None)
            }
        }
    }
}

fn judge(status: StatusCode, headers: &http::HeaderMap) -> Outcome {
    if status.is_success() {
        return Outcome::Accepted;
    }
    let retryable = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if status.is_client_error() && !retryable {
        return Outcome::Rejected(status);
    }
    tracing::debug!(%status, "the webhook failed; retrying");
    let seconds =
        headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Outcome::Retry(seconds.map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_decides_whether_a_post_is_repeated() {
        let mut headers = http::HeaderMap::new();
        let outcome =
            |status, headers: &_| judge(StatusCode::from_u16(status).expect("a status"), headers);
        assert_eq!(outcome(204, &headers), Outcome::Accepted);
        assert_eq!(outcome(410, &headers), Outcome::Rejected(StatusCode::GONE));
        for status in [301, 408, 429, 500, 503] {
            assert_eq!(outcome(status, &headers), Outcome::Retry(None), "{status}");
        }
        headers.insert("retry-after", http::HeaderValue::from_static("7"));
        assert_eq!(outcome(429, &headers), Outcome::Retry(Some(Duration::from_secs(7))));
    }
}
