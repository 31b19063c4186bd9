//! How the poll server writes a response of HTTP/1.1 (RFC 9112): byte for byte as hyper would.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Response, response};
use http_body_util::combinators::UnsyncBoxBody;
use pabal_core::engine::Reservation;
use pabal_transports::{Body, BodyError};

/// A response in the form in which it is written.
pub(super) enum Encoded {
    /// All bytes, and what counts them until they are written.
    Whole(Vec<u8>, Option<Reservation>),
    /// The head, and a body to be written in chunks.
    Stream(Vec<u8>, UnsyncBoxBody<Bytes, BodyError>),
}

/// Encodes a response. `last`: no other follows on the connection.
pub(super) fn encode(response: Response<Body>, last: bool) -> Encoded {
    let (parts, body) = response.into_parts();
    match body.into_full() {
        Ok((body, held)) => {
            let mut out = head(&parts, Some(body.len()), last);
            out.extend_from_slice(&body);
            Encoded::Whole(out, held)
        }
        Err(body) => Encoded::Stream(head(&parts, None, last), body),
    }
}

/// Appends a chunk (RFC 9112 section 7.1). A chunk without data would be the end.
pub(super) fn append_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        out.extend_from_slice(format!("{:X}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

/// The head of a response whose body has `length` bytes, or comes in chunks.
fn head(parts: &response::Parts, length: Option<usize>, last: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + length.unwrap_or_default());
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(parts.status.canonical_reason().unwrap_or_default().as_bytes());
    for (name, value) in &parts.headers {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
    }
    match length {
        Some(length) => {
            out.extend_from_slice(b"\r\ncontent-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        }
        None => out.extend_from_slice(b"\r\ntransfer-encoding: chunked"),
    }
    out.extend_from_slice(b"\r\ndate: ");
    out.extend_from_slice(&date());
    if last {
        out.extend_from_slice(b"\r\nconnection: close");
    }
    out.extend_from_slice(b"\r\n\r\n");
    out
}

/// The present time in the form of RFC 9110 section 5.6.7, formatted once per second and thread.
#[expect(clippy::disallowed_methods, reason = "no decision depends on the date of a response")]
fn date() -> [u8; 29] {
    thread_local! {
        static LAST: Cell<(u64, [u8; 29])> = const { Cell::new((0, [0; 29])) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (last, text) = LAST.get();
    if last == second {
        return text;
    }
    let mut text = [b' '; 29];
    let formatted = httpdate::fmt_http_date(now);
    // The format has 29 characters until the year 10000.
    for (to, from) in text.iter_mut().zip(formatted.bytes()) {
        *to = from;
    }
    LAST.set((second, text));
    text
}
