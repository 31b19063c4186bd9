//! Reads from sessions over HTTP/1.1, without hyper: polls and event streams.
//!
//! A parked poll is a connection on which nothing happens, and so is a stream without news; there
//! are thousands of them. hyper keeps its buffers meanwhile, some 25 KiB; here a connection keeps
//! what the read itself needs.
//! Only requests are taken that are plain in every respect ([`is_plain`]) and came in one piece.
//! Whatever else a client sends is given back unread, and hyper has the connection from there.

use std::cell::Cell;
use std::future::{self, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::FutureExt;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, response};
use http_body::Body as _;
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use pabal_core::model::NodeId;
use pabal_transports::{
    Answering, Body, BodyError, Connection, ConnectionMeter, Requests, Transports, problem_response,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, sleep_until};

use crate::peers::Peers;

use super::cancelled::Cancelled;
use super::clients::Proxies;
use super::marks::Marks;
use super::origins::Origins;

/// What is read at a time.
const READ_BYTES: usize = 4 * 1024;
/// How much of the requests behind the one that waits is read ahead; TCP holds back the rest.
const AHEAD_BYTES: usize = 4 * 1024;
/// The most header fields that a plain request has.
const FIELDS: usize = 32;
/// How HTTP/2 begins (RFC 9113 section 3.4), as far as no HTTP/1 request does.
pub(super) const HTTP2: &[u8] = b"PRI";

/// As much of a stream as is written at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// What all connections of a listener share.
pub(super) struct Reads {
    /// Who answers; nobody, if this listener is for no clients.
    pub(super) transports: Option<Transports>,
    /// Who has the sessions that are not here.
    pub(super) peers: Option<Peers>,
    /// Whose pages may come.
    pub(super) origins: Origins,
    /// Who is believed about whom a request comes from.
    pub(super) proxies: Proxies,
    /// How often clients may ask.
    pub(super) requests: Requests,
    /// How long a connection may be without a request.
    pub(super) idle: Duration,
}

/// Why a connection is done with here.
pub(super) enum Left {
    /// It has ended.
    Closed,
    /// What came next is for hyper to read.
    Http1,
    /// It speaks HTTP/2.
    Http2,
}

/// What came in.
enum Came {
    Read(Box<Request<()>>),
    /// Something else, or not all of it.
    Other,
    /// Too little to tell.
    Unclear,
}

impl Reads {
    /// Whether the path is served here, if the request is plain.
    pub(super) fn serves(&self, path: &str) -> bool {
        self.transports.as_ref().is_some_and(|transports| transports.reads(path))
    }

    /// The node that has the session of a request, if that is another one.
    pub(super) fn elsewhere<B>(&self, request: &Request<B>) -> Option<(Peers, NodeId)> {
        let peers = self.peers.as_ref()?;
        peers.elsewhere(request).map(|node| (peers.clone(), node))
    }

    /// Answers `first`, if there is one, and then whatever reads come, each within `idle` of the
    /// answer before. `unasked` is until when something has to come on a connection that has asked for
    /// nothing yet; a read clears it.
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        (connection, peer): (&mut Connection<S>, IpAddr),
        meter: &Arc<ConnectionMeter>,
        mut first: Option<Box<Request<()>>>,
        unasked: &mut Option<Instant>,
        finishing: &mut Cancelled<'_, '_>,
    ) -> Left {
        let mut unread = Bytes::new();
        let mut idle = pin!(sleep_until(unasked.unwrap_or_else(|| Instant::now() + self.idle)));
        loop {
            let request = match first.take() {
                Some(request) => request,
                None => match self.parse(&mut unread) {
                    Came::Read(request) => request,
                    Came::Other => {
                        let http2 = unread.starts_with(HTTP2);
                        connection.give_back(unread);
                        return if http2 { Left::Http2 } else { Left::Http1 };
                    }
                    Came::Unclear => {
                        let until = unasked.unwrap_or_else(|| Instant::now() + self.idle);
                        if until < idle.deadline() {
                            idle.as_mut().reset(until);
                        }
                        let more = poll_fn(|cx| {
                            if let Poll::Ready(more) = poll_read(connection, cx) {
                                return Poll::Ready(more.ok());
                            }
                            // Set anew only when it goes off: what comes comes long before, mostly.
                            while idle.as_mut().poll(cx).is_ready() {
                                if idle.deadline() >= until {
                                    return Poll::Ready(None);
                                }
                                idle.as_mut().reset(until);
                            }
                            finishing.poll_unpin(cx).map(|()| None)
                        });
                        match more.await {
                            Some(more) if !more.is_empty() => append(&mut unread, more),
                            _ => return Left::Closed,
                        }
                        continue;
                    }
                },
            };
            *unasked = None;
            let Some(transports) = &self.transports else { return Left::Closed };
            let marks = Marks::of_read(&request, &self.origins);
            let client = self.proxies.client(peer, request.headers());
            let answering: Answering = match self.requests.from_address(client) {
                Ok(()) => match self.elsewhere(&request) {
                    None => Box::pin(transports.begin_read(*request, meter)).await,
                    Some((peers, node)) => {
                        meter.claim_for_api();
                        let request = request.map(|()| Full::<Bytes>::default());
                        Box::pin(peers.answer(node, request, client).map(Ok))
                    }
                },
                Err(problem) => {
                    meter.claim_for_api();
                    Box::pin(future::ready(Ok(problem_response(&problem))))
                }
            };
            let Some(mut answer) = while_connected(answering, connection, &mut unread).await else {
                return Left::Closed;
            };
            if let Some(marks) = marks {
                marks.write(answer.headers_mut());
            }
            let last = finishing.already();
            let written = match encode(answer, last) {
                Encoded::Whole(answer) => write(connection, &answer).await,
                // Boxed: a parked poll should not have room for it.
                Encoded::Stream(head, body) => {
                    Box::pin(stream(head, body, connection, &mut unread)).await
                }
            };
            if written.is_err() || last {
                // The rest is for the client to close; it was told, or does not read.
                return Left::Closed;
            }
        }
    }

    /// Takes the next request off `unread`, if it is one of those served here.
    fn parse(&self, unread: &mut Bytes) -> Came {
        if HTTP2.starts_with(unread) {
            return Came::Unclear;
        }
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
        let mut head = httparse::Request::new(&mut []);
        let Ok(httparse::Status::Complete(length)) =
            head.parse_with_uninit_headers(unread, &mut fields)
        else {
            return Came::Other;
        };
        let Some(request) = request(&head, unread) else {
            return Came::Other;
        };
        if !is_plain(&request) || !self.serves(request.uri().path()) {
            return Came::Other;
        }
        *unread = if length == unread.len() { Bytes::new() } else { unread.slice(length..) };
        Came::Read(Box::new(request))
    }
}

/// The request that `head` was parsed as; nothing if it is none of version 1.1.
fn request(head: &httparse::Request<'_, '_>, bytes: &Bytes) -> Option<Request<()>> {
    if head.method != Some("GET") || head.version != Some(1) {
        return None;
    }
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from_maybe_shared(bytes.slice_ref(head.path?.as_bytes())).ok()?;
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_maybe_shared(bytes.slice_ref(field.value)).ok()?);
    }
    *request.headers_mut() = headers;
    Some(request)
}

/// Whether a request has no body, wants to keep the connection, and nothing else of it.
pub(super) fn is_plain<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let keeps = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
    let without = [CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE, EXPECT];
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && headers.get_all(CONNECTION).iter().all(keeps)
        && headers.keys().all(|name| !without.contains(name))
}

/// Reads what is there, through the stack: a connection that waits has no buffer.
fn poll_read<S: AsyncRead + Unpin>(
    connection: &mut Connection<S>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    let mut room = [const { MaybeUninit::uninit() }; READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut room);
    ready!(Pin::new(connection).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
}

/// Waits for an answer; nothing, if the client goes away meanwhile.
async fn while_connected<S: AsyncRead + Unpin>(
    mut answering: Answering,
    connection: &mut Connection<S>,
    unread: &mut Bytes,
) -> Option<Response<Body>> {
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answering.poll_unpin(cx) {
            return Poll::Ready(answer.ok());
        }
        poll_gone(connection, unread, cx).map(|_| None)
    })
    .await
}

/// Ready, with the reason, when the client has gone. Reads ahead what it asks next.
fn poll_gone<S: AsyncRead + Unpin>(
    connection: &mut Connection<S>,
    unread: &mut Bytes,
    cx: &mut Context<'_>,
) -> Poll<io::Error> {
    while unread.len() < AHEAD_BYTES {
        match ready!(poll_read(connection, cx)) {
            Ok(more) if more.is_empty() => {
                return Poll::Ready(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(more) => append(unread, more),
            Err(error) => return Poll::Ready(error),
        }
    }
    Poll::Pending
}

fn append(unread: &mut Bytes, more: Bytes) {
    *unread = if unread.is_empty() { more } else { [&unread[..], &more[..]].concat().into() };
}

/// Writes the head of an answer and its body bit by bit: each piece, of all that is there at once, is
/// a chunk of its own.
///
/// # Errors
/// If the client goes away or takes nothing for too long, or the body breaks off: the connection is
/// then of no use any more.
async fn stream<S: AsyncRead + AsyncWrite + Unpin>(
    head: Vec<u8>,
    mut body: UnsyncBoxBody<Bytes, BodyError>,
    connection: &mut Connection<S>,
    unread: &mut Bytes,
) -> io::Result<()> {
    let mut out = head;
    loop {
        let frame = poll_fn(|cx| {
            if let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(cx) {
                return Poll::Ready(Ok(Some(frame)));
            }
            if !out.is_empty() {
                return Poll::Ready(Ok(None));
            }
            poll_gone(connection, unread, cx).map(Err)
        });
        match frame.await? {
            Some(Some(frame)) => {
                if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                    append_chunk(&mut out, &data);
                }
                if out.len() < PIECE_BYTES {
                    continue;
                }
            }
            Some(None) => {
                out.extend_from_slice(b"0\r\n\r\n");
                return write(connection, &out).await;
            }
            None => {}
        }
        // Given back: nearly always nothing waits.
        write(connection, &std::mem::take(&mut out)).await?;
    }
}

/// Appends a chunk (RFC 9112 section 7.1). One without data would be the end.
fn append_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

async fn write<S: AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    bytes: &[u8],
) -> io::Result<()> {
    connection.write_all(bytes).await?;
    connection.flush().await
}

/// An answer as it is written.
pub(super) enum Encoded {
    /// In one piece.
    Whole(Vec<u8>),
    /// A head, and a body in chunks.
    Stream(Vec<u8>, UnsyncBoxBody<Bytes, BodyError>),
}

/// An answer as it is written; `last` says that none will follow.
pub(super) fn encode(answer: Response<Body>, last: bool) -> Encoded {
    let (parts, body) = answer.into_parts();
    match body.into_full() {
        Ok(body) => {
            let mut out = head(&parts, Some(body.len()), last);
            out.extend_from_slice(&body);
            Encoded::Whole(out)
        }
        Err(body) => Encoded::Stream(head(&parts, None, last), body),
    }
}

/// The head of an answer whose body has so many bytes, or comes in chunks.
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

/// Now, as RFC 9110 section 5.6.7 writes it; formatted once a second and thread.
#[expect(clippy::disallowed_methods, reason = "no decision rests on the date of an answer")]
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
    // Always 29 characters, until the year 10000.
    for (to, from) in text.iter_mut().zip(formatted.bytes()) {
        *to = from;
    }
    LAST.set((second, text));
    text
}
