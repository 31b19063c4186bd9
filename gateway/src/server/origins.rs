//! Web pages of other origins: which of them may use this node, as browsers ask it by CORS
//! (<https://fetch.spec.whatwg.org/#http-cors-protocol>) and by the `Origin` of a WebSocket
//! handshake (RFC 6455 section 10.2). Whoever sends no `Origin` is no page and is not concerned.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, UPGRADE,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use pabal_core::protocol::{Problem, ProblemCode};
use pabal_transports::{Body, problem_response};

use crate::config;

/// What a preflight is answered; browsers ask again after two hours at the latest anyway.
const PREFLIGHT: [(HeaderName, HeaderValue); 3] = [
    (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE")),
    (
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, last-event-id, x-request-id"),
    ),
    (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200")),
];

/// Whose pages may come.
#[derive(Debug)]
pub(super) struct Origins {
    /// As they stand in `Origin`, or `*` for all.
    listed: Vec<HeaderValue>,
    /// The host and port that clients are told, if not the ones they use.
    own: Option<String>,
}

impl Origins {
    pub(super) fn new(server: &config::Server) -> Self {
        let listed = server.allowed_origins.iter().map(config::Origin::header).collect();
        Self { listed, own: server.public_url.as_ref().map(|url| url.authority.clone()) }
    }

    /// What `access-control-allow-origin` is to say, if anything. Tokens travel in a header that
    /// pages set themselves, never in cookies, so credentials need not be allowed.
    pub(super) fn allowed<B>(&self, request: &Request<B>) -> Option<&HeaderValue> {
        let origin = request.headers().get(ORIGIN)?;
        let same = |listed: &&HeaderValue| {
            *listed == "*" || listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes())
        };
        self.listed.iter().find(same)
    }

    /// Answers what must not or need not reach anybody else: preflights, and handshakes of pages that
    /// may not come. Browsers do not apply CORS to WebSockets, so the server refuses them.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let origin = request.headers().get(ORIGIN)?;
        let preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let allowed = self.allowed(request).is_some();
        if preflight && allowed {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().extend(PREFLIGHT);
            return Some(response);
        }
        // Over HTTP/1.1, and over HTTP/2.
        let handshake =
            request.headers().contains_key(UPGRADE) || request.method() == Method::CONNECT;
        if preflight || handshake && !allowed && !self.is_own(origin, request) {
            let detail = "pages of this origin may not use this node";
            return Some(problem_response(&Problem::new(ProblemCode::Forbidden, detail)));
        }
        None
    }

    /// Whether a page was served under the name by which it now calls. The scheme is not compared:
    /// TLS may end at a proxy.
    fn is_own<B>(&self, origin: &HeaderValue, request: &Request<B>) -> bool {
        let page = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        let Some((_, page)) = page else { return false };
        let called = request.uri().authority().map(http::uri::Authority::as_str);
        let host = || request.headers().get(HOST).and_then(|host| host.to_str().ok());
        [called.or_else(host), self.own.as_deref()]
            .iter()
            .flatten()
            .any(|own| own.eq_ignore_ascii_case(page))
    }
}
