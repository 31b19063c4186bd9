//! How clients see the errors of ports. The only place that decides it: private detail goes to the
//! log, a [`Problem`] to the client.

use std::error::Error;
use std::time::Duration;

use crate::ports::{DirectoryError, HistoryError, InterestError, LogError, PresenceError};
use crate::protocol::{Problem, ProblemCode};

/// When to retry a call to a port that was unavailable.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// When to retry a send that the log refused. A full log has capacity again after the next batch.
const RETRY_SEND_AFTER: Duration = Duration::from_millis(200);

fn unavailable(error: &dyn Error, port: &str) -> Problem {
    tracing::warn!(%error, "{port} unavailable");
    Problem::new(ProblemCode::Unavailable, format!("{port} unavailable")).retry_after(RETRY_AFTER)
}

fn failed(error: &dyn Error, port: &str) -> Problem {
    tracing::error!(%error, "{port} failed");
    Problem::new(ProblemCode::Internal, format!("{port} cannot be read"))
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Exhausted(_) => {
                tracing::error!(%error, "a send was refused; see docs/reliability.md");
            }
            _ => tracing::warn!(%error, "a send was refused"),
        }
        Self::new(ProblemCode::Unavailable, "the message cannot be accepted now")
            .retry_after(RETRY_SEND_AFTER)
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        if error.retryable() { unavailable(&error, "history") } else { failed(&error, "history") }
    }
}

impl From<&DirectoryError> for Problem {
    fn from(error: &DirectoryError) -> Self {
        match error {
            DirectoryError::UsernameTaken => {
                Self::new(ProblemCode::UsernameTaken, error.to_string())
            }
            DirectoryError::UnknownUser(_) | DirectoryError::UnknownChannel => {
                Self::new(ProblemCode::NotFound, error.to_string())
            }
            DirectoryError::UserDisabled(_) => {
                Self::new(ProblemCode::Forbidden, "this account is disabled")
            }
            DirectoryError::GroupFull => Self::invalid("members", "the group is full"),
            DirectoryError::IdTaken | DirectoryError::Unavailable(_) => {
                unavailable(error, "directory")
            }
            DirectoryError::Damaged(_) => failed(error, "directory"),
        }
    }
}

impl From<DirectoryError> for Problem {
    fn from(error: DirectoryError) -> Self {
        Self::from(&error)
    }
}

impl From<PresenceError> for Problem {
    fn from(error: PresenceError) -> Self {
        unavailable(&error, "presence")
    }
}

impl From<InterestError> for Problem {
    fn from(error: InterestError) -> Self {
        unavailable(&error, "interest")
    }
}
