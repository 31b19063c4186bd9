//! Bodies: of responses, whole or streamed, and of requests, which are bounded in size and time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use pabal_core::engine::Reservation;
use pabal_core::protocol::{Problem, ProblemCode};
use tokio::time::timeout;

/// Why a body could not be read or produced to its end.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, as an HTTP server hands it over. Implemented for every body of [`Bytes`].
pub trait RequestBody:
    http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + 'static
{
}

impl<B> RequestBody for B where
    B: http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + 'static
{
}

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    /// All bytes are known; the response has a `Content-Length`.
    Full(Full<Bytes>),
    /// The same, with the bytes counted in the budget of the node until the body is dropped.
    Held(Full<Bytes>, Reservation),
    /// Frames are produced as they are polled for; the response is chunked in HTTP/1.1.
    Stream(UnsyncBoxBody<Bytes, BodyError>),
}

impl Body {
    /// A body of no bytes.
    pub fn empty() -> Self {
        Self::Full(Full::default())
    }

    /// All bytes, counted by `held` until the body is dropped.
    pub fn held(bytes: impl Into<Bytes>, held: Reservation) -> Self {
        Self::Held(Full::new(bytes.into()), held)
    }

    /// The bytes of a whole body, without polling or copying, and the reservation that counts them.
    ///
    /// # Errors
    /// The stream of a [`Stream`](Self::Stream) body, unread.
    pub fn into_full(
        self,
    ) -> Result<(Bytes, Option<Reservation>), UnsyncBoxBody<Bytes, BodyError>> {
        let (mut body, held) = match self {
            Self::Full(body) => (body, None),
            Self::Held(body, held) => (body, Some(held)),
            Self::Stream(body) => return Err(body),
        };
        let frame = body.frame().now_or_never().flatten().and_then(Result::ok);
        Ok((frame.and_then(|frame| frame.into_data().ok()).unwrap_or_default(), held))
    }

    /// Takes the reservation out: from now on the caller counts the bytes.
    pub fn take_held(&mut self) -> Option<Reservation> {
        match std::mem::replace(self, Self::empty()) {
            Self::Held(body, held) => {
                *self = Self::Full(body);
                Some(held)
            }
            other => {
                *self = other;
                None
            }
        }
    }

    /// A streamed body. Dropping it stops the producer.
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
            Self::Full(body) | Self::Held(body, _) => {
                Pin::new(body).poll_frame(cx).map_err(|never| match never {})
            }
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) | Self::Held(body, _) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Full(body) | Self::Held(body, _) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

/// The reservation of an answer, as an extension of a response whose body is not a [`Body`].
#[derive(Clone, Debug)]
pub struct Held(pub Arc<Reservation>);

/// What a request body may cost the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// The largest body, in bytes after chunked decoding.
    pub bytes: usize,
    /// From the end of the headers to the end of the body.
    pub timeout: Duration,
}

/// Reads a whole request body, which must be UTF-8 (RFC 8259 section 8.1).
///
/// At most [`BodyLimits::bytes`] are held in memory. A body whose `Content-Length` exceeds the limit is
/// refused before its first byte. Dropping the future drops the body, and with it the connection.
///
/// # Errors
/// `too_large`; `invalid` if the body is not UTF-8, was cut short or took too long to arrive. A retry
/// of the same body helps only in the last two cases.
pub async fn read_body<B: RequestBody>(body: B, limits: BodyLimits) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("body: at most {} bytes", limits.bytes);
        Problem::new(ProblemCode::TooLarge, detail)
    };
    if body.size_hint().lower() > limits.bytes as u64 {
        return Err(too_large());
    }
    let collected = timeout(limits.timeout, Limited::new(body, limits.bytes).collect())
        .await
        .map_err(|_| Problem::invalid("body", "took too long to arrive"))?;
    match collected {
        Ok(collected) => {
            let bytes = collected.to_bytes();
            // The JSON parser does not look into the fields that it skips.
            std::str::from_utf8(&bytes).map_err(|_| Problem::invalid("body", "is not UTF-8"))?;
            Ok(bytes)
        }
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => {
            // What the HTTP library says is for the log: it describes this server, not the request.
            tracing::debug!(%error, "a request body was cut short");
            Err(Problem::invalid("body", "was cut short"))
        }
    }
}

/// As [`read_body`], with the bytes counted in `held` before they are read: as many as
/// `Content-Length` announces, or else as many as are allowed. They stay counted until the caller
/// drops `held`, because what is parsed is as large.
///
/// # Errors
/// Those of [`read_body`], and those of [`Reservation::resize`]; a retry helps after the time that the
/// problem states.
pub async fn read_held_body<B: RequestBody>(
    body: B,
    limits: BodyLimits,
    held: &mut Reservation,
) -> Result<Bytes, Problem> {
    let expected = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let expected = expected.unwrap_or(limits.bytes);
    // A larger body is refused before its first byte.
    if expected <= limits.bytes {
        held.resize(expected)?;
    }
    let bytes = read_body(body, limits).await?;
    held.shrink_to(bytes.len());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits { bytes: 4, timeout: Duration::from_secs(1) };

    /// A body of these frames, after which it fails or ends.
    fn frames(
        frames: Vec<Result<&'static str, &'static str>>,
    ) -> impl http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static {
        let frames = frames
            .into_iter()
            .map(|frame| frame.map(|data| Frame::data(Bytes::from(data))).map_err(BodyError::from));
        StreamBody::new(futures::stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_within_the_limits_is_returned_whole() {
        let body = frames(vec![Ok("ab"), Ok("cd")]);
        assert_eq!(read_body(body, LIMITS).await.unwrap(), "abcd");
        assert_eq!(read_body(Body::empty(), LIMITS).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_too_large_whether_announced_or_not() {
        let announced = Full::new(Bytes::from("abcde"));
        let refused = read_body(announced, LIMITS).await.unwrap_err();
        assert_eq!(
            (refused.code, &*refused.detail),
            (ProblemCode::TooLarge, "body: at most 4 bytes")
        );
        let refused = read_body(frames(vec![Ok("abc"), Ok("de")]), LIMITS).await.unwrap_err();
        assert_eq!(refused.code, ProblemCode::TooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wrong_with_a_body_is_said_without_the_words_of_a_library() {
        let cut = frames(vec![Ok("a"), Err("hyper: connection reset, os error 104")]);
        let pending =
            StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, BodyError>>());
        for (body, detail) in [
            (Body::stream(cut), "was cut short"),
            (Body::stream(Full::new(Bytes::from_static(b"\"\xff\""))), "is not UTF-8"),
            (Body::stream(pending), "took too long to arrive"),
        ] {
            let refused = read_body(body, LIMITS).await.unwrap_err();
            assert_eq!(refused, Problem::invalid("body", detail));
        }
    }
}
