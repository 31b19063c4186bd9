//! WebSocket (RFC 6455): frames that are batches one way, commands and acknowledgements the other.
//!
//! The socket is served by a task of its own, so that pings are answered and replies arrive even
//! while the caller takes no events.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http::StatusCode;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{Broken, Reader, refused, with_query};
use crate::connect::outbox::Reply;
use crate::connect::session::Mount;
use crate::error::Problem;
use crate::event::Batch;
use crate::http::{Failure, refusal};
use crate::ids::Seq;
use crate::net::{Stream, within};

/// As many batches as wait for the reader. What comes beyond is let go of, and read again later.
const BATCHES: usize = 64;
/// As many frames as wait to be written.
const FRAMES: usize = 64;
/// A buffer of the default size is 128 KiB, and is cleared before each read.
const READ_BYTES: usize = 4 * 1024;
/// Frames of the server have about 64 KiB, or one event if that is larger.
const MESSAGE_BYTES: usize = 4 << 20;

/// An open WebSocket. Dropping it ends its task and its connection.
#[derive(Debug)]
pub(crate) struct WebSocket {
    batches: mpsc::Receiver<Result<Batch, Broken>>,
    socket: Socket,
    task: JoinHandle<()>,
}

/// The writing side.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    frames: mpsc::Sender<String>,
    replies: Arc<Mutex<HashMap<String, oneshot::Sender<Reply>>>>,
}

/// A frame of the server: a batch, a reply, or a word before it closes.
#[derive(Debug, Deserialize)]
struct Frame {
    events: Option<Vec<Box<RawValue>>>,
    next: Option<Seq>,
    reply: Option<Reply>,
    error: Option<Problem>,
}

impl WebSocket {
    pub(super) async fn open(reader: &Reader, mount: &Mount, after: Seq) -> Result<Self, Broken> {
        let establish = reader.fallback.establish_within;
        let opened = within(establish, connect(reader, mount, after)).await;
        let stream = opened.ok_or_else(|| Broken::cut("no handshake in time"))??;
        let (frames, outgoing) = mpsc::channel(FRAMES);
        let (taken, batches) = mpsc::channel(BATCHES);
        let socket = Socket { frames, replies: Arc::default() };
        // Two pings without one, and some patience.
        let quiet = mount.ping_interval * 2 + establish;
        let task = tokio::spawn(serve(stream, outgoing, taken, socket.clone(), quiet));
        Ok(Self { batches, socket, task })
    }

    pub(super) async fn read(&mut self) -> Result<Batch, Broken> {
        // Without a word it ends only when it could not put one in.
        self.batches.recv().await.unwrap_or(Err(Broken::Lagged))
    }

    pub(super) fn socket(&self) -> Socket {
        self.socket.clone()
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        self.task.abort();
        // Those who wait for replies learn that none will come.
        self.socket.lock().clear();
    }
}

impl Socket {
    /// Confirms the events up to `seq`, unless there is no room to say so now.
    pub(crate) fn ack(&self, seq: Seq) {
        let _ = self.frames.try_send(format!("{{\"ack\":\"{seq}\"}}"));
    }

    /// Sends a command and waits for its reply. `None` if none will come.
    pub(crate) async fn command(&self, id: &str, json: String) -> Option<Reply> {
        let (tell, told) = oneshot::channel();
        self.lock().insert(id.to_owned(), tell);
        let _forget = Forget { socket: self, id };
        self.frames.send(json).await.ok()?;
        told.await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Reply>>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Socket {
    /// A socket with nothing behind it but what it was told to write.
    pub(crate) fn to_nowhere() -> (Self, mpsc::Receiver<String>) {
        let (frames, written) = mpsc::channel(FRAMES);
        (Self { frames, replies: Arc::default() }, written)
    }

    /// Replies as a server does.
    pub(crate) fn reply(&self, json: &str) {
        let reply: Reply = serde_json::from_str(json).unwrap();
        let waits = self.lock().remove(reply.id.as_ref().unwrap());
        waits.unwrap().send(reply).unwrap();
    }

    /// Breaks, with every reply that is still to come.
    pub(crate) fn lose(&self) {
        self.lock().clear();
    }
}

/// Nobody waits for a reply any longer.
struct Forget<'a> {
    socket: &'a Socket,
    id: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.socket.lock().remove(self.id);
    }
}

async fn connect(
    reader: &Reader,
    mount: &Mount,
    after: Seq,
) -> Result<WebSocketStream<Stream>, Broken> {
    let connector = reader.http.connector();
    connector.meter().requests.fetch_add(1, Ordering::Relaxed);
    let url = with_query(mount, &format!("after={after}"))?;
    let stream = connector.connect(&url).await;
    let stream = stream.map_err(|error| Failure::NoConnection(error.to_string()))?;
    // Encryption is the connector's business already; the handshake wants the scheme all the same.
    let url = url.to_string().replacen("http", "ws", 1);
    let mut request = url.into_client_request().map_err(Broken::cut)?;
    request.headers_mut().insert(AUTHORIZATION, reader.token.bearer());
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES));
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((stream, _)) => Ok(stream),
        Err(Error::Http(response)) => {
            Err(not_switched(response.status(), response.body().as_deref().unwrap_or_default()))
        }
        Err(Error::Io(error)) => Err(Broken::cut(error)),
        // It was HTTP, and no handshake of a WebSocket.
        Err(error) => Err(Broken::Refused(error.to_string())),
    }
}

/// An answer other than 101: the server's own word, or somebody between who does not know WebSocket.
fn not_switched(status: StatusCode, body: &[u8]) -> Broken {
    match refusal(status, body) {
        failure @ Failure::Problem(_) => Broken::Failed(failure),
        // The status of whoever does not know what to do, however passing it claims to be.
        Failure::Foreign(status @ (502..=504), _) => Broken::cut(format!("status {status}")),
        failure => refused(failure),
    }
}

async fn serve(
    stream: WebSocketStream<Stream>,
    mut outgoing: mpsc::Receiver<String>,
    batches: mpsc::Sender<Result<Batch, Broken>>,
    socket: Socket,
    quiet: Duration,
) {
    let (mut sink, mut stream) = stream.split();
    let mut batches = Some(batches);
    let mut said = None;
    let end = loop {
        let frame = tokio::select! {
            Some(frame) = outgoing.recv() => {
                if timeout(quiet, sink.send(Message::text(frame))).await.is_err() {
                    break Broken::cut("nothing can be written");
                }
                // If it failed, the reading side has the better reason.
                continue;
            }
            frame = timeout(quiet, stream.next()) => frame,
        };
        let text = match frame {
            Err(_) => break Broken::cut("the socket fell silent"),
            Ok(None) => break Broken::cut("the connection ended"),
            Ok(Some(Err(error))) => break Broken::cut(error),
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(Some(Ok(Message::Close(frame)))) => {
                let _ = timeout(quiet, sink.flush()).await;
                break frame.map_or_else(
                    || Broken::cut("closed without a code"),
                    |frame| Broken::Closed(frame.code.into(), said.take()),
                );
            }
            Ok(Some(Ok(_))) => {
                // The answer to a ping was queued by reading; it leaves with this.
                let _ = timeout(quiet, sink.flush()).await;
                continue;
            }
        };
        let frame: Frame = match serde_json::from_str(&text) {
            Ok(frame) => frame,
            Err(error) => break Broken::cut(error),
        };
        if let Some((events, next)) = frame.events.zip(frame.next) {
            let batch = Ok(Batch { events, next, timeout: false });
            if batches.as_ref().is_some_and(|batches| batches.try_send(batch).is_err()) {
                // The reader finds the end when it has taken the rest; replies still come.
                batches = None;
            }
        }
        if let Some(reply) = frame.reply {
            let waits = reply.id.as_ref().and_then(|id| socket.lock().remove(id));
            if let Some(tell) = waits {
                // Whoever gave up waiting does not want to know.
                let _ = tell.send(reply);
            }
        }
        if let Some(error) = frame.error {
            said = Some(Box::new(error));
        }
    };
    outgoing.close();
    socket.lock().clear();
    if let Some(batches) = batches {
        // No room is as good as no reader: it finds the end all the same.
        let _ = batches.send(Err(end)).await;
    }
}
