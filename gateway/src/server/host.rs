//! The `Host` header of a request (RFC 9112 section 3.2, RFC 9110 section 7.2).
//!
//! A request from which two readers derive different hosts can poison caches and slip past access
//! rules of a proxy. So the header is checked before anything else looks at the request: HTTP/1.1
//! needs exactly one, no version may have two, and the value has the form of RFC 3986 section 3.2.

use std::net::Ipv6Addr;

use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use pabal_core::protocol::Problem;
use pabal_transports::{Body, problem_response_with_status};

/// Whether a request has the `Host` header that its version of HTTP asks for. An empty value is one: it
/// is what a client sends whose URI has no authority.
pub(super) fn is_valid<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        // HTTP/2 has the host in `:authority`, and HTTP/1.0 knows no `Host`.
        (None, _) => request.version() != Version::HTTP_11,
        (Some(host), None) => is_host_and_port(host.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

/// The answer to a request whose `Host` is not [valid](is_valid): 400, and the end of the connection,
/// because what follows on it may be as ambiguous.
pub(super) fn refuse<B>(request: &Request<B>) -> Response<Body> {
    let problem = Problem::invalid("host", "must be given once, as a host and an optional port");
    let mut response = problem_response_with_status(StatusCode::BAD_REQUEST, &problem);
    // HTTP/2 has no such header (RFC 9113 section 8.2.2), and streams that do not affect each other.
    if request.version() <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// `uri-host [ ":" port ]`.
fn is_host_and_port(value: &[u8]) -> bool {
    let (host_is_valid, port) = if let Some(rest) = value.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|&byte| byte == b']') else { return false };
        (is_ip_literal(&rest[..end]), &rest[end + 1..])
    } else {
        let end = value.iter().position(|&byte| byte == b':').unwrap_or(value.len());
        (is_name(&value[..end]), &value[end..])
    };
    let port_is_valid = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host_is_valid && port_is_valid
}

/// The content of the brackets: an IPv6 address, or an address of a future version.
fn is_ip_literal(literal: &[u8]) -> bool {
    if let [b'v' | b'V', rest @ ..] = literal {
        let Some(dot) = rest.iter().position(|&byte| byte == b'.') else { return false };
        let (version, address) = (&rest[..dot], &rest[dot + 1..]);
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address.iter().all(|&byte| is_plain(byte) || byte == b':');
    }
    str::from_utf8(literal).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// A registered name or an IPv4 address, which has the form of one.
fn is_name(mut name: &[u8]) -> bool {
    loop {
        name = match name {
            [] => return true,
            [b'%', high, low, rest @ ..] if [high, low].iter().all(|it| it.is_ascii_hexdigit()) => {
                rest
            }
            [byte, rest @ ..] if is_plain(*byte) => rest,
            _ => return false,
        };
    }
}

/// `unreserved` and `sub-delims` of RFC 3986.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}
