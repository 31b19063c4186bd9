//! Problems as HTTP answers: `application/problem+json`, whatever went wrong. The only way in which
//! a handler fails.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use pabal_core::ports::{DirectoryError, HistoryError, PresenceError, RegistryError};
use pabal_core::protocol::{Problem, ProblemCode};

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
        tracing::warn!(%error, "a port is away");
        Self(Problem::new(ProblemCode::Unavailable, "the node registry is away"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let status = StatusCode::from_u16(problem.code.status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = problem.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// For paths that are not there.
pub(super) async fn unknown_path() -> Failure {
    Problem::new(ProblemCode::NotFound, "there is no such path").into()
}

/// For methods that a path does not have.
pub(super) async fn unknown_method() -> Failure {
    let detail = "this path does not have this method";
    Problem::new(ProblemCode::MethodNotAllowed, detail).into()
}
