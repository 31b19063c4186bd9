//! WebSockets: by upgrade of a connection of HTTP/1.1, or as a stream of HTTP/2 (RFC 8441).

use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http::HeaderMap;
use http::header::{HeaderValue, SEC_WEBSOCKET_VERSION};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::either::Either;
use tokio_util::task::TaskTracker;

use crate::error::Broken;
use crate::http::Connection;
use crate::net::{Duplex, Stream};
use crate::target::Endpoint;
use pabal_cost::Http;

/// A buffer of the default size is 128 KiB, and is cleared before each read.
const READ_BYTES: usize = 4 * 1024;
/// Frames of a server have about 64 KiB, or one event if that is larger.
const MESSAGE_BYTES: usize = 4 << 20;
/// Timeout of the handshake's response and of the write of a frame.
const WITHIN: Duration = Duration::from_secs(30);
/// A server pings every 25 s: after this time without a frame the connection is dead.
pub(crate) const SILENT: Duration = Duration::from_secs(90);

/// An open WebSocket.
pub(crate) struct Socket {
    stream: Box<WebSocketStream<Duplex>>,
    /// The connection of an HTTP/2 stream.
    _connection: Option<Connection>,
}

impl Socket {
    pub(crate) async fn open(
        stream: Stream,
        endpoint: &Arc<Endpoint>,
        path: &str,
        mut headers: HeaderMap,
        http: Http,
        tracker: &TaskTracker,
    ) -> Result<Self, Broken> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        if http == Http::Two {
            let mut connection = Connection::open(stream, endpoint, http, tracker).await?;
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            let upgraded = connection.extend(path, &headers).await?;
            let stream = Either::Right(TokioIo::new(upgraded));
            let stream = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
            return Ok(Self { stream: Box::new(stream), _connection: Some(connection) });
        }
        // The stream is encrypted already; the handshake needs a scheme all the same.
        let url = format!("ws://{}{}{path}", endpoint.authority, endpoint.prefix);
        let mut request = url.into_client_request().map_err(Broken::cut)?;
        request.headers_mut().extend(headers);
        let handshake = client_async_with_config(request, Either::Left(stream), Some(config));
        match timeout(WITHIN, handshake).await.map_err(|_| Broken::cut("no handshake in time"))? {
            Ok((stream, _)) => Ok(Self { stream: Box::new(stream), _connection: None }),
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                Err(Broken::refusal(response.status(), body))
            }
            Err(error) => Err(Broken::cut(error)),
        }
    }

    /// The next text. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Utf8Bytes, Broken> {
        loop {
            let frame = timeout(SILENT, self.stream.next()).await;
            match frame.map_err(|_| Broken::cut("no frame in time"))? {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map_or_else(
                        || Broken::cut("closed without a code"),
                        |frame| closed(frame.code.into(), &frame.reason),
                    ));
                }
                // Reading a ping has queued the pong, which this flush sends.
                Some(Ok(_)) => self.flush().await?,
                Some(Err(error)) => return Err(Broken::cut(error)),
                None => return Err(Broken::cut("the connection ended")),
            }
        }
    }

    /// Queues a text.
    pub(crate) async fn feed(&mut self, text: String) -> Result<(), Broken> {
        let fed = timeout(WITHIN, self.stream.feed(Message::text(text))).await;
        fed.map_err(|_| Broken::cut("nothing can be written"))?.map_err(Broken::cut)
    }

    /// Writes what was queued.
    pub(crate) async fn flush(&mut self) -> Result<(), Broken> {
        let flushed = timeout(WITHIN, self.stream.flush()).await;
        flushed.map_err(|_| Broken::cut("nothing can be written"))?.map_err(Broken::cut)
    }
}

/// The error of a close code, on a WebSocket or in the `closed` event of SSE.
pub(crate) fn closed(code: u16, reason: &str) -> Broken {
    match code {
        4404 => Broken::SessionGone,
        1012 => Broken::Draining { after_ms: 0, url: None },
        _ => Broken::Cut(format!("closed with {code}: {reason}")),
    }
}
