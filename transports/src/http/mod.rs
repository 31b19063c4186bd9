//! The HTTP that all parts of the server share: bodies, bearer tokens, JSON documents, problems and
//! the parameters of polls. The transports and the API service use the same functions, so a rule has
//! one form and one text on every path.

pub mod body;
pub mod bearer;
pub mod json;
pub mod problem;
mod query;

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use pabal_core::protocol::{Problem, ProblemCode};

pub use body::{Body, BodyError, BodyLimits, Held, RequestBody, read_body, read_held_body};
pub use problem::{problem_response, problem_response_with_status};
pub use query::Query;

/// A response with a JSON body.
pub(crate) fn json_response(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Refuses every method but one.
///
/// # Errors
/// `method_not_allowed`. Do not retry.
pub(crate) fn require_method<B>(request: &Request<B>, method: &Method) -> Result<(), Problem> {
    if request.method() == method {
        return Ok(());
    }
    Err(Problem::new(ProblemCode::MethodNotAllowed, format!("only {method} is allowed here")))
}

/// Adds `Allow` to a 405 response, as RFC 9110 section 15.5.6 requires.
pub(crate) fn with_allow(mut response: Response<Body>, allow: &'static str) -> Response<Body> {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}
