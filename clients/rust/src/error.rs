//! What goes wrong, and whether to try again.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// Why something could not be done.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused. Retry if [`Problem::retryable`].
    #[error("{0}")]
    Problem(Box<Problem>),
    /// There was no connection, it was cut, or no answer came in time. The server may have acted.
    /// Retry what is idempotent.
    #[error("no answer from the server: {0}")]
    Unreachable(String),
    /// The answer is none that a Pabal server gives; a proxy's, perhaps. Retry if the status says
    /// that it is passing (429, 502, 503, 504).
    #[error("not an answer of Pabal (status {status}): {detail}")]
    Foreign {
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        detail: String,
    },
    /// A send was not confirmed before its deadline. The channel holds the message or does not; a
    /// repeat with the same `client_message_id` is safe for 24 hours.
    #[error("the send was not confirmed in time")]
    NotConfirmed,
    /// As many sends wait already as [`Options`](crate::Options) allows. Retry when one of them is
    /// done.
    #[error("too many sends are waiting")]
    TooManySends,
    /// The connection was closed by its owner. Do not retry on it.
    #[error("the connection is closed")]
    Closed,
    /// The client was told something that makes no sense: a URL, a certificate. Do not retry.
    #[error("{0}")]
    Configuration(String),
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Problem(problem) => problem.retryable(),
            Self::Foreign { status, .. } => matches!(status, 429 | 502 | 503 | 504),
            Self::Unreachable(_) | Self::NotConfirmed | Self::TooManySends => true,
            Self::Closed | Self::Configuration(_) => false,
        }
    }

    /// The server's word for it, if the server said anything.
    pub fn code(&self) -> Option<&Code> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// After how long to try again, where the server said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem(problem) => problem.retry_after,
            _ => None,
        }
    }

    /// Whether the token is at its end: log in.
    pub fn is_unauthenticated(&self) -> bool {
        self.code() == Some(&Code::Unauthenticated)
    }
}

/// What the server says about a refusal (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What programs may switch on.
    pub code: Code,
    /// The HTTP status that goes with it.
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// After how long to try again, where the server knows.
    pub retry_after: Option<Duration>,
    /// Which fields are wrong.
    pub errors: Vec<FieldError>,
    /// Where to go instead.
    pub url: Option<String>,
}

/// One wrong field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct FieldError {
    /// Its name.
    pub field: String,
    /// What it must be.
    #[serde(default)]
    pub detail: String,
}

impl Problem {
    /// Whether the same request may succeed later (429 and 503).
    pub fn retryable(&self) -> bool {
        matches!(self.status, 429 | 503)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl<'de> Deserialize<'de> for Problem {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            code: String,
            status: u16,
            #[serde(default)]
            detail: String,
            retry_after_ms: Option<u64>,
            #[serde(default)]
            errors: Vec<FieldError>,
            url: Option<String>,
        }
        let Wire { code, status, detail, retry_after_ms, errors, url } = Wire::deserialize(from)?;
        let retry_after = retry_after_ms.map(Duration::from_millis);
        Ok(Self { code: Code::of(&code), status, detail, retry_after, errors, url })
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// The server's stable word for a refusal.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)+
            /// One that this version does not know.
            Other(String),
        }

        impl Code {
            fn of(text: &str) -> Self {
                match text {
                    $($text => Self::$name,)+
                    _ => Self::Other(text.to_owned()),
                }
            }

            /// The word as it stands on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)+
                    Self::Other(text) => text,
                }
            }
        }
    };
}

codes! {
    /// 401: no token, or one that is unknown or has ended. Log in.
    Unauthenticated = "unauthenticated",
    /// 403: the caller is not in this channel.
    NotAMember = "not_a_member",
    /// 403: the other user has blocked the caller.
    Blocked = "blocked",
    /// 403: the caller may not do this.
    Forbidden = "forbidden",
    /// 404: there is no such thing.
    NotFound = "not_found",
    /// 409: somebody has this username.
    UsernameTaken = "username_taken",
    /// 410: the session has ended.
    SessionGone = "session_gone",
    /// 413: larger than the limit that the detail names.
    TooLarge = "too_large",
    /// 421: the session lives elsewhere, at `url`.
    WrongNode = "wrong_node",
    /// 422: a field is not what it must be.
    Invalid = "invalid",
    /// 429: too many, or too fast.
    RateLimited = "rate_limited",
    /// 500: a defect of the server.
    Internal = "internal",
    /// 503: something the server needs is away.
    Unavailable = "unavailable",
    /// 503: the node is about to stop.
    Draining = "draining",
    /// 503: the send may or may not have been accepted; it may be repeated.
    NotConfirmed = "not_confirmed",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_read_with_what_it_says_about_repeating() {
        let json = r#"{"type":"urn:pabal:problem:rate_limited","title":"Too many requests",
            "status":429,"detail":"slow down","code":"rate_limited","retry_after_ms":1500}"#;
        let problem: Problem = serde_json::from_str(json).unwrap();
        assert_eq!(problem.code, Code::RateLimited);
        assert_eq!(problem.retry_after, Some(Duration::from_millis(1_500)));
        assert!(problem.retryable());
        let json = r#"{"status":418,"code":"teapot"}"#;
        let problem: Problem = serde_json::from_str(json).unwrap();
        assert_eq!(problem.code.as_str(), "teapot");
        assert!(!Error::Problem(Box::new(problem)).retryable());
    }
}
