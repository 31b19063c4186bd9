//! Why there is no load, in words for whoever asked for it.

use std::io;
use std::path::PathBuf;

use pabal_client::{Code, Problem};

/// Why a crowd could not be gathered or connected. Try again once the cause is gone; nothing here
/// passes by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The URL is none of a server.
    #[error("not the URL of a server: {0:?}")]
    Url(String),
    /// The plan asks for something that cannot be.
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
    /// There are fewer file descriptors than connections.
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
    /// Nobody answers there.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// The URL of the target.
        url: String,
        /// What the system or the connection says.
        why: String,
    },
    /// The server limits how much one address or user may ask.
    #[error("the server limits the rate ({0}): start it with --no-rate-limits for a load test")]
    RateLimited(String),
    /// The server refused something else.
    #[error("the server refused: {0}")]
    Refused(Box<Problem>),
    /// What answers is no Pabal.
    #[error("{url} does not answer like a Pabal server: {why}")]
    Foreign {
        /// The URL of the target.
        url: String,
        /// What is strange.
        why: String,
    },
    /// The system is out of something.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

/// Why a line to the server is of no use any more.
#[derive(Debug)]
pub(crate) enum Broken {
    /// There is no connection, or it was cut, or fell silent.
    Cut(String),
    /// The session is over.
    SessionGone,
    /// The server refused.
    Refused(Box<Problem>),
    /// The node drains: come back after a while, perhaps elsewhere.
    Draining {
        /// After so many milliseconds.
        after_ms: u64,
        /// There.
        url: Option<String>,
    },
    /// What came is not what a Pabal server says.
    Foreign(String),
}

impl Broken {
    pub(crate) fn cut(why: impl ToString) -> Self {
        Self::Cut(why.to_string())
    }

    pub(crate) fn foreign(why: impl ToString) -> Self {
        Self::Foreign(why.to_string())
    }

    /// What an answer with a bad status means.
    pub(crate) fn refusal(status: http::StatusCode, body: &[u8]) -> Self {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) if problem.code == Code::SessionGone => Self::SessionGone,
            Ok(problem) => Self::Refused(Box::new(problem)),
            Err(_) => Self::Foreign(format!("status {status} without a problem document")),
        }
    }

    /// The same for whoever asked for load.
    pub(crate) fn told(self, url: &str) -> LoadError {
        let url = url.to_owned();
        match self {
            Self::Cut(why) => LoadError::Unreachable { url, why },
            Self::Refused(problem) if problem.code == Code::RateLimited => {
                LoadError::RateLimited(problem.detail)
            }
            Self::Refused(problem) => LoadError::Refused(problem),
            Self::SessionGone => LoadError::Foreign { url, why: "a new session is gone".into() },
            Self::Draining { .. } => LoadError::Unreachable { url, why: "it is draining".into() },
            Self::Foreign(why) => LoadError::Foreign { url, why },
        }
    }

    /// A line about it.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Cut(why) => why.clone(),
            Self::SessionGone => "the session is gone".into(),
            Self::Refused(problem) => problem.to_string(),
            Self::Draining { .. } => "the node is draining".into(),
            Self::Foreign(why) => format!("not an answer of Pabal: {why}"),
        }
    }
}
