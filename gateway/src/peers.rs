//! Requests that reached the wrong node. The id of a session names the node that has it, so no load
//! balancer need know: polls, event streams and commands are passed on to that node, and a WebSocket
//! handshake, whose connection should not run through two nodes, is answered with where to go.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use http::header::{self, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, BodyStream, Full, Limited, StreamBody};
use hyper_util::client::legacy;
use pabal_core::engine::Engine;
use pabal_core::model::{NodeId, SessionId};
use pabal_core::ports::NodeInfo;
use pabal_core::protocol::{Problem, ProblemCode};
use pabal_transports::{Body, RequestBody, problem_response, read_body};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, PublicUrl};
use crate::https::{Https, HttpsError, client_for};

/// Says that a node passed a request on, and which: it is not passed on again.
const PASSED_ON: HeaderName = HeaderName::from_static("pabal-passed-on-by");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const SESSIONS: &str = "/v1/sessions/";
/// How much longer than a poll may wait its answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// When a client should try again that could not be answered.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// What an answer may have beyond the events in it.
const ANSWER_BYTES: usize = 64 * 1024;

/// What speaks of one connection, and not of the request (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
];

/// The other nodes, seen from this one. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    passed_on: AtomicU64,
    https: Https,
    body: (usize, Duration),
    answer_bytes: usize,
    answer_within: Duration,
    leaving: CancellationToken,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("of", self.inner.engine.node()).finish_non_exhaustive()
    }
}

impl Peers {
    /// Those that share the ports of `engine`, which are reached as this node is, by `url`.
    pub(crate) fn new(
        engine: Engine,
        config: &Config,
        url: &PublicUrl,
    ) -> Result<Self, HttpsError> {
        let limits = &config.limits;
        let uri = Uri::try_from(url.http()).unwrap_or_default();
        let inner = Inner {
            engine,
            passed_on: AtomicU64::new(0),
            https: client_for(&uri)?,
            body: (limits.body_bytes, Duration::from_millis(config.server.body_timeout_ms)),
            // Content is escaped in JSON, at most six bytes for one.
            answer_bytes: limits.mailbox_bytes.saturating_mul(6) + ANSWER_BYTES,
            answer_within: Duration::from_millis(limits.long_poll_max_wait_ms) + ANSWER_WITHIN,
            leaving: CancellationToken::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// This node stops: what clients read from others through it, they read through another one. Event
    /// streams end, polls are answered `unavailable`; both consumed nothing.
    pub(crate) fn leave(&self) {
        self.inner.leaving.cancel();
    }

    /// How many requests were passed on.
    pub(crate) fn passed_on(&self) -> u64 {
        self.inner.passed_on.load(Ordering::Relaxed)
    }

    /// The node that the session of a request names, if that is not this one. Cheap: every request
    /// is asked.
    pub(crate) fn elsewhere<B>(&self, request: &Request<B>) -> Option<NodeId> {
        let id = request.uri().path().strip_prefix(SESSIONS)?.split('/').next()?;
        let (_, node) = id.split_once('.')?;
        let here = node == self.inner.engine.node().as_str();
        // A node that is told of a session it does not have is not the one its client means.
        if here || request.headers().contains_key(PASSED_ON) {
            return None;
        }
        let id: SessionId = id.parse().ok()?;
        Some(id.node().clone())
    }

    /// Has `node` answer the request of `client`.
    pub(crate) async fn answer<B: RequestBody>(
        self,
        node: NodeId,
        request: Request<B>,
        client: IpAddr,
    ) -> Response<Body> {
        let reads = request.method() == Method::GET;
        let answer = tokio::select! {
            answer = self.inner.pass_on(node, request, client) => answer,
            () = self.inner.leaving.cancelled(), if reads => Err(leaving()),
        };
        answer.unwrap_or_else(|problem| problem_response(&problem))
    }
}

impl Inner {
    async fn pass_on<B: RequestBody>(
        &self,
        node: NodeId,
        request: Request<B>,
        client: IpAddr,
    ) -> Result<Response<Body>, Problem> {
        let (mut head, body) = request.into_parts();
        let peer = self.engine.find_node(&node).await.map_err(|error| {
            tracing::warn!(%error, "a request is not passed on");
            away()
        })?;
        let peer = peer.ok_or_else(gone)?;
        if head.uri.path().ends_with("/websocket") {
            return Err(wrong_node(&peer, head.uri.path()));
        }
        let body = read_body(body, self.body).await?;
        let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let uri = Uri::try_from(format!("{}{path}", peer.peer_url)).map_err(|_| gone())?;
        remove_hop_by_hop(&mut head.headers);
        let named = HeaderValue::try_from(self.engine.node().as_str()).map_err(|_| gone())?;
        head.headers.insert(PASSED_ON, named);
        let client = HeaderValue::try_from(client.to_string()).map_err(|_| gone())?;
        head.headers.append(X_FORWARDED_FOR, client);
        let polls = head.method == Method::GET;
        let mut passed = Request::new(Full::new(body));
        (*passed.method_mut(), *passed.uri_mut()) = (head.method, uri);
        *passed.headers_mut() = head.headers;
        self.passed_on.fetch_add(1, Ordering::Relaxed);
        let answer = timeout(self.answer_within, self.https.request(passed)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            // Its sessions ended with the process that had them.
            Ok(Err(error)) if is_refused(&error) => return Err(gone()),
            Ok(Err(error)) => {
                tracing::info!(%error, %node, polls, "a node did not answer");
                return Err(away());
            }
            Err(_) => {
                tracing::info!(%node, polls, "a node did not answer in time");
                return Err(away());
            }
        };
        let (mut head, body) = answer.into_parts();
        remove_hop_by_hop(&mut head.headers);
        head.headers.remove(header::DATE);
        let streams = head
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let body = if streams {
            let leaving = self.leaving.clone().cancelled_owned();
            Body::stream(StreamBody::new(BodyStream::new(body).take_until(leaving)))
        } else {
            let whole = timeout(ANSWER_WITHIN, Limited::new(body, self.answer_bytes).collect());
            let whole = whole.await.ok().and_then(Result::ok).ok_or_else(away)?;
            Body::from(whole.to_bytes())
        };
        head.version = http::Version::HTTP_11;
        Ok(Response::from_parts(head, body))
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Nobody listens there: the process is gone.
fn is_refused(error: &legacy::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}

fn gone() -> Problem {
    Problem::new(
        ProblemCode::SessionGone,
        "the session's node is gone: open a new session with your channels' cursors",
    )
}

fn away() -> Problem {
    let detail = "the session's node does not answer; what was asked of it may have been done";
    Problem::new(ProblemCode::Unavailable, detail).retry_after(RETRY_AFTER)
}

fn leaving() -> Problem {
    let detail = "the node that passed this on stops: ask again, another one answers";
    Problem::new(ProblemCode::Unavailable, detail).retry_after(RETRY_AFTER)
}

fn wrong_node(peer: &NodeInfo, path: &str) -> Problem {
    let detail = "the session lives on another node: connect there";
    // As it announces where to open one in one step.
    let base = peer.websocket_url.strip_suffix("/v1/websocket").unwrap_or(&peer.url);
    Problem::new(ProblemCode::WrongNode, detail).at(format!("{base}{path}"))
}
