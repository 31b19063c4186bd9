//! The transfer codings of a request (RFC 9112 section 6.1). `chunked` is the only one that is decoded
//! here. Any other would reach the handlers as the content of the body.

use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode};
use pabal_core::protocol::Problem;
use pabal_transports::{Body, problem_response_with_status};

/// Whether a request has no transfer coding, or `chunked` alone.
pub(super) fn is_known<B>(request: &Request<B>) -> bool {
    let values = request.headers().get_all(TRANSFER_ENCODING).iter();
    let mut codings = values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty());
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// The response to a request whose coding is not [known](is_known): 501, and the end of the connection.
pub(super) fn refuse() -> Response<Body> {
    let problem = Problem::invalid("transfer-encoding", "must be chunked, and nothing else");
    let mut response = problem_response_with_status(StatusCode::NOT_IMPLEMENTED, &problem);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
