//! Errors: those that end a load test, and those from which a client recovers.

use std::io;
use std::path::PathBuf;

use pabal_client::{Code, Problem};

/// Why a crowd could not be made or connected. Retry only after the cause is removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The URL is not the URL of a server.
    #[error("not the URL of a server: {0:?}")]
    Url(String),
    /// The plan is beyond the bounds of the generator.
    #[error("{0}")]
    Plan(String),
    /// The certificates to trust cannot be read.
    #[error("{}: no certificates that can be read: {why}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The limit of open files is below what the connections need.
    #[error(
        "{needed} connections need more open files than this process may have ({limit}): \
         raise it (ulimit -n), or ask for fewer clients"
    )]
    Descriptors {
        /// What the plan needs.
        needed: u64,
        /// What there is.
        limit: u64,
    },
    /// There is no connection to the target, or no response in time.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// The URL of the target.
        url: String,
        /// The error of the system or the connection.
        why: String,
    },
    /// The server limits the request rate of an address or a user.
    #[error("the server limits the rate ({0}): start it with --no-rate-limits for a load test")]
    RateLimited(String),
    /// The server refused a request for another reason.
    #[error("the server refused: {0}")]
    Refused(Box<Problem>),
    /// The target is not a Pabal server.
    #[error("{url} is not a Pabal server: {why}")]
    Foreign {
        /// The URL of the target.
        url: String,
        /// What differs from the protocol.
        why: String,
    },
    /// The operating system returned an error.
    #[error("operating system error: {0}")]
    System(#[from] io::Error),
}

/// Why a client has to replace its connection.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection was refused, was closed, or timed out.
    Cut(String),
    /// The session has ended.
    SessionGone,
    /// The server refused a request.
    Refused(Box<Problem>),
    /// The node drains: reconnect later, to another node if there is a URL.
    Draining {
        /// Milliseconds until the reconnect.
        after_ms: u64,
        /// The node to connect to.
        url: Option<String>,
    },
    /// The server sent something that is not in the protocol.
    Foreign(String),
}

impl Broken {
    pub(crate) fn cut(why: impl ToString) -> Self {
        Self::Cut(why.to_string())
    }

    pub(crate) fn foreign(why: impl ToString) -> Self {
        Self::Foreign(why.to_string())
    }

    /// The error of a response whose status is no success.
    pub(crate) fn refusal(status: http::StatusCode, body: &[u8]) -> Self {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) if problem.code == Code::SessionGone => Self::SessionGone,
            Ok(problem) => Self::Refused(Box::new(problem)),
            Err(_) => Self::Foreign(format!("status {status} without a problem document")),
        }
    }

    /// The error that ends the load test against `url`.
    pub(crate) fn into_load_error(self, url: &str) -> LoadError {
        let url = url.to_owned();
        match self {
            Self::Cut(why) => LoadError::Unreachable { url, why },
            Self::Refused(problem) if problem.code == Code::RateLimited => {
                LoadError::RateLimited(problem.detail)
            }
            Self::Refused(problem) => LoadError::Refused(problem),
            Self::SessionGone => LoadError::Foreign { url, why: "a new session has ended".into() },
            Self::Draining { .. } => LoadError::Unreachable { url, why: "it is draining".into() },
            Self::Foreign(why) => LoadError::Foreign { url, why },
        }
    }

    /// The error in a line.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Cut(why) => why.clone(),
            Self::SessionGone => "the session has ended".into(),
            Self::Refused(problem) => problem.to_string(),
            Self::Draining { .. } => "the node is draining".into(),
            Self::Foreign(why) => format!("not a response of Pabal: {why}"),
        }
    }
}
