//! Problems as responses of handlers. Every handler fails with a [`Failure`], so every failure is
//! `application/problem+json`.

use axum::response::{IntoResponse, Response};
use pabal_core::ports::{DirectoryError, HistoryError, PresenceError, RegistryError};
use pabal_core::protocol::{Problem, ProblemCode};
use pabal_transports::problem_response;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub Problem);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        Self(error.into())
    }
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        Self(error.into())
    }
}

impl From<PresenceError> for Failure {
    fn from(error: PresenceError) -> Self {
        Self(error.into())
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        tracing::warn!(%error, "node registry unavailable");
        Self(Problem::new(ProblemCode::Unavailable, "the node registry is unavailable"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        problem_response(&self.0)
    }
}

/// The response for a path that does not exist.
pub(super) async fn unknown_path() -> Failure {
    Problem::new(ProblemCode::NotFound, "there is no such path").into()
}

/// The response for a method that a path does not have.
pub(super) async fn unknown_method() -> Failure {
    let detail = "this path does not have this method";
    Problem::new(ProblemCode::MethodNotAllowed, detail).into()
}
