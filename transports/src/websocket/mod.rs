//! WebSocket (RFC 6455): one connection, or one stream of HTTP/2 (RFC 8441). The server sends batches
//! as text frames; the client sends acknowledgements and commands.
//!
//! The handshake is here; [`socket`] is the loop of an open connection, [`outgoing`] writes frames,
//! [`fragments`] counts what comes in, [`arrival`] tells when there may be something to read.

mod arrival;
mod fragments;
mod outgoing;
mod socket;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Request, Response, StatusCode};
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use pabal_core::protocol::Problem;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::connection::{Connection, Wire};
use crate::http::{Body, problem_response_with_status, require_method};
use crate::requests::Requests;
use crate::transport::{Attach, Location, Transport, respond};
use socket::{Socket, SocketContext};

/// The subprotocol the server speaks.
const SUBPROTOCOL: &str = "pabal.v1";

/// `GET …/websocket?after=<seq>`.
///
/// A socket is closed when its session or its token ends, when another reader attaches, and when the client breaks
/// the protocol or exceeds a limit; [`Close`](crate::close::Close) lists the codes.
#[derive(Clone, Debug)]
pub struct WebSocket {
    /// How often the client is pinged. After two pings without any frame from the client, the connection
    /// is dropped.
    pub ping_interval: Duration,
    /// The largest frame and message from a client, in bytes of payload.
    pub max_message_bytes: usize,
    requests: Requests,
    sockets: TaskTracker,
}

impl WebSocket {
    /// A transport without open sockets. Every frame of a client counts as one of its user's `requests`.
    pub fn new(ping_interval: Duration, max_message_bytes: usize, requests: Requests) -> Self {
        let sockets = TaskTracker::new();
        Self { ping_interval, max_message_bytes, requests, sockets }
    }

    /// Waits until every socket has closed, at most `grace`. A socket closes when its session ends, within
    /// the time that a client has for the closing handshake.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        self.sockets.close();
        if tokio::time::timeout(grace, self.sockets.wait()).await.is_err() {
            tracing::warn!(sockets = self.sockets.len(), "some sockets did not close in time");
        }
    }

    /// Accepts the handshake and serves the socket in a task of its own: else the future of the whole HTTP
    /// connection would stay alive under the socket. `greeting` is the first frame.
    ///
    /// # Errors
    /// `invalid`, `method_not_allowed`: do not retry. `session_gone`: open a new session. A handshake that
    /// violates RFC 6455 is a response of 400 or 426 instead.
    pub(crate) fn open(
        &self,
        mut attach: Attach,
        greeting: Option<Bytes>,
    ) -> Result<Response<Body>, Problem> {
        let kind = HandshakeKind::of(&attach.request)?;
        let after = attach.session.position(attach.query().after()?)?;
        let response = match handshake(kind, attach.request.headers()) {
            Ok(accepted) => accepted,
            Err(refused) => return Ok(refused),
        };
        let upgrade = hyper::upgrade::on(&mut attach.request);
        let open = attach.request.extensions_mut().remove::<WhileOpen>();
        let Attach { engine, session, grant, meter, connection, .. } = attach;
        // Attached before the response: a client that changes transport has one reader at every moment.
        let reader = session.attach_with(grant);
        session.confirm(after);
        let this = self.clone();
        self.sockets.spawn(async move {
            let upgraded = match upgrade.await {
                Ok(upgraded) => upgraded,
                Err(error) => return tracing::debug!(%error, "upgrade to WebSocket failed"),
            };
            let context =
                SocketContext { engine, reader, meter, connection, after, greeting, open };
            type Plain = TokioIo<Connection<Wire<TcpStream>>>;
            // A task of its own once more: the future of this one keeps space for all of the above.
            match upgraded.downcast::<Plain>() {
                Ok(parts) => {
                    let stream = parts.io.into_inner();
                    let socket = Socket::new(stream, parts.read_buf, context, &this).await;
                    this.sockets.spawn(socket.run());
                }
                Err(upgraded) => {
                    let stream = TokioIo::new(upgraded);
                    let socket = Socket::new(stream, Bytes::new(), context, &this).await;
                    this.sockets.spawn(socket.run());
                }
            }
        });
        Ok(response)
    }
}

impl Transport for WebSocket {
    const NAME: &'static str = "websocket";
    const MOUNT: &'static str = "websocket";

    fn describe(&self, at: &Location<'_>) -> serde_json::Value {
        let scheme = if at.secure { "wss" } else { "ws" };
        serde_json::json!({
            "url": format!("{scheme}://{}{}/{}", at.authority, at.path, Self::MOUNT),
            "ping_interval_ms": self.ping_interval.as_millis() as u64,
        })
    }
}

impl Service<Attach> for WebSocket {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attach: Attach) -> Self::Future {
        ready(Ok(respond(self.open(attach, None))))
    }
}

/// A guard that a server may add to the request of a handshake as an extension, in order to learn when
/// the WebSocket has ended. The socket holds it until then; hyper has no such notification.
#[derive(Clone, Debug)]
pub struct WhileOpen {
    /// Cancels the token when the last clone is dropped.
    _ended: Arc<DropGuard>,
}

impl WhileOpen {
    /// Cancels `ended` when the last clone of the guard is dropped.
    pub fn until_dropped(ended: CancellationToken) -> Self {
        Self { _ended: Arc::new(ended.drop_guard()) }
    }
}

/// How a client opens a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeKind {
    /// It upgrades a connection of HTTP/1.1 (RFC 6455 section 4).
    Upgrade,
    /// It opens a stream of HTTP/2 (RFC 8441 section 5).
    Connect,
}

impl HandshakeKind {
    /// The kind of this request.
    ///
    /// # Errors
    /// `method_not_allowed`, if the request is neither.
    pub(crate) fn of<B>(request: &Request<B>) -> Result<Self, Problem> {
        let protocol = request.extensions().get::<Protocol>().map(Protocol::as_str);
        if request.method() == Method::CONNECT && protocol == Some("websocket") {
            return Ok(Self::Connect);
        }
        require_method(request, &Method::GET)?;
        Ok(Self::Upgrade)
    }
}

/// Checks what RFC 6455 section 4.2.1, or RFC 8441 section 5, requires of a client. The response that
/// accepts the handshake, or the one that refuses it.
#[expect(clippy::result_large_err, reason = "both variants are responses")]
fn handshake(kind: HandshakeKind, headers: &HeaderMap) -> Result<Response<Body>, Response<Body>> {
    let has_token = |name: HeaderName, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    let refuse = |field: &str, detail: &str, status: StatusCode| {
        Err(problem_response_with_status(status, &Problem::invalid(field, detail)))
    };
    let upgrades = || has_token(CONNECTION, "upgrade") && has_token(UPGRADE, "websocket");
    if kind == HandshakeKind::Upgrade && !upgrades() {
        let mut refused = refuse("upgrade", "must be websocket", StatusCode::UPGRADE_REQUIRED);
        if let Err(response) = &mut refused {
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        return refused;
    }
    if !has_token(SEC_WEBSOCKET_VERSION, "13") {
        let mut refused =
            refuse("sec-websocket-version", "must be 13", StatusCode::UPGRADE_REQUIRED);
        if let Err(response) = &mut refused {
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        return refused;
    }
    let mut response = Response::new(Body::empty());
    let accepted = response.headers_mut();
    if has_token(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        accepted.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    if kind == HandshakeKind::Connect {
        // 200 and no key, which proves what HTTP/2 proves already.
        return Ok(response);
    }
    // 16 bytes in base64 (section 4.1, item 7) are 22 characters and two of padding.
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let Some(key) = key.filter(|key| key.len() == 24 && key.ends_with(b"==")) else {
        let detail = "must be 16 bytes in base64";
        return refuse("sec-websocket-key", detail, StatusCode::BAD_REQUEST);
    };
    let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key)) else {
        return refuse("sec-websocket-key", "must be base64", StatusCode::BAD_REQUEST);
    };
    accepted.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    accepted.insert(UPGRADE, HeaderValue::from_static("websocket"));
    accepted.insert(SEC_WEBSOCKET_ACCEPT, accept);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    /// The handshake of RFC 6455 section 1.3.
    const SAMPLE: [(&str, &str); 5] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "pabal.v1, pabal.bearer.abc"),
    ];

    #[test]
    fn the_sample_of_the_rfc_is_accepted() {
        let response = handshake(HandshakeKind::Upgrade, &headers(&SAMPLE)).unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()[SEC_WEBSOCKET_PROTOCOL], "pabal.v1");
    }

    #[test]
    fn each_missing_part_is_refused() {
        for (missing, (name, _)) in SAMPLE.iter().enumerate().take(4) {
            let mut pairs = SAMPLE.to_vec();
            pairs.remove(missing);
            let refused = handshake(HandshakeKind::Upgrade, &headers(&pairs)).unwrap_err();
            assert!(refused.status().is_client_error(), "without {name}");
        }
    }
}
