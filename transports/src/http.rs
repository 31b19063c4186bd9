//! The little of HTTP that transports share: bodies, problems, queries.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use pabal_core::model::Seq;
use pabal_core::protocol::{Problem, ProblemCode};
use tokio::time::timeout;

/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, as whatever serves connections hands it over.
pub trait RequestBody:
    http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + 'static
{
}

impl<B> RequestBody for B where
    B: http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + 'static
{
}

/// The body of an answer: at once and of known length, or a stream.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Full(Full<Bytes>),
    /// Bit by bit.
    Stream(UnsyncBoxBody<Bytes, BodyError>),
}

impl Body {
    /// A body with nothing in it.
    pub fn empty() -> Self {
        Self::Full(Full::default())
    }

    /// All of it, if it is at once.
    ///
    /// # Errors
    /// The stream that it is.
    pub fn into_full(self) -> Result<Bytes, UnsyncBoxBody<Bytes, BodyError>> {
        let mut body = match self {
            Self::Full(body) => body,
            Self::Stream(body) => return Err(body),
        };
        let frame = body.frame().now_or_never().flatten().and_then(Result::ok);
        Ok(frame.and_then(|frame| frame.into_data().ok()).unwrap_or_default())
    }

    /// Wraps a body that is produced bit by bit.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + 'static,
    {
        Self::Stream(body.map_err(Into::into).boxed_unsync())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Full(Full::new(bytes))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An answer with a JSON body.
pub(crate) fn json_response(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// A problem as an answer, RFC 9457.
#[expect(clippy::expect_used, reason = "problems are plain strings and always serialise")]
pub fn problem_response(problem: &Problem) -> Response<Body> {
    let body = serde_json::to_vec(problem).expect("a problem serialises");
    let status = StatusCode::from_u16(problem.code.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(status, body);
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

/// Refuses every method but one.
pub(crate) fn require_method<B>(request: &Request<B>, method: &Method) -> Result<(), Problem> {
    if request.method() == method {
        return Ok(());
    }
    Err(Problem::new(ProblemCode::MethodNotAllowed, format!("only {method} is allowed here")))
}

/// As [`problem_response`], naming the method that would do.
pub(crate) fn with_allow(mut response: Response<Body>, allow: &'static str) -> Response<Body> {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// Reads a body of UTF-8, of at most `limit` bytes, which arrives `within` so long.
///
/// # Errors
/// `too_large`; `invalid` if it is no UTF-8, is cut short or takes too long.
pub async fn read_body<B: RequestBody>(
    body: B,
    (limit, within): (usize, Duration),
) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(ProblemCode::TooLarge, format!("body: at most {limit} bytes"));
    // What says itself that it is too large need not arrive first.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let collected = timeout(within, Limited::new(body, limit).collect())
        .await
        .map_err(|_| Problem::invalid("body", "took too long to arrive"))?;
    match collected {
        Ok(collected) => {
            let bytes = collected.to_bytes();
            // The parser would not look into fields that nobody reads.
            std::str::from_utf8(&bytes).map_err(|_| Problem::invalid("body", "is not UTF-8"))?;
            Ok(bytes)
        }
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(Problem::invalid("body", format!("was cut short: {error}"))),
    }
}

/// The parameters of polls: plain numbers, so nothing needs percent-decoding.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(crate) fn new(query: &'a str) -> Self {
        Self(query)
    }

    fn get(self, name: &str) -> Option<&'a str> {
        self.0.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then_some(value)
        })
    }

    /// The highest seq the client has; absent, the session knows.
    ///
    /// # Errors
    /// `invalid`.
    pub fn after(self) -> Result<Option<Seq>, Problem> {
        let parse = |text: &str| {
            text.parse().map_err(|_| Problem::invalid("after", "must be a decimal number"))
        };
        self.get("after").map(parse).transpose()
    }

    /// A whole number.
    ///
    /// # Errors
    /// `invalid`.
    pub fn number(self, name: &'static str) -> Result<Option<u64>, Problem> {
        let parse =
            |text: &str| text.parse().map_err(|_| Problem::invalid(name, "must be a whole number"));
        self.get(name).map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_that_is_worth_a_retry_has_the_header() {
        let draining = Problem::new(ProblemCode::Draining, "this node is stopping");
        assert_eq!(problem_response(&draining).headers()[RETRY_AFTER], "1");
        let later = draining.retry_after(std::time::Duration::from_millis(1_500));
        assert_eq!(problem_response(&later).headers()[RETRY_AFTER], "2");
        let gone = Problem::new(ProblemCode::SessionGone, "the session has ended");
        assert!(!problem_response(&gone).headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn a_query_gives_numbers_or_says_which_is_wrong() {
        let query = Query::new("wait_ms=50&after=7&limit=x");
        assert_eq!(query.after(), Ok(Some(Seq::new(7))));
        assert_eq!(query.number("wait_ms"), Ok(Some(50)));
        assert_eq!(query.number("absent"), Ok(None));
        let problem = query.number("limit").unwrap_err();
        assert_eq!(problem.errors[0].field, "limit");
        assert!(Query::new("after=-1").after().is_err());
    }
}
