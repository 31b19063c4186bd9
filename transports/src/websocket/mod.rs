//! WebSocket (RFC 6455): one connection, or one stream of HTTP/2 (RFC 8441), text frames that are
//! batches, commands the other way.
//!
//! The handshake is here; [`socket`] is the loop of an open connection, [`outgoing`] writes frames,
//! [`arrival`] knows when to read.

mod arrival;
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
use crate::http::{Body, problem_response, require_method};
use crate::requests::Requests;
use crate::transport::{Attach, Location, Transport, respond};
use socket::Socket;

/// The subprotocol the server speaks.
const SUBPROTOCOL: &str = "pabal.v1";
/// How browsers, which cannot set headers on a WebSocket, hand over the token.
const BEARER_SUBPROTOCOL: &str = "pabal.bearer.";

/// `GET …/websocket?after=<seq>`.
#[derive(Clone, Debug)]
pub struct WebSocket {
    /// How often the client is pinged; after two pings without a sign of life it is gone.
    pub ping_interval: Duration,
    /// The largest frame and message that is taken from a client.
    pub max_message_bytes: usize,
    requests: Requests,
    sockets: TaskTracker,
}

impl WebSocket {
    /// A transport with no open sockets, whose clients' frames count among `requests`.
    pub fn new(ping_interval: Duration, max_message_bytes: usize, requests: Requests) -> Self {
        let sockets = TaskTracker::new();
        Self { ping_interval, max_message_bytes, requests, sockets }
    }

    /// Waits until every socket has closed, at most `grace`. A socket closes when its session ends,
    /// within the time a client gets to answer a close.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        self.sockets.close();
        if tokio::time::timeout(grace, self.sockets.wait()).await.is_err() {
            tracing::warn!(sockets = self.sockets.len(), "sockets were left open");
        }
    }

    /// Answers the handshake and goes on in a task of its own, or the whole HTTP connection's future
    /// would stay alive under the socket. `greeting` is sent first.
    pub(crate) fn open(
        &self,
        mut attach: Attach,
        greeting: Option<Bytes>,
    ) -> Result<Response<Body>, Problem> {
        let way = Way::of(&attach.request)?;
        let after = attach.session.position(attach.query().after()?)?;
        let response = match handshake(way, attach.request.headers()) {
            Ok(response) => response,
            Err(refused) => return Ok(refused),
        };
        let upgrade = hyper::upgrade::on(&mut attach.request);
        let open = attach.request.extensions_mut().remove::<WhileOpen>();
        let Attach { engine, session, meter, connection, .. } = attach;
        // Attached before the answer: a client that changes transport has one reader throughout.
        let reader = session.attach();
        session.confirm(after);
        let this = self.clone();
        self.sockets.spawn(async move {
            let upgraded = match upgrade.await {
                Ok(upgraded) => upgraded,
                Err(error) => return tracing::debug!(%error, "the upgrade did not happen"),
            };
            let duties =
                socket::Duties { engine, reader, meter, connection, after, greeting, open };
            type Plain = TokioIo<Connection<Wire<TcpStream>>>;
            // Yet another task: this one's future has room for all of the above, for ever.
            match upgraded.downcast::<Plain>() {
                Ok(parts) => {
                    let stream = parts.io.into_inner();
                    let socket = Socket::new(stream, parts.read_buf, duties, &this).await;
                    this.sockets.spawn(socket.run());
                }
                Err(upgraded) => {
                    let stream = TokioIo::new(upgraded);
                    let socket = Socket::new(stream, Bytes::new(), duties, &this).await;
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

/// Whoever serves the connection may give this with the request of a handshake, as an extension, to
/// learn when the WebSocket has ended: hyper does not tell.
#[derive(Clone, Debug)]
pub struct WhileOpen {
    /// Cancels with the last clone.
    _ended: Arc<DropGuard>,
}

impl WhileOpen {
    /// Cancels `ended` as soon as nobody keeps this any more.
    pub fn until_dropped(ended: CancellationToken) -> Self {
        Self { _ended: Arc::new(ended.drop_guard()) }
    }
}

/// How a client comes to a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It takes a connection of HTTP/1.1 over (RFC 6455 section 4).
    Upgrade,
    /// It opens a stream of HTTP/2 (RFC 8441 section 5).
    Connect,
}

impl Way {
    /// The way of this request.
    ///
    /// # Errors
    /// `method_not_allowed`, if it is none.
    pub(crate) fn of<B>(request: &Request<B>) -> Result<Self, Problem> {
        let protocol = request.extensions().get::<Protocol>().map(Protocol::as_str);
        if request.method() == Method::CONNECT && protocol == Some("websocket") {
            return Ok(Self::Connect);
        }
        require_method(request, &Method::GET)?;
        Ok(Self::Upgrade)
    }
}

/// Checks what RFC 6455 section 4.2.1, or RFC 8441 section 5, asks of a client, and answers it.
#[expect(clippy::result_large_err, reason = "both sides are answers")]
fn handshake(way: Way, headers: &HeaderMap) -> Result<Response<Body>, Response<Body>> {
    let has_token = |name: HeaderName, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    let refuse = |field: &str, detail: &str, status: StatusCode| {
        let mut response = problem_response(&Problem::invalid(field, detail));
        *response.status_mut() = status;
        Err(response)
    };
    let upgrades = || has_token(CONNECTION, "upgrade") && has_token(UPGRADE, "websocket");
    if way == Way::Upgrade && !upgrades() {
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
    let answer = response.headers_mut();
    if has_token(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    if way == Way::Connect {
        // 200, and no key: it proves what HTTP/2 proves anyway.
        return Ok(response);
    }
    // 16 bytes in base64 (section 4.1, item 7) are 22 characters and two of padding.
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let Some(key) = key.filter(|key| key.len() == 24 && key.ends_with(b"==")) else {
        let detail = "must be 16 bytes in base64";
        return refuse("sec-websocket-key", detail, StatusCode::BAD_REQUEST);
    };
    let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key)) else {
        return refuse("sec-websocket-key", "cannot be answered", StatusCode::BAD_REQUEST);
    };
    answer.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    Ok(response)
}

/// The token that a browser offered among the subprotocols.
pub(crate) fn offered_token(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(BEARER_SUBPROTOCOL))
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
    fn answers_the_sample_of_the_rfc() {
        let response = handshake(Way::Upgrade, &headers(&SAMPLE)).unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()[SEC_WEBSOCKET_PROTOCOL], "pabal.v1");
        assert_eq!(offered_token(&headers(&SAMPLE)), Some("abc"));
    }

    #[test]
    fn each_missing_part_is_refused() {
        for (missing, (name, _)) in SAMPLE.iter().enumerate().take(4) {
            let mut pairs = SAMPLE.to_vec();
            pairs.remove(missing);
            let refused = handshake(Way::Upgrade, &headers(&pairs)).unwrap_err();
            assert!(refused.status().is_client_error(), "without {name}");
        }
    }
}
