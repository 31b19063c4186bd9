//! WebSocket (RFC 6455): batches and replies from the server, commands and acknowledgements to it.
//!
//! A task serves the socket, so that pings are answered by pongs and replies arrive even while the caller
//! takes no events.

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

use super::reader::{Broken, Reader, with_query};
use crate::connect::command::Reply;
use crate::connect::session::Mount;
use crate::error::Problem;
use crate::event::Batch;
use crate::http::{Failure, refusal};
use crate::ids::Seq;
use crate::net::{Stream, within};

/// How many batches wait for the reader. The line ends when one more arrives; the next line reads it again.
const BATCHES: usize = 64;
/// How many frames wait to be written.
const FRAMES: usize = 64;
/// The default buffer has 128 KiB, which is cleared before each read.
const READ_BYTES: usize = 4 * 1024;
/// A frame of the server has about 64 KiB, or holds one event if that is larger.
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

/// A frame of the server: a batch, a reply, or the problem for which it is about to close.
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
        let (deliver, batches) = mpsc::channel(BATCHES);
        let socket = Socket { frames, replies: Arc::default() };
        // The server sends a ping at each interval; one may be late.
        let silence = mount.ping_interval * 2 + establish;
        let task = tokio::spawn(serve(stream, outgoing, deliver, socket.clone(), silence));
        Ok(Self { batches, socket, task })
    }

    pub(super) async fn read(&mut self) -> Result<Batch, Broken> {
        // The task ends without a reason only if the queue was full.
        self.batches.recv().await.unwrap_or(Err(Broken::Lagged))
    }

    pub(super) fn socket(&self) -> Socket {
        self.socket.clone()
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        self.task.abort();
        // The commands that wait for replies fail.
        self.socket.lock().clear();
    }
}

impl Socket {
    /// Confirms the events up to `seq`. Skipped while the queue is full: the next one confirms more.
    pub(crate) fn ack(&self, seq: Seq) {
        let _ = self.frames.try_send(format!("{{\"ack\":\"{seq}\"}}"));
    }

    /// Sends a command and waits for its reply. `None` if the socket ends first.
    pub(crate) async fn command(&self, id: &str, json: String) -> Option<Reply> {
        let (replied, reply) = oneshot::channel();
        self.lock().insert(id.to_owned(), replied);
        let _forget = Forget { socket: self, id };
        self.frames.send(json).await.ok()?;
        reply.await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Reply>>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Socket {
    /// A socket without a connection, and the frames that were written to it.
    pub(crate) fn unconnected() -> (Self, mpsc::Receiver<String>) {
        let (frames, written) = mpsc::channel(FRAMES);
        (Self { frames, replies: Arc::default() }, written)
    }

    /// Delivers a reply of the server.
    pub(crate) fn reply(&self, json: &str) {
        let reply: Reply = serde_json::from_str(json).unwrap();
        let command = self.lock().remove(reply.id.as_ref().unwrap());
        command.unwrap().send(reply).unwrap();
    }

    /// Ends the socket; the replies that are outstanding are lost.
    pub(crate) fn lose(&self) {
        self.lock().clear();
    }
}

/// Forgets a command when its caller no longer waits for the reply.
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
    // The connector has encrypted the stream already; the handshake still expects the scheme.
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
        // The response was HTTP, but not a WebSocket handshake.
        Err(error) => Err(Broken::Refused(error.to_string())),
    }
}

/// A response other than 101: a problem of the server, or a proxy that does not support WebSocket.
fn not_switched(status: StatusCode, body: &[u8]) -> Broken {
    match refusal(status, body) {
        failure @ Failure::Problem(_) => Broken::Failed(failure),
        // A proxy that does not know how to forward the upgrade may respond with these, too; so it counts
        // as a failure of the transport.
        Failure::Foreign(status @ (502..=504), _) => Broken::cut(format!("status {status}")),
        failure => Broken::of_transport(failure),
    }
}

async fn serve(
    stream: WebSocketStream<Stream>,
    mut outgoing: mpsc::Receiver<String>,
    batches: mpsc::Sender<Result<Batch, Broken>>,
    socket: Socket,
    silence: Duration,
) {
    let (mut sink, mut stream) = stream.split();
    let mut batches = Some(batches);
    let mut problem = None;
    let end = loop {
        let frame = tokio::select! {
            Some(frame) = outgoing.recv() => {
                if timeout(silence, sink.send(Message::text(frame))).await.is_err() {
                    break Broken::cut("a frame could not be written in time");
                }
                // After a failed write the read fails as well, with the more exact reason.
                continue;
            }
            frame = timeout(silence, stream.next()) => frame,
        };
        let text = match frame {
            Err(_) => break Broken::cut("the socket was silent for too long"),
            Ok(None) => break Broken::cut("the connection ended"),
            Ok(Some(Err(error))) => break Broken::cut(error),
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(Some(Ok(Message::Close(frame)))) => {
                let _ = timeout(silence, sink.flush()).await;
                break frame.map_or_else(
                    || Broken::cut("closed without a code"),
                    |frame| Broken::Closed(frame.code.into(), problem.take()),
                );
            }
            Ok(Some(Ok(_))) => {
                // Reading a ping has queued its pong; this writes it.
                let _ = timeout(silence, sink.flush()).await;
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
                // The reader finds the end after the batches that are queued. Replies still arrive.
                batches = None;
            }
        }
        if let Some(reply) = frame.reply {
            let command = reply.id.as_ref().and_then(|id| socket.lock().remove(id));
            if let Some(command) = command {
                // An error means that the caller no longer waits for the reply.
                let _ = command.send(reply);
            }
        }
        if let Some(error) = frame.error {
            problem = Some(Box::new(error));
        }
    };
    outgoing.close();
    socket.lock().clear();
    if let Some(batches) = batches {
        // An error means that the line was dropped.
        let _ = batches.send(Err(end)).await;
    }
}
