//! What everybody in a crowd shares.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use tokio_util::task::TaskTracker;

use crate::counts::Tally;
use crate::error::Broken;
use crate::http::Connection;
use crate::net::{Meter, Stream};
use crate::target::{Place, Roads};
use pabal_cost::{Http, Plan};

/// The place of what happens.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) plan: Plan,
    pub(crate) url: String,
    pub(crate) place: Arc<Place>,
    pub(crate) roads: Roads,
    /// From when the times in messages count.
    pub(crate) epoch: Instant,
    pub(crate) tally: Tally,
    /// Tasks of HTTP/2 connections.
    pub(crate) tracker: TaskTracker,
}

impl Scene {
    /// Connects as the `number`th of many, over the version of HTTP that is asked for.
    pub(crate) async fn stream(
        &self,
        place: &Place,
        number: usize,
        http: Http,
        meter: &Arc<Meter>,
    ) -> Result<Stream, Broken> {
        self.roads.connect(place, number, http, Arc::clone(meter)).await
    }

    /// A connection of a listener for requests.
    pub(crate) async fn connection(
        &self,
        place: &Arc<Place>,
        number: usize,
    ) -> Result<Connection, Broken> {
        let http = self.plan.http;
        let stream = self.stream(place, number, http, &self.tally.meter).await?;
        Connection::open(stream, place, http, &self.tracker).await
    }

    /// The place that a node named, or the target if it named none. Never less encrypted: TLS may end at
    /// a proxy, of which the node knows nothing.
    pub(crate) async fn named(&self, url: Option<String>) -> Arc<Place> {
        let Some(mut url) = url else { return Arc::clone(&self.place) };
        if self.place.is_secure() {
            url = url.replacen("ws://", "wss://", 1).replacen("http://", "https://", 1);
        }
        match Place::find(&url).await {
            Ok(place) => Arc::new(place),
            Err(why) => {
                self.tally.trouble(|| format!("a node named another in vain: {why}"));
                Arc::clone(&self.place)
            }
        }
    }

    /// How long ago something was due.
    pub(crate) fn since(&self, due: Duration) -> Duration {
        self.epoch.elapsed().saturating_sub(due)
    }
}

/// A token as it stands in requests.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue, Broken> {
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}")).map_err(Broken::foreign)?;
    bearer.set_sensitive(true);
    Ok(bearer)
}
