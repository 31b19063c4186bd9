//! The poll server: reads of sessions over HTTP/1.1, polls and event streams, without hyper.
//!
//! A parked poll is a connection on which nothing happens, and so is a stream without events; there are
//! thousands of them. hyper holds some 25 KiB of buffers for each; here a connection holds what the read
//! itself needs. Only requests are served that are plain in every respect ([`is_plain`]) and came in one
//! piece. Anything else is given back unread; [`handoff`](super::handoff) says what happens then.

use std::future::{self, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body as _;
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use pabal_core::engine::{BudgetKind, Reservation};
use pabal_core::model::NodeId;
use pabal_core::protocol::Problem;
use pabal_transports::{
    Body, BodyError, Connection, ConnectionMeter, Requests, ResponseFuture, Transports,
    problem_response,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::peers::Peers;

use super::cancelled::Cancelled;
use super::clients::Proxies;
use super::handoff::{PollsHandoff, Readers};
use super::host;
use super::origins::Origins;
use super::response::{Coding, Encoded, encode};
use super::response_headers::ResponseHeaders;

/// The read buffer, in bytes.
const READ_BYTES: usize = 4 * 1024;
/// How many bytes of later requests are read while a poll waits. TCP holds back the rest.
const AHEAD_BYTES: usize = 4 * 1024;
/// The most header fields of a plain request.
const FIELDS: usize = 32;
/// The first bytes of a client of HTTP/2 (RFC 9113 section 3.4). A request of HTTP/1 may begin with some
/// of them: `PRI` is a method that no server has.
pub(super) const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many bytes of a stream are written at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// What all connections of a listener share.
pub(super) struct PollServer {
    /// The transports; none on the administration listener.
    pub(super) transports: Option<Transports>,
    /// The other nodes, which have the sessions that are not here.
    pub(super) peers: Option<Peers>,
    /// The origins whose pages may use this node.
    pub(super) origins: Origins,
    /// The proxies that may name the client of a request.
    pub(super) proxies: Proxies,
    /// The rate limits of clients.
    pub(super) requests: Requests,
    /// How long a connection may be without a request.
    pub(super) idle: Duration,
    /// Whether polls are served here at all.
    pub(super) readers: Readers,
}

/// What the bytes read so far are.
enum Parsed {
    /// A plain poll, which was taken off them.
    Poll(Box<Request<()>>),
    /// Something else, or a part of a request.
    NotPlain,
    /// The preface of HTTP/2.
    Http2,
    /// Too few to tell.
    Incomplete,
}

impl PollServer {
    /// Whether a path reads from a session, so that the response carries as few headers as possible.
    pub(super) fn serves(&self, path: &str) -> bool {
        self.transports.as_ref().is_some_and(|transports| transports.reads(path))
    }

    /// Whether this is a request that is served here.
    pub(super) fn takes<B>(&self, request: &Request<B>) -> bool {
        self.readers == Readers::PollServer
            && is_plain(request)
            && self.serves(request.uri().path())
    }

    /// The node that has the session of a request, if that is another one.
    pub(super) fn elsewhere<B>(&self, request: &Request<B>) -> Option<(Peers, NodeId)> {
        let peers = self.peers.as_ref()?;
        peers.elsewhere(request).map(|node| (peers.clone(), node))
    }

    /// Notes that a request which another node serves may wait there.
    pub(super) fn may_wait<B>(&self, request: &Request<B>, meter: &ConnectionMeter) {
        let path = request.uri().path();
        if self.transports.as_ref().is_some_and(|transports| transports.waits(path)) {
            meter.half_close().wait();
        }
    }

    /// Serves `parsed`, if there is one, and then every plain poll that comes, each within the idle
    /// timeout of the response before. `first_request` is the deadline of a connection on which no request
    /// came yet; a poll clears it.
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        (connection, peer): (&mut Connection<S>, IpAddr),
        meter: &Arc<ConnectionMeter>,
        mut parsed: Option<Box<Request<()>>>,
        first_request: &mut Option<Instant>,
        finishing: &mut Cancelled<'_, '_>,
    ) -> PollsHandoff {
        let mut unread = Bytes::new();
        let deadline = first_request.unwrap_or_else(|| Instant::now() + self.idle);
        let mut idle = pin!(sleep_until(deadline));
        loop {
            let first = first_request.is_some();
            let request =
                match parsed.take().map_or_else(|| self.parse(&mut unread, first), Parsed::Poll) {
                    Parsed::Poll(request) => request,
                    Parsed::NotPlain => {
                        connection.give_back(unread);
                        return PollsHandoff::ToHttp1;
                    }
                    Parsed::Http2 => {
                        connection.give_back(unread);
                        return PollsHandoff::ToHttp2;
                    }
                    Parsed::Incomplete => {
                        let until = first_request.unwrap_or_else(|| Instant::now() + self.idle);
                        match read_more(connection, until, idle.as_mut(), finishing).await {
                            Some(more) if !more.is_empty() => append(&mut unread, more),
                            _ => return PollsHandoff::Closed,
                        }
                        continue;
                    }
                };
            *first_request = None;
            meter.half_close().begin(false);
            let Some(transports) = &self.transports else { return PollsHandoff::Closed };
            let headers = ResponseHeaders::of_read(&request, &self.origins);
            let client = self.proxies.client(peer, request.headers());
            let responding: ResponseFuture = match self.requests.from_address(client) {
                Ok(()) => match self.elsewhere(&request) {
                    None => Box::pin(transports.begin_read(*request, meter)).await,
                    Some((peers, node)) => {
                        meter.claim_for_api();
                        self.may_wait(&request, meter);
                        let request = request.map(|()| Full::<Bytes>::default());
                        Box::pin(peers.forward(node, request, (client, Arc::clone(meter))).map(Ok))
                    }
                },
                Err(problem) => {
                    meter.claim_for_api();
                    Box::pin(future::ready(Ok(problem_response(&problem))))
                }
            };
            let responding = while_connected(responding, connection, &mut unread, meter);
            let Some(mut response) = responding.await else { return PollsHandoff::Closed };
            if let Some(headers) = headers {
                headers.write(response.headers_mut());
            }
            let last = finishing.already();
            let written = match encode(response, last) {
                // The bytes are in flight until the client has taken them.
                Encoded::Whole(response, _held) => write(connection, &response).await,
                // Boxed: a parked poll should not have memory for it.
                Encoded::Stream(head, coding, body) => {
                    let count = |bytes| {
                        let holder = meter.holder(None);
                        transports.budget().reserve(BudgetKind::Answers, holder, bytes)
                    };
                    let body = (coding, body);
                    let rest = (&mut unread, &**meter);
                    Box::pin(stream(head, body, (connection, &count), rest)).await
                }
            };
            if written.is_err() {
                // The client does not read.
                return PollsHandoff::Closed;
            }
            if last {
                // The response has `connection: close`.
                return PollsHandoff::LastWritten;
            }
        }
    }

    /// Takes the next request off `unread`, if it is a plain poll. `first`: these are the first bytes of the
    /// connection, and may be the preface of HTTP/2.
    fn parse(&self, unread: &mut Bytes, first: bool) -> Parsed {
        if unread.is_empty() {
            return Parsed::Incomplete;
        }
        if first && unread.starts_with(HTTP2) {
            return Parsed::Http2;
        }
        if first && HTTP2.starts_with(unread) {
            return Parsed::Incomplete;
        }
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
        let mut head = httparse::Request::new(&mut []);
        let Ok(httparse::Status::Complete(length)) =
            head.parse_with_uninit_headers(unread, &mut fields)
        else {
            return Parsed::NotPlain;
        };
        let Some(request) = request(&head, unread).filter(|request| self.takes(request)) else {
            return Parsed::NotPlain;
        };
        *unread = if length == unread.len() { Bytes::new() } else { unread.slice(length..) };
        Parsed::Poll(Box::new(request))
    }
}

/// The request that `head` was parsed as, if it is a `GET` of version 1.1.
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

/// Whether a request has a valid `Host`, no body, keeps the connection open, and asks for nothing else of
/// the connection.
pub(super) fn is_plain<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let keeps = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
    let without = [CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE, EXPECT];
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && host::is_valid(request)
        && headers.get_all(CONNECTION).iter().all(keeps)
        && headers.keys().all(|name| !without.contains(name))
}

/// Reads what comes next, at the latest by `until`. `None` if the connection failed, nothing came in time,
/// or the node is about to stop.
async fn read_more<S: AsyncRead + Unpin>(
    connection: &mut Connection<S>,
    until: Instant,
    mut idle: Pin<&mut Sleep>,
    finishing: &mut Cancelled<'_, '_>,
) -> Option<Bytes> {
    if until < idle.deadline() {
        idle.as_mut().reset(until);
    }
    poll_fn(|cx| {
        if let Poll::Ready(more) = poll_read(connection, cx) {
            return Poll::Ready(more.ok());
        }
        // Reset only when it fires: nearly always bytes come long before.
        while idle.as_mut().poll(cx).is_ready() {
            if idle.deadline() >= until {
                return Poll::Ready(None);
            }
            idle.as_mut().reset(until);
        }
        finishing.poll_unpin(cx).map(|()| None)
    })
    .await
}

/// Reads what is there, into the stack: a connection that waits has no buffer.
fn poll_read<S: AsyncRead + Unpin>(
    connection: &mut Connection<S>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut bytes);
    ready!(Pin::new(connection).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
}

/// Waits for a response. `None` if the connection fails first, or the client closes its side of it while
/// the request waits for events.
async fn while_connected<S: AsyncRead + Unpin>(
    mut responding: ResponseFuture,
    connection: &mut Connection<S>,
    unread: &mut Bytes,
    meter: &ConnectionMeter,
) -> Option<Response<Body>> {
    let mut client = Client::default();
    poll_fn(|cx| {
        if let Poll::Ready(response) = responding.poll_unpin(cx) {
            return Poll::Ready(response.ok());
        }
        client.poll_gone(connection, unread, meter, cx).map(|_| None)
    })
    .await
}

/// What is known of the client of a request in progress.
#[derive(Default)]
struct Client {
    /// It has closed its side of the connection.
    closed: bool,
}

impl Client {
    /// Ready, with the reason, when the request is to end. Reads later requests ahead.
    fn poll_gone<S: AsyncRead + Unpin>(
        &mut self,
        connection: &mut Connection<S>,
        unread: &mut Bytes,
        meter: &ConnectionMeter,
        cx: &mut Context<'_>,
    ) -> Poll<io::Error> {
        while !self.closed && unread.len() < AHEAD_BYTES {
            match ready!(poll_read(connection, cx)) {
                Ok(more) if more.is_empty() => self.closed = true,
                Ok(more) => append(unread, more),
                Err(error) => return Poll::Ready(error),
            }
        }
        if self.closed && meter.half_close().waits() {
            return Poll::Ready(io::ErrorKind::UnexpectedEof.into());
        }
        Poll::Pending
    }
}

fn append(unread: &mut Bytes, more: Bytes) {
    *unread = if unread.is_empty() { more } else { [&unread[..], &more[..]].concat().into() };
}

/// Writes the head of a response and its body as it comes; in chunks, each frame is one of its own.
///
/// # Errors
/// If the client disconnects or takes nothing for too long, or the body fails. The connection must then
/// be closed, because the response has no end.
async fn stream<S: AsyncRead + AsyncWrite + Unpin>(
    head: Vec<u8>,
    (coding, mut body): (Coding, UnsyncBoxBody<Bytes, BodyError>),
    (connection, count): (&mut Connection<S>, &impl Fn(usize) -> Result<Reservation, Problem>),
    (unread, meter): (&mut Bytes, &ConnectionMeter),
) -> io::Result<()> {
    let (mut out, mut client) = (head, Client::default());
    loop {
        let frame = poll_fn(|cx| {
            if let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(cx) {
                return Poll::Ready(Ok(Some(frame)));
            }
            if !out.is_empty() {
                return Poll::Ready(Ok(None));
            }
            client.poll_gone(connection, unread, meter, cx).map(Err)
        });
        match frame.await? {
            Some(Some(frame)) => {
                if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                    coding.append(&mut out, &data);
                }
                if out.len() < PIECE_BYTES {
                    continue;
                }
            }
            Some(None) => {
                coding.end(&mut out);
                return write(connection, &out).await;
            }
            None => {}
        }
        // The buffer is freed: nearly always nothing waits to be written.
        write_counted(connection, &std::mem::take(&mut out), count).await?;
    }
}

/// Writes a part of a stream. What a client does not take at once is counted; at the limit the connection
/// ends, and the session keeps the events.
async fn write_counted<S: AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    bytes: &[u8],
    count: impl Fn(usize) -> Result<Reservation, Problem>,
) -> io::Result<()> {
    let mut writing = pin!(write(connection, bytes));
    if let Some(written) = writing.as_mut().now_or_never() {
        return written;
    }
    let _held = count(bytes.len()).map_err(|problem| io::Error::other(problem.detail))?;
    writing.await
}

async fn write<S: AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    bytes: &[u8],
) -> io::Result<()> {
    connection.write_all(bytes).await?;
    connection.flush().await
}
