//! Errors, and whether a retry can help.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// Why a call, a send or a connection failed. [`retryable`](Self::retryable) says whether a retry can help.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused the request. Retry if [`Problem::retryable`].
    #[error("{0}")]
    Problem(Box<Problem>),
    /// No connection was established, it broke, or there was no response in time. The server may have
    /// acted. Retry idempotent calls.
    #[error("no response from the server: {0}")]
    Unreachable(String),
    /// The response is not one of a Pabal server; a proxy may have sent it. Retry if the status says that
    /// the failure is temporary (429, 502, 503, 504).
    #[error("not a response of a Pabal server (status {status}): {detail}")]
    Foreign {
        /// The HTTP status.
        status: u16,
        /// What is wrong with the response, for people.
        detail: String,
    },
    /// A send was not confirmed before its deadline. The channel may hold the message. A retry with the same
    /// `client_message_id` is safe for 24 hours.
    #[error("the send was not confirmed in time")]
    NotConfirmed,
    /// As many sends are waiting as [`Options::sends`](crate::Options::sends) allows. Retry when one of them
    /// has finished.
    #[error("too many sends are waiting")]
    TooManySends,
    /// The connection has ended. Do not retry on it.
    #[error("the connection is closed")]
    Closed,
    /// A value that the caller passed cannot be used: a URL, a certificate, a token. Do not retry.
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

    /// The server's code for the refusal; `None` for other errors.
    pub fn code(&self) -> Option<&Code> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// How long to wait before a retry, if the server named a time.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem(problem) => problem.retry_after,
            _ => None,
        }
    }

    /// Whether the token has ended, so that the user has to log in again.
    pub fn is_unauthenticated(&self) -> bool {
        self.code() == Some(&Code::Unauthenticated)
    }
}

/// Why the server refused a request: a problem document (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The kind of problem, for programs. Stable between versions.
    pub code: Code,
    /// The HTTP status of the response.
    pub status: u16,
    /// What happened, for people. The text may change between versions.
    pub detail: String,
    /// How long to wait before a retry, if the server named a time; millisecond precision.
    pub retry_after: Option<Duration>,
    /// The fields of the request that are invalid; empty unless the code is [`Code::Invalid`].
    pub errors: Vec<FieldError>,
    /// The URL of the node to use instead, if the server named one.
    pub url: Option<String>,
}

/// An invalid field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct FieldError {
    /// The name of the field.
    pub field: String,
    /// What the field must be, for people.
    #[serde(default)]
    pub detail: String,
}

impl Problem {
    /// Whether the same request may succeed later: status 429 and 503.
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
        /// The kind of a problem. Codes are stable between versions of the server; new ones may be added.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)+
            /// A code that this version of the crate does not know.
            Other(String),
        }

        impl Code {
            fn of(text: &str) -> Self {
                match text {
                    $($text => Self::$name,)+
                    _ => Self::Other(text.to_owned()),
                }
            }

            /// The code as it is on the wire.
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
    /// 401: the token is missing, unknown or has ended. Log in; do not retry.
    Unauthenticated = "unauthenticated",
    /// 403: the caller is not a member of this channel, or it does not exist. Do not retry.
    NotAMember = "not_a_member",
    /// 403: the other user has blocked the caller. Do not retry.
    Blocked = "blocked",
    /// 403: the caller's role does not allow this. Do not retry.
    Forbidden = "forbidden",
    /// 404: the resource does not exist. Do not retry.
    NotFound = "not_found",
    /// 409: the username is in use. Do not retry.
    UsernameTaken = "username_taken",
    /// 410: the session has ended. Open another one; a [`Connection`](crate::Connection) does so by itself.
    SessionGone = "session_gone",
    /// 413: the request is larger than the limit that the detail names. Do not retry.
    TooLarge = "too_large",
    /// 421: another node, at [`Problem::url`], has the session. A [`Connection`](crate::Connection) follows
    /// by itself.
    WrongNode = "wrong_node",
    /// 422: [`Problem::errors`] names the fields that are invalid. Do not retry.
    Invalid = "invalid",
    /// 429: the caller exceeds a rate or a limit. Retry after [`Problem::retry_after`].
    RateLimited = "rate_limited",
    /// 500: a defect of the server. Do not retry at once.
    Internal = "internal",
    /// 503: a store that the server needs is unavailable. Retry.
    Unavailable = "unavailable",
    /// 503: the node is about to stop. Retry on another node.
    Draining = "draining",
    /// 503: the channel may hold the message. Retry with the same `client_message_id`.
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
    fn a_problem_is_parsed_with_its_advice_on_retries() {
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
