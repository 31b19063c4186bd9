//! Problems as HTTP responses: `application/problem+json` (RFC 9457), on every path.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use pabal_core::protocol::{Problem, ProblemCode};
use serde_json::json;

/// The response for a problem: its status, `Retry-After` in whole seconds if it is worth a retry, and
/// `WWW-Authenticate: Bearer` with a 401 (RFC 9110 sections 10.2.3 and 11.6.1). For any type of body
/// that bytes can become.
pub fn problem_response<B: From<Bytes>>(problem: &Problem) -> Response<B> {
    let status = StatusCode::from_u16(problem.code.status());
    problem_response_with_status(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), problem)
}

/// As [`problem_response`], for a status that no [`ProblemCode`] has. The member `status` of the body
/// is the same (RFC 9457 section 3.1.2).
#[expect(clippy::expect_used, reason = "problems are plain strings and always serialise")]
pub fn problem_response_with_status<B: From<Bytes>>(
    status: StatusCode,
    problem: &Problem,
) -> Response<B> {
    const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
    let body = if status == problem.code.status() {
        serde_json::to_vec(problem)
    } else {
        let mut members = json!(problem);
        members["status"] = status.as_u16().into();
        serde_json::to_vec(&members)
    };
    let body = body.expect("a problem serialises");
    let mut response = Response::new(B::from(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, PROBLEM_JSON);
    if let Some(seconds) = problem.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.code == ProblemCode::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn response(problem: &Problem) -> Response<Bytes> {
        problem_response(problem)
    }

    #[test]
    fn a_problem_worth_a_retry_has_the_retry_after_header() {
        let draining = Problem::new(ProblemCode::Draining, "this node is stopping");
        assert_eq!(response(&draining).headers()[RETRY_AFTER], "1");
        let later = draining.retry_after(Duration::from_millis(1_500));
        assert_eq!(response(&later).headers()[RETRY_AFTER], "2");
        let gone = Problem::new(ProblemCode::SessionGone, "the session has ended");
        assert!(!response(&gone).headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn the_body_states_the_status_of_the_response() {
        let problem = Problem::invalid("host", "must be given once");
        for status in [StatusCode::UNPROCESSABLE_ENTITY, StatusCode::BAD_REQUEST] {
            let response: Response<Bytes> = problem_response_with_status(status, &problem);
            let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!((response.status(), &body["status"]), (status, &json!(status.as_u16())));
            assert_eq!(body["code"], "invalid");
        }
    }
}
