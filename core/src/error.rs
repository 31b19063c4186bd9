//! How the failures of ports look to clients: whatever is private stays in the log.

use std::time::Duration;

use crate::ports::{DirectoryError, InterestError, PresenceError};
use crate::protocol::{Problem, ProblemCode};

const RETRY_AFTER: Duration = Duration::from_millis(500);

fn unavailable(error: &dyn std::error::Error, what: &str) -> Problem {
    tracing::warn!(%error, "a port is away");
    Problem::new(ProblemCode::Unavailable, format!("{what} is away")).retry_after(RETRY_AFTER)
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
                unavailable(error, "the directory")
            }
            DirectoryError::Damaged(_) => {
                tracing::error!(%error, "the directory failed");
                Self::new(ProblemCode::Internal, "the directory cannot be read")
            }
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
