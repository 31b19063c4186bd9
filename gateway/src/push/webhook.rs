//! Posts notifications to a third party.
//!
//! At least once: a notification is confirmed when it was taken, refused for good, or is too old. A
//! post is `{"user_id", "message": {…}, "queued_at"}`; any 2xx takes it.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use pabal_core::model::{Timestamp, UserId};
use pabal_core::ports::{Clock, Notification, PushNotifier, PushPosition, QueuedNotification};
use pabal_core::protocol::MessageView;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::{Client, ClientError};
use super::retry::Backoff;
use crate::config;

/// How long the worker waits before it asks a queue again that failed.
const RETRY_QUEUE: Duration = Duration::from_millis(500);
/// As many notifications as are read from the queue at a time.
const READ: usize = 64;

/// Takes notifications from the queue and posts them.
#[derive(Clone)]
pub struct Webhook {
    queue: Arc<dyn PushNotifier>,
    clock: Arc<dyn Clock>,
    client: Client,
    posts: Arc<Semaphore>,
    waiting: usize,
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

/// What the third party said.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Taken,
    /// The same post will be refused for ever.
    Refused(StatusCode),
    /// Perhaps later; after this time, if it named one.
    Later(Option<Duration>),
}

impl Webhook {
    /// A worker that posts to `url` as `push` says.
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
            waiting: push.waiting_retries,
            backoff: Backoff {
                first: Duration::from_millis(push.first_retry_ms),
                longest: Duration::from_millis(push.longest_retry_ms),
            },
            give_up_after: Duration::from_secs(u64::from(push.give_up_after_hours) * 3_600),
        })
    }

    /// Works until `stop`. What is not confirmed by then stays in the queue.
    pub async fn run(self, stop: CancellationToken) {
        let mut under_way: JoinSet<()> = JoinSet::new();
        let work = async {
            let mut position = PushPosition::default();
            loop {
                while under_way.len() >= self.waiting {
                    under_way.join_next().await;
                }
                while under_way.try_join_next().is_some() {}
                let room = (self.waiting - under_way.len()).min(READ);
                match self.queue.pending(position, room).await {
                    Ok(entries) => {
                        position = entries.last().map_or(position, |entry| entry.position);
                        for entry in entries {
                            under_way.spawn(self.clone().deliver(entry));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the push queue cannot be read");
                        tokio::time::sleep(RETRY_QUEUE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
        under_way.shutdown().await;
    }

    /// Posts one notification until it is settled, and confirms it.
    async fn deliver(self, entry: QueuedNotification) {
        let QueuedNotification { position, notification } = entry;
        let mut failures = 0;
        loop {
            let age = self.clock.now().since(notification.queued_at);
            if age >= self.give_up_after {
                tracing::warn!(position = position.0, "a notification was too old to be pushed");
                break;
            }
            match self.post(&notification).await {
                Said::Taken => break,
                Said::Refused(status) => {
                    tracing::warn!(position = position.0, %status, "a notification was refused");
                    break;
                }
                Said::Later(asked) => {
                    failures += 1;
                    let left = self.give_up_after.saturating_sub(age);
                    let wait = self.backoff.wait(failures, asked).min(left);
                    tokio::time::sleep(wait).await;
                }
            }
        }
        while let Err(error) = self.queue.confirm(&[position]).await {
            tracing::warn!(%error, "a notification cannot be confirmed");
            tokio::time::sleep(RETRY_QUEUE).await;
        }
    }

    async fn post(&self, notification: &Notification) -> Said {
        let Ok(_turn) = self.posts.acquire().await else {
            return Said::Later(None);
        };
        let post = Post {
            user_id: notification.user_id,
            message: MessageView::from(&notification.message),
            queued_at: notification.queued_at,
        };
        let json = match serde_json::to_vec(&post) {
            Ok(json) => json,
            Err(error) => {
                tracing::error!(%error, "a notification cannot be written as JSON");
                return Said::Later(None);
            }
        };
        match self.client.post(json.into()).await {
            Ok((status, headers)) => judge(status, &headers),
            Err(error) => {
                tracing::warn!(%error, "the webhook cannot be reached");
                Said::Later(None)
            }
        }
    }
}

fn judge(status: StatusCode, headers: &http::HeaderMap) -> Said {
    if status.is_success() {
        return Said::Taken;
    }
    let later = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if status.is_client_error() && !later {
        return Said::Refused(status);
    }
    tracing::debug!(%status, "the webhook will be asked again");
    let seconds =
        headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Said::Later(seconds.map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_third_party_says_is_understood() {
        let mut headers = http::HeaderMap::new();
        let said = |status, headers: &_| judge(StatusCode::from_u16(status).expect("one"), headers);
        assert_eq!(said(204, &headers), Said::Taken);
        assert_eq!(said(410, &headers), Said::Refused(StatusCode::GONE));
        for status in [301, 408, 429, 500, 503] {
            assert_eq!(said(status, &headers), Said::Later(None), "{status}");
        }
        headers.insert("retry-after", http::HeaderValue::from_static("7"));
        assert_eq!(said(429, &headers), Said::Later(Some(Duration::from_secs(7))));
    }
}
