//! Short and long polling: the same request, answered at once or when there is something.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use http::Method;
use tokio::time::{Instant, sleep_until};

use super::{Broken, Reader, refused, with_query};
use crate::connect::session::Mount;
use crate::event::Batch;
use crate::http::{Ask, Failure, json};
use crate::ids::Seq;

/// No longer than this, or proxies that give up after a minute would.
const LONGEST: Duration = Duration::from_secs(50);

/// A line of requests.
pub(crate) struct Polling {
    reader: Reader,
    mount: Mount,
    /// How long the server may hold a request; `None` on short polling.
    wait: Option<Duration>,
    /// The request under way: kept here so that reading may be cancelled and taken up again.
    asked: Option<BoxFuture<'static, Result<Batch, Failure>>>,
    first: Option<Batch>,
    not_before: Instant,
}

impl fmt::Debug for Polling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polling").field("mount", &self.mount).finish_non_exhaustive()
    }
}

impl Polling {
    pub(super) async fn short(reader: &Reader, mount: &Mount, after: Seq) -> Result<Self, Broken> {
        Self::new(reader, mount, None).begun(after).await
    }

    pub(super) async fn long(reader: &Reader, mount: &Mount, after: Seq) -> Result<Self, Broken> {
        Self::new(reader, mount, Some(mount.max_wait.min(LONGEST))).begun(after).await
    }

    fn new(reader: &Reader, mount: &Mount, wait: Option<Duration>) -> Self {
        Self {
            reader: reader.clone(),
            mount: mount.clone(),
            wait,
            asked: None,
            first: None,
            not_before: Instant::now(),
        }
    }

    /// Asks once without waiting: that shows whether requests get through.
    async fn begun(mut self, after: Seq) -> Result<Self, Broken> {
        let now = self.wait.map(|_| Duration::ZERO);
        let batch = self.ask(after, now)?.await.map_err(refused)?;
        self.rest(&batch);
        self.first = Some(batch);
        Ok(self)
    }

    pub(super) async fn read(&mut self, after: Seq) -> Result<Batch, Broken> {
        if let Some(batch) = self.first.take() {
            return Ok(batch);
        }
        sleep_until(self.not_before).await;
        let asked = match self.asked.take() {
            Some(asked) => self.asked.insert(asked),
            None => {
                let asked = self.ask(after, self.wait)?;
                self.asked.insert(asked)
            }
        };
        let answer = asked.await;
        self.asked = None;
        let batch = answer.map_err(refused)?;
        self.rest(&batch);
        Ok(batch)
    }

    fn ask(
        &self,
        after: Seq,
        wait: Option<Duration>,
    ) -> Result<BoxFuture<'static, Result<Batch, Failure>>, Failure> {
        let query = match wait {
            None => format!("after={after}"),
            Some(wait) => format!("after={after}&wait_ms={}", wait.as_millis()),
        };
        let url = with_query(&self.mount, &query)?;
        let Reader { http, token, request_timeout, .. } = self.reader.clone();
        let within = wait.unwrap_or_default() + request_timeout;
        Ok(Box::pin(async move {
            let token = Some(&token);
            let ask = Ask { method: Method::GET, url, token, body: None, within };
            json(&http.call(ask).await?)
        }))
    }

    /// When to ask again: a short poll after its interval; a long one at once, unless it was ended
    /// by another one, lest the two take turns as fast as they can.
    fn rest(&mut self, batch: &Batch) {
        let rest = match self.wait {
            None => self.reader.poll_interval.max(self.mount.min_interval),
            Some(_) if batch.events.is_empty() && !batch.timeout => Duration::from_millis(100),
            Some(_) => Duration::ZERO,
        };
        self.not_before = Instant::now() + rest;
    }
}
