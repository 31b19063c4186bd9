//! Requests that reached the wrong node. The id of a session names the node that has it, so a load
//! balancer needs no stickiness: polls, event streams and commands are forwarded to that node. A
//! WebSocket handshake is refused with the URL of that node, because the connection should not run
//! through two nodes.
//!
//! This module is an HTTP proxy in the sense of RFC 9110 section 7.6: it removes the headers of the
//! connection, and states itself for which client it forwards. The caller is known before the body of a
//! request is read, and responses are passed on as they come, so that neither fills the memory of a node
//! that only forwards.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::header::{self, CONTENT_TYPE, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body::Frame;
use http_body_util::{BodyStream, Full, StreamBody};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use pabal_core::engine::{BudgetKind, Engine};
use pabal_core::model::{NodeId, SessionId};
use pabal_core::ports::NodeInfo;
use pabal_core::protocol::{Problem, ProblemCode};
use pabal_transports::http::bearer;
use pabal_transports::{
    Body, BodyError, BodyLimits, ConnectionMeter, RequestBody, Requests, problem_response,
    read_held_body,
};
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, PublicUrl};
use crate::https::{Https, HttpsError, client_for};

/// Names the node that forwarded a request. A request that has it is not forwarded again. Nodes of
/// other versions read this header, so its name stays.
const FORWARDED_BY: HeaderName = HeaderName::from_static("pabal-passed-on-by");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const SESSIONS: &str = "/v1/sessions/";
/// How long the response of a node may take, beyond the longest wait of a poll, and each part of it.
const RESPONSE_WITHIN: Duration = Duration::from_secs(10);
/// After how long a client should retry when the node of its session is unavailable.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Headers that concern one connection and not the message (RFC 9110 section 7.6.1), and those that the
/// HTTP client sets itself.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
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
    /// How many requests were forwarded since the start.
    forwarded: AtomicU64,
    https: Https,
    requests: Requests,
    body: BodyLimits,
    response_within: Duration,
    /// Cancelled when this node stops.
    leaving: CancellationToken,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("of", self.inner.engine.node()).finish_non_exhaustive()
    }
}

impl Peers {
    /// Those that share the ports of `engine`, which are reached as this node is, by `url`. A request
    /// counts among `requests` before it is forwarded.
    pub(crate) fn new(
        engine: Engine,
        requests: Requests,
        config: &Config,
        url: &PublicUrl,
    ) -> Result<Self, HttpsError> {
        let limits = &config.limits;
        let uri = Uri::try_from(url.http()).unwrap_or_default();
        let inner = Inner {
            engine,
            forwarded: AtomicU64::new(0),
            https: client_for(&uri)?,
            requests,
            body: BodyLimits {
                bytes: limits.body_bytes,
                timeout: Duration::from_millis(config.server.body_timeout_ms),
            },
            response_within: Duration::from_millis(limits.long_poll_max_wait_ms) + RESPONSE_WITHIN,
            leaving: CancellationToken::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Ends the reads that run through this node, which is about to stop: event streams end, and polls
    /// get `unavailable`. Neither consumed an event, so clients continue through another node.
    pub(crate) fn leave(&self) {
        self.inner.leaving.cancel();
    }

    /// How many requests were forwarded since the start.
    pub(crate) fn forwarded(&self) -> u64 {
        self.inner.forwarded.load(Ordering::Relaxed)
    }

    /// The node that the session of a request names, if that is another one. Every request to a session
    /// passes here, so nothing is allocated for those of this node.
    pub(crate) fn elsewhere<B>(&self, request: &Request<B>) -> Option<NodeId> {
        let id = request.uri().path().strip_prefix(SESSIONS)?.split('/').next()?;
        let (_, node) = id.split_once('.')?;
        let here = node == self.inner.engine.node().as_str();
        // One hop at most: two nodes that disagree would forward to each other for ever.
        if here || request.headers().contains_key(FORWARDED_BY) {
            return None;
        }
        let id: SessionId = id.parse().ok()?;
        Some(id.node().clone())
    }

    /// Forwards the request of `client`, which came on a connection, to `node` and returns the response of
    /// that node.
    pub(crate) async fn forward<B: RequestBody>(
        self,
        node: NodeId,
        request: Request<B>,
        (client, connection): (IpAddr, Arc<ConnectionMeter>),
    ) -> Response<Body> {
        let reads = request.method() == Method::GET;
        let response = tokio::select! {
            response = self.inner.forward(node, request, (client, connection)) => response,
            () = self.inner.leaving.cancelled(), if reads => Err(leaving()),
        };
        response.unwrap_or_else(|problem| problem_response(&problem))
    }
}

impl Inner {
    async fn forward<B: RequestBody>(
        &self,
        node: NodeId,
        request: Request<B>,
        (client, connection): (IpAddr, Arc<ConnectionMeter>),
    ) -> Result<Response<Body>, Problem> {
        let (mut head, body) = request.into_parts();
        // Whether the session is the caller's, its node decides.
        let token = bearer::token_or_subprotocol(&head.headers)?;
        let access = self.engine.authenticate(token).await?;
        self.requests.of_user(access.device.user_id)?;
        let peer = self.engine.find_node(&node).await.map_err(|error| {
            tracing::warn!(%error, "request not forwarded: node registry unavailable");
            unavailable()
        })?;
        let peer = peer.ok_or_else(gone)?;
        if head.uri.path().ends_with("/websocket") {
            return Err(wrong_node(&peer, head.uri.path()));
        }
        // Counted until the other node has the body, and its response began.
        let holder = connection.holder(Some(access.device.user_id));
        let mut held = self.engine.budget().reserve(BudgetKind::Bodies, holder, 0)?;
        let body = read_held_body(body, self.body, &mut held).await?;
        let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let uri = Uri::try_from(format!("{}{path}", peer.peer_url)).map_err(|_| gone())?;
        remove_hop_by_hop(&mut head.headers);
        self.name_client(&mut head.headers, client).map_err(|_| gone())?;
        let polls = head.method == Method::GET;
        let mut forwarded = Request::new(Full::new(body));
        (*forwarded.method_mut(), *forwarded.uri_mut()) = (head.method, uri);
        *forwarded.headers_mut() = head.headers;
        self.forwarded.fetch_add(1, Ordering::Relaxed);
        let response = timeout(self.response_within, self.https.request(forwarded)).await;
        let response = match response {
            Ok(Ok(response)) => response,
            // The sessions of a process end with it.
            Ok(Err(error)) if is_refused(&error) => return Err(gone()),
            Ok(Err(error)) => {
                tracing::info!(%error, %node, polls, "forwarded request failed");
                return Err(unavailable());
            }
            Err(_) => {
                tracing::info!(%node, polls, "forwarded request timed out");
                return Err(unavailable());
            }
        };
        Ok(self.relay(response))
    }

    /// Says who forwards, and for which client. `Forwarded` (RFC 7239) is replaced: what a client wrote
    /// into it would contradict `X-Forwarded-For`, and the request would count for this node.
    fn name_client(
        &self,
        headers: &mut HeaderMap,
        client: IpAddr,
    ) -> Result<(), InvalidHeaderValue> {
        let client = client.to_canonical();
        let node = match client {
            IpAddr::V4(address) => format!("for={address}"),
            IpAddr::V6(address) => format!("for=\"[{address}]\""),
        };
        headers.insert(FORWARDED_BY, HeaderValue::try_from(self.engine.node().as_str())?);
        headers.insert(header::FORWARDED, HeaderValue::try_from(node)?);
        headers.append(X_FORWARDED_FOR, HeaderValue::try_from(client.to_string())?);
        Ok(())
    }

    /// The response of a node as this node returns it: as it comes.
    fn relay(&self, response: Response<Incoming>) -> Response<Body> {
        let (mut head, body) = response.into_parts();
        remove_hop_by_hop(&mut head.headers);
        head.headers.remove(header::DATE);
        let events = head
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let body = if events {
            let leaving = self.leaving.clone().cancelled_owned();
            Body::stream(StreamBody::new(BodyStream::new(body).take_until(leaving)))
        } else {
            Body::stream(Relayed { body, late: None })
        };
        head.version = http::Version::HTTP_11;
        Response::from_parts(head, body)
    }
}

/// The body of a response of another node, which fails if that node stops in the middle of it. A client
/// that reads slowly does not make it fail: the wait counts only while the client waits for more.
struct Relayed {
    body: Incoming,
    /// The deadline of the next part; nearly always absent.
    late: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Relayed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.late = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(RESPONSE_WITHIN)));
        late.as_mut()
            .poll(cx)
            .map(|()| Some(Err("the session's node stopped in a response".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// Removes what concerns the connection that a message came on: the headers that RFC 9110 section 7.6.1
/// lists, and those that `Connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let connection = headers.get_all(header::CONNECTION).iter();
    let options = connection.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    let named: Vec<HeaderName> =
        options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Whether no process listens at the address of the node.
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

fn unavailable() -> Problem {
    let detail = "the session's node is unavailable; it may have carried the request out";
    Problem::new(ProblemCode::Unavailable, detail).retry_after(RETRY_AFTER)
}

fn leaving() -> Problem {
    let detail = "the node that forwarded this request is stopping: retry through another node";
    Problem::new(ProblemCode::Unavailable, detail).retry_after(RETRY_AFTER)
}

fn wrong_node(peer: &NodeInfo, path: &str) -> Problem {
    let detail = "the session lives on another node: connect there";
    // A node announces the URL of the one-step WebSocket; sessions are below the same base.
    let base = peer.websocket_url.strip_suffix("/v1/websocket").unwrap_or(&peer.url);
    Problem::new(ProblemCode::WrongNode, detail).at(format!("{base}{path}"))
}

#[cfg(test)]
mod tests;
