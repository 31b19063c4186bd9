//! A WebSocket client: it receives batches, and sends commands and acknowledgements.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http::header::{AUTHORIZATION, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Batch, Break};
use crate::account::{Account, Cursors, Id, Session, cursors_json};
use crate::http::{JsonResponse, RESPONSE_WITHIN};

/// How many batches are read ahead of the caller: few, so that a caller that stalls stalls the server, too.
const AHEAD: usize = 4;

/// How a WebSocket is requested.
#[derive(Clone, Copy, Debug)]
pub struct Handshake<'a> {
    path: &'a str,
    as_browser: bool,
}

impl<'a> Handshake<'a> {
    /// With the token in the `Authorization` header.
    pub fn to(path: &'a str) -> Self {
        Self { path, as_browser: false }
    }

    /// With the token among the subprotocols, as browsers must send it.
    #[must_use]
    pub fn as_browser(self) -> Self {
        Self { as_browser: true, ..self }
    }
}

/// An open WebSocket. Dropping it breaks the connection.
#[derive(Debug)]
pub struct WebSocket {
    arrived: mpsc::Receiver<Result<Arrived, Break>>,
    socket: Socket,
    task: AbortHandle,
    /// The headers of the server's handshake.
    pub headers: http::HeaderMap,
    session: Option<Session>,
}

#[derive(Debug)]
enum Arrived {
    Batch(Batch),
    Session(Session),
}

/// The writing side of a WebSocket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Socket {
    frames: mpsc::Sender<String>,
    replies: Replies,
    pings: Arc<AtomicU64>,
}

type Replies = Arc<Mutex<HashMap<String, oneshot::Sender<Value>>>>;

impl WebSocket {
    /// As [`open`](Self::open). Follows one redirection to the node that has the session.
    ///
    /// # Errors
    /// [`Break`].
    pub async fn open_where_it_lives(account: &Account, path: &str) -> Result<Self, Break> {
        let at = account.address().get();
        match Self::open_at(at, account, Handshake::to(path)).await {
            Err(broken) => match broken.elsewhere() {
                Some(there) => Self::open_at(there, account, Handshake::to(path)).await,
                None => Err(broken),
            },
            opened => opened,
        }
    }

    /// Connects and performs the handshake.
    ///
    /// # Errors
    /// [`Break`].
    pub async fn open(account: &Account, handshake: Handshake<'_>) -> Result<Self, Break> {
        Self::open_at(account.address().get(), account, handshake).await
    }

    async fn open_at(
        at: SocketAddr,
        account: &Account,
        handshake: Handshake<'_>,
    ) -> Result<Self, Break> {
        let url = format!("ws://{at}{}", handshake.path);
        let mut request = url.into_client_request().map_err(Break::silent)?;
        let header = |text: String| HeaderValue::from_str(&text).expect("a plain token");
        if handshake.as_browser {
            let offered = header(format!("pabal.v1, pabal.bearer.{}", account.token));
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, offered);
        } else {
            let bearer = header(format!("Bearer {}", account.token));
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        let open = async {
            let stream = TcpStream::connect(at).await.map_err(Break::silent)?;
            stream.set_nodelay(true).map_err(Break::silent)?;
            client_async(request, stream).await.map_err(|error| match error {
                Error::Http(response) => {
                    let (parts, body) = response.into_parts();
                    let body = body.unwrap_or_default();
                    let json = serde_json::from_slice(&body).unwrap_or_default();
                    let (status, headers) = (parts.status, parts.headers);
                    Break::Refused(Box::new(JsonResponse { status, headers, json }))
                }
                error => Break::silent(error),
            })
        };
        let (stream, response) = timeout(RESPONSE_WITHIN, open)
            .await
            .map_err(|_| Break::silent("no handshake in time"))??;
        let (frames, outgoing) = mpsc::channel(16);
        let (arrive, arrived) = mpsc::channel(AHEAD);
        let socket =
            Socket { frames, replies: Replies::default(), pings: Arc::new(AtomicU64::new(0)) };
        let task = tokio::spawn(run(stream, outgoing, arrive, socket.clone())).abort_handle();
        let headers = response.headers().clone();
        Ok(Self { arrived, socket, task, headers, session: None })
    }

    /// Opens a session and attaches to it in one step.
    ///
    /// # Errors
    /// [`Break`].
    pub async fn open_session(
        account: &Account,
        handshake: Handshake<'_>,
    ) -> Result<(Self, Session), Break> {
        let mut socket = Self::open(account, handshake).await?;
        match timeout(RESPONSE_WITHIN, socket.arrived.recv()).await {
            Ok(Some(Ok(Arrived::Session(session)))) => {
                socket.session = Some(session.clone());
                Ok((socket, session))
            }
            Ok(Some(Err(broken))) => Err(broken),
            other => panic!("the first frame is the session: {other:?}"),
        }
    }

    /// The writing side.
    pub fn socket(&self) -> Socket {
        self.socket.clone()
    }

    pub(super) async fn read(&mut self, after: Id, wait: Duration) -> Result<Batch, Break> {
        match timeout(wait, self.arrived.recv()).await {
            Err(_) => Ok(Batch::empty(after)),
            Ok(Some(Ok(Arrived::Batch(batch)))) => {
                assert!(!batch.events.is_empty(), "a frame without events");
                Ok(batch)
            }
            Ok(Some(Ok(Arrived::Session(session)))) => panic!("a second session: {session:?}"),
            Ok(Some(Err(broken))) => Err(broken),
            Ok(None) => Err(Break::silent("the connection ended")),
        }
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        self.task.abort();
        self.socket.lock().clear();
    }
}

impl Socket {
    /// Confirms the events up to `seq`.
    pub async fn ack(&self, seq: Id) {
        self.text(&json!({"ack": seq.to_string()})).await;
    }

    /// Requests catch-up from these cursors.
    pub async fn catch_up(&self, cursors: &Cursors) {
        self.text(&json!({"channels": cursors_json(cursors)})).await;
    }

    /// Sends a frame. Returns false if the connection is closed; the next read returns the reason.
    pub async fn text(&self, frame: &Value) -> bool {
        self.frames.send(frame.to_string()).await.is_ok()
    }

    /// Sends commands, one as an object and several as an array, and waits for every reply; `None` if they do
    /// not arrive.
    pub async fn commands(&self, commands: &[Value], within: Duration) -> Option<Vec<Value>> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut replies = Vec::new();
        let mut named = Vec::new();
        for command in commands {
            let id = format!("c{}", COUNT.fetch_add(1, Ordering::Relaxed));
            let mut command = command.clone();
            command["id"] = json!(id);
            named.push(command);
            let (replied, reply) = oneshot::channel();
            self.lock().insert(id, replied);
            replies.push(reply);
        }
        let sent = match named.as_slice() {
            [one] => self.text(one).await,
            many => self.text(&json!(many)).await,
        };
        if !sent {
            return None;
        }
        let replies = timeout(within, futures::future::try_join_all(replies)).await;
        replies.ok()?.ok()
    }

    /// How many pings the server has sent.
    pub fn pings(&self) -> u64 {
        self.pings.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Value>>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the connection until it ends, and returns the reason.
async fn run(
    stream: WebSocketStream<TcpStream>,
    mut outgoing: mpsc::Receiver<String>,
    arrive: mpsc::Sender<Result<Arrived, Break>>,
    socket: Socket,
) {
    let (mut sink, mut stream) = stream.split();
    let mut said = None;
    let end = loop {
        let frame = tokio::select! {
            Some(frame) = outgoing.recv() => {
                // After a failed write the read fails as well, with the more exact reason.
                let _ = sink.send(Message::text(frame)).await;
                continue;
            }
            frame = async { let _room = arrive.reserve().await; stream.next().await } => frame,
        };
        let text = match frame {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_))) => {
                socket.pings.fetch_add(1, Ordering::Relaxed);
                // Reading the ping has queued its pong; the next flush writes it.
                let _ = sink.flush().await;
                continue;
            }
            Some(Ok(Message::Close(frame))) => {
                let _ = sink.flush().await;
                break match frame {
                    Some(frame) => Break::Closed { code: frame.code.into(), said: said.take() },
                    None => Break::silent("closed without a code"),
                };
            }
            Some(Ok(_)) => continue,
            Some(Err(error)) => break Break::silent(error),
            None => break Break::silent("the connection ended"),
        };
        let document: Value = serde_json::from_str(&text).expect("frames are JSON");
        let arrived = if document.get("events").is_some() {
            Arrived::Batch(Batch::of(&document))
        } else if let Some(session) = document.get("session") {
            Arrived::Session(Session::of(session))
        } else if let Some(reply) = document.get("reply") {
            let id = reply["id"].as_str().unwrap_or_default();
            if let Some(command) = socket.lock().remove(id) {
                // An error means that the caller no longer waits for the reply.
                let _ = command.send(reply.clone());
            }
            continue;
        } else if let Some(error) = document.get("error") {
            said = Some(error.clone());
            continue;
        } else {
            panic!("a frame of no known kind: {document}");
        };
        if arrive.send(Ok(arrived)).await.is_err() {
            return;
        }
    };
    // The commands that wait for replies fail.
    socket.lock().clear();
    let _ = arrive.send(Err(end)).await;
}
