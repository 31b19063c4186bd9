//! The headers that every response carries: the id of its request, whether a page of another origin may
//! read it, and what browsers must not do with it. Responses to polls carry only what their request asked
//! for, because they are sent more often than all others.

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::origins::Origins;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is accepted from a client, in bytes.
const ID_BYTES: usize = 64;

/// What the response to one request carries.
#[derive(Debug)]
pub(super) struct ResponseHeaders<'a> {
    id: Option<HeaderValue>,
    allowed: Option<&'a HeaderValue>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Api,
    Page,
}

impl<'a> ResponseHeaders<'a> {
    /// For a read of a session; nearly always nothing.
    pub(super) fn of_read<B>(request: &Request<B>, origins: &'a Origins) -> Option<Box<Self>> {
        let (id, allowed) = (given_id(request.headers()), origins.allowed(request));
        let any = id.is_some() || allowed.is_some();
        // Boxed: a parked poll should not have memory for what it seldom has.
        any.then(|| Box::new(Self { id, allowed, kind: Kind::Read }))
    }

    /// For any other request.
    pub(super) fn of<B>(request: &Request<B>, origins: &'a Origins) -> Self {
        let id = given_id(request.headers()).unwrap_or_else(new_id);
        let api = request.uri().path().starts_with("/v1/");
        let kind = if api { Kind::Api } else { Kind::Page };
        Self { id: Some(id), allowed: origins.allowed(request), kind }
    }

    /// The id of the request, for the log.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_ref()?.to_str().ok()
    }

    /// Adds the headers to a response.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        if let Some(id) = &self.id {
            headers.insert(REQUEST_ID, id.clone());
        }
        if let Some(allowed) = self.allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        if self.kind == Kind::Read {
            return;
        }
        if self.allowed.is_some() {
            let exposed = HeaderValue::from_static("retry-after, x-request-id");
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // Responses of the API are for one user. Without this header a browser may store them on disk.
        if self.kind == Kind::Api {
            headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        }
    }
}

/// The id that a client gave its request, if it can be logged as it is.
fn given_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?.as_bytes();
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    // Copied: the original shares the buffer of the whole request.
    let copy = || HeaderValue::from_bytes(id).ok();
    ((1..=ID_BYTES).contains(&id.len()) && id.iter().all(harmless)).then(copy).flatten()
}

/// A random id.
fn new_id() -> HeaderValue {
    let id = format!("{:016x}", rand::random::<u64>());
    HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_harmless_id_of_a_client_is_accepted() {
        let given = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(id).expect("a header"));
            given_id(&headers).is_some()
        };
        assert!(given("7f3a-B_1.2") && given(&"x".repeat(64)));
        for id in ["", "a b", "a\"b", "a=b", "\u{e9}", &"x".repeat(65)] {
            assert!(!given(id), "{id:?}");
        }
        assert_ne!(new_id(), new_id());
    }
}
