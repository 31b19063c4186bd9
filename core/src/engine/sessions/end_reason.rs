//! Why a session ended, and the problem that its client receives.

use crate::protocol::{Problem, ProblemCode};

/// Why a session ended. It never comes back: the client opens a new session with the cursors of its
/// channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// The client closed the session.
    Closed,
    /// The session was not read for the length of the resume window.
    Expired,
    /// The token that opened the session was revoked.
    LoggedOut,
    /// The node drains, or lost its lease.
    Draining,
}

impl From<EndReason> for Problem {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::LoggedOut => {
                Self::new(ProblemCode::Unauthenticated, "the token has ended: log in")
            }
            EndReason::Draining => Self::new(
                ProblemCode::SessionGone,
                "the node is stopping: open a new session with your channels' cursors",
            ),
            EndReason::Closed | EndReason::Expired => Self::new(
                ProblemCode::SessionGone,
                "the session has ended: open a new one with your channels' cursors",
            ),
        }
    }
}
