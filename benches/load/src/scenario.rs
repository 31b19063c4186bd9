//! The state that all virtual users of a crowd share: the plan, the target, and what was counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use tokio_util::task::TaskTracker;

use crate::counts::Tally;
use crate::error::Broken;
use crate::http::Connection;
use crate::net::{Meter, Stream};
use crate::target::{Connector, Endpoint};
use pabal_cost::{Http, Plan};

/// The shared state of a crowd.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) plan: Plan,
    pub(crate) url: String,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) connector: Connector,
    /// The moment from which the times in messages are counted.
    pub(crate) epoch: Instant,
    pub(crate) tally: Tally,
    /// Tasks of HTTP/2 connections.
    pub(crate) tracker: TaskTracker,
}

impl Scenario {
    /// Opens connection `number` over a version of HTTP.
    pub(crate) async fn stream(
        &self,
        endpoint: &Endpoint,
        number: usize,
        http: Http,
        meter: &Arc<Meter>,
    ) -> Result<Stream, Broken> {
        self.connector.connect(endpoint, number, http, Arc::clone(meter)).await
    }

    /// A connection of a listener for requests.
    pub(crate) async fn connection(
        &self,
        endpoint: &Arc<Endpoint>,
        number: usize,
    ) -> Result<Connection, Broken> {
        let http = self.plan.http;
        let stream = self.stream(endpoint, number, http, &self.tally.meter).await?;
        Connection::open(stream, endpoint, http, &self.tracker).await
    }

    /// The endpoint of the URL that a node returned, or the target without one. A connection to a secure
    /// target stays encrypted: TLS may end at a proxy that the node does not know.
    pub(crate) async fn named(&self, url: Option<String>) -> Arc<Endpoint> {
        let Some(mut url) = url else { return Arc::clone(&self.endpoint) };
        if self.endpoint.is_secure() {
            url = url.replacen("ws://", "wss://", 1).replacen("http://", "https://", 1);
        }
        match Endpoint::find(&url).await {
            Ok(endpoint) => Arc::new(endpoint),
            Err(why) => {
                self.tally.trouble(|| format!("a node returned an unusable URL: {why}"));
                Arc::clone(&self.endpoint)
            }
        }
    }

    /// The time that has passed since `due`.
    pub(crate) fn since(&self, due: Duration) -> Duration {
        self.epoch.elapsed().saturating_sub(due)
    }
}

/// The `Authorization` header of a token.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue, Broken> {
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}")).map_err(Broken::foreign)?;
    bearer.set_sensitive(true);
    Ok(bearer)
}
