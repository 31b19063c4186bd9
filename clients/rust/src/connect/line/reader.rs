//! What every line shares: how it reads, why it breaks, and what a failure says about its transport.

use std::fmt::Display;
use std::time::Duration;

use http::Uri;

use crate::connect::options::Fallback;
use crate::connect::session::Mount;
use crate::error::Problem;
use crate::http::{Failure, Http};
use crate::token::Token;

/// With what a line reads: connections, credentials and time limits.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) http: Http,
    pub(crate) token: Token,
    pub(crate) fallback: Fallback,
    pub(crate) poll_interval: Duration,
    pub(crate) request_timeout: Duration,
}

/// Why a line returns no more batches, or could not be opened.
#[derive(Clone, Debug)]
pub(crate) enum Broken {
    /// There was no usable response.
    Failed(Failure),
    /// The transport does not work here.
    Refused(String),
    /// The server closed the line with this code, perhaps after it sent a problem.
    Closed(u16, Option<Box<Problem>>),
    /// Events came faster than the caller took them. No event is lost: the next line reads on from the
    /// position.
    Lagged,
    /// The caller wants other transports.
    PolicyChanged,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Broken {
    pub(crate) fn cut(why: impl Display) -> Self {
        Self::Failed(Failure::Cut(why.to_string()))
    }

    /// The failure of one transport. The session exists, so a response that does not come from a Pabal
    /// server comes from a proxy that does not support the transport.
    pub(super) fn of_transport(failure: Failure) -> Self {
        match failure {
            // A proxy reports a temporary failure.
            Failure::Foreign(429 | 502 | 503 | 504, _) => Self::Failed(failure),
            Failure::Foreign(status, detail) => Self::Refused(format!("status {status}: {detail}")),
            failure => Self::Failed(failure),
        }
    }
}

/// The URL of a mount with a query.
pub(super) fn with_query(mount: &Mount, query: &str) -> Result<Uri, Failure> {
    format!("{}?{query}", mount.url)
        .parse()
        .map_err(|_| Failure::Foreign(200, format!("not a URL: {}", mount.url)))
}
