//! Web pages of other origins: which of them may use this node. Browsers ask by CORS
//! (<https://fetch.spec.whatwg.org/#http-cors-protocol>) and by the `Origin` of a WebSocket handshake
//! (RFC 6455 section 10.2). A request without `Origin` comes from no page, so these rules do not apply.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, UPGRADE,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use pabal_core::protocol::{Problem, ProblemCode};
use pabal_transports::{Body, problem_response};

use crate::config;

/// The response to a preflight. No browser caches one for longer than two hours.
const PREFLIGHT: [(HeaderName, HeaderValue); 3] = [
    (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE")),
    (
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, last-event-id, x-request-id"),
    ),
    (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200")),
];

/// The origins whose pages may use this node.
#[derive(Debug)]
pub(super) struct Origins {
    /// In the form of the `Origin` header, or `*` for all.
    listed: Vec<HeaderValue>,
    /// The configured public host and port of this node.
    own: Option<String>,
}

impl Origins {
    pub(super) fn new(server: &config::Server) -> Self {
        let listed = server.allowed_origins.iter().map(config::Origin::header).collect();
        Self { listed, own: server.public_url.as_ref().map(|url| url.authority.clone()) }
    }

    /// The value of `access-control-allow-origin` for this request, if its origin is allowed. Tokens travel
    /// in a header that pages set themselves, never in cookies, so credentials need not be allowed.
    pub(super) fn allowed<B>(&self, request: &Request<B>) -> Option<&HeaderValue> {
        let origin = request.headers().get(ORIGIN)?;
        let same = |listed: &&HeaderValue| {
            *listed == "*" || listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes())
        };
        self.listed.iter().find(same)
    }

    /// The response to a preflight, and to a handshake of a page that may not use this node. Browsers do
    /// not apply CORS to WebSockets, so the server has to refuse those itself.
    pub(super) fn respond<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
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

    /// Whether the page was served by the host that it now requests from. The scheme is not compared,
    /// because TLS may end at a proxy.
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
