//! Short and long polling: the same request, to which the server responds at once or when there is an
//! event.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use http::Method;
use tokio::time::{Instant, sleep_until};

use super::reader::{Broken, Reader, with_query};
use crate::connect::session::Mount;
use crate::event::Batch;
use crate::http::{Call, Failure, json};
use crate::ids::Seq;

/// The longest wait of a request: many proxies end a request after a minute.
const LONGEST: Duration = Duration::from_secs(50);

/// A line that reads by requests.
pub(crate) struct Polling {
    reader: Reader,
    mount: Mount,
    /// How long the server may hold a request; `None` on short polling.
    wait: Option<Duration>,
    /// The request in flight. It is kept here so that a canceled read can be resumed.
    in_flight: Option<BoxFuture<'static, Result<Batch, Failure>>>,
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
            in_flight: None,
            first: None,
            not_before: Instant::now(),
        }
    }

    /// Sends one request that does not wait: its response shows that the transport works.
    async fn begun(mut self, after: Seq) -> Result<Self, Broken> {
        let now = self.wait.map(|_| Duration::ZERO);
        let batch = self.request(after, now)?.await.map_err(Broken::of_transport)?;
        self.schedule(&batch);
        self.first = Some(batch);
        Ok(self)
    }

    pub(super) async fn read(&mut self, after: Seq) -> Result<Batch, Broken> {
        if let Some(batch) = self.first.take() {
            return Ok(batch);
        }
        sleep_until(self.not_before).await;
        let request = match self.in_flight.take() {
            Some(request) => self.in_flight.insert(request),
            None => {
                let request = self.request(after, self.wait)?;
                self.in_flight.insert(request)
            }
        };
        let outcome = request.await;
        self.in_flight = None;
        let batch = outcome.map_err(Broken::of_transport)?;
        self.schedule(&batch);
        Ok(batch)
    }

    fn request(
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
            let call = Call { method: Method::GET, url, token, body: None, within };
            json(&http.call(call).await?)
        }))
    }

    /// Schedules the next request: a short poll after its interval, a long poll at once. A long poll that
    /// another one replaced waits a little, so that the two do not replace each other in a loop.
    fn schedule(&mut self, batch: &Batch) {
        let pause = match self.wait {
            None => self.reader.poll_interval.max(self.mount.min_interval),
            Some(_) if batch.events.is_empty() && !batch.timeout => Duration::from_millis(100),
            Some(_) => Duration::ZERO,
        };
        self.not_before = Instant::now() + pause;
    }
}
