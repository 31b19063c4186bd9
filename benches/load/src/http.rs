//! One client's connection for requests: HTTP/1.1 or HTTP/2, by hyper. A connection of HTTP/1.1 runs in
//! the task of its client; one of HTTP/2 needs tasks of its own, which end when it is dropped.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN, REFERER};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::error::Broken;
use crate::net::Stream;
use crate::target::Endpoint;
use pabal_cost::{Headers, Http};

/// The largest response: a page of 200 messages of 16 KiB has about 3 MiB.
const MOST_BYTES: usize = 8 << 20;
/// Timeout of a response, beyond the wait of a long poll.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The headers that a browser sends with every request: Chrome 142 on Windows. The origin of its page is the
/// server's: a server refuses WebSockets of other origins.
const BROWSER: [(&str, &str); 13] = [
    ("accept", "*/*"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7"),
    ("cache-control", "no-cache"),
    ("pragma", "no-cache"),
    ("priority", "u=1, i"),
    ("sec-ch-ua", "\"Chromium\";v=\"142\", \"Google Chrome\";v=\"142\", \"Not_A Brand\";v=\"99\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Windows\""),
    ("sec-fetch-dest", "empty"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "same-origin"),
    (
        "user-agent",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/142.0.0.0 Safari/537.36",
    ),
];

/// The headers of the requests of a client.
pub(crate) fn headers(of: Headers, endpoint: &Endpoint, bearer: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if of == Headers::Browser {
        let browser = BROWSER.iter();
        headers.extend(
            browser.map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            }),
        );
        let page = endpoint.origin();
        for (name, value) in [(ORIGIN, page.clone()), (REFERER, format!("{page}/"))] {
            headers.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
        }
    }
    if let Some(bearer) = bearer {
        headers.insert(AUTHORIZATION, bearer.clone());
    }
    headers
}

/// A connection for one request at a time.
pub(crate) struct Connection {
    wire: Wire,
    endpoint: Arc<Endpoint>,
}

enum Wire {
    One {
        sender: http1::SendRequest<Full<Bytes>>,
        connection: Box<http1::Connection<TokioIo<Stream>, Full<Bytes>>>,
    },
    Two {
        sender: http2::SendRequest<Full<Bytes>>,
        _tasks: DropGuard,
    },
}

/// Spawns the tasks of an HTTP/2 connection: the crowd waits for their end, and they end with the connection.
#[derive(Clone)]
struct Tasks {
    tracker: TaskTracker,
    ended: CancellationToken,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let ended = self.ended.clone();
        self.tracker.spawn(async move { ended.run_until_cancelled_owned(task).await.map(drop) });
    }
}

impl Connection {
    pub(crate) async fn open(
        stream: Stream,
        endpoint: &Arc<Endpoint>,
        http: Http,
        tracker: &TaskTracker,
    ) -> Result<Self, Broken> {
        let (io, endpoint) = (TokioIo::new(stream), Arc::clone(endpoint));
        let wire = match http {
            Http::One => {
                let (sender, connection) =
                    http1::Builder::new().handshake(io).await.map_err(Broken::cut)?;
                Wire::One { sender, connection: Box::new(connection) }
            }
            Http::Two => {
                let ended = CancellationToken::new();
                let tasks = Tasks { tracker: tracker.clone(), ended: ended.clone() };
                let _tasks = ended.drop_guard();
                let handshake = http2::Builder::new(tasks.clone()).handshake(io);
                let handshake = timeout(ANSWER_WITHIN, handshake).await;
                let (sender, connection) = handshake.map_err(late)?.map_err(Broken::cut)?;
                tasks.execute(async move {
                    // Each pending request returns the error that ends the connection.
                    let _ = connection.await;
                });
                Wire::Two { sender, _tasks }
            }
        };
        Ok(Self { wire, endpoint })
    }

    /// Requests a JSON document.
    pub(crate) async fn json<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Option<&serde_json::Value>,
    ) -> Result<T, Broken> {
        let body = body.map(|body| Bytes::from(body.to_string()));
        let response = self.call(method, path, headers, body, Duration::ZERO).await?;
        serde_json::from_slice(&response).map_err(Broken::foreign)
    }

    /// Sends a request and waits for the whole response; returns its body if the status is a success.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Option<Bytes>,
        wait: Duration,
    ) -> Result<Bytes, Broken> {
        let whole = async {
            let response = self.ask(method, path, headers, body).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST_BYTES).collect();
            let body = self.drive(body).await?.map_err(Broken::cut)?.to_bytes();
            if status.is_success() { Ok(body) } else { Err(Broken::refusal(status, &body)) }
        };
        timeout(wait + ANSWER_WITHIN, whole).await.map_err(late)?
    }

    /// Requests a stream and waits for the head of the response.
    pub(crate) async fn stream(
        &mut self,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Incoming, Broken> {
        let head = async {
            let response = self.ask(Method::GET, path, headers, None).await?;
            self.good(response).await
        };
        timeout(ANSWER_WITHIN, head).await.map_err(late)?.map(Response::into_body)
    }

    /// Opens a WebSocket as a stream (RFC 8441).
    pub(crate) async fn extend(
        &mut self,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<hyper::upgrade::Upgraded, Broken> {
        let opened = async {
            let mut request = self.request(Method::CONNECT, path, headers, Bytes::new())?;
            let websocket = hyper::ext::Protocol::from_static("websocket");
            request.extensions_mut().insert(websocket);
            let Wire::Two { sender, .. } = &mut self.wire else {
                return Err(Broken::cut("RFC 8441 needs HTTP/2"));
            };
            sender.ready().await.map_err(Broken::cut)?;
            let response = sender.send_request(request).await.map_err(Broken::cut)?;
            let response = self.good(response).await?;
            hyper::upgrade::on(response).await.map_err(Broken::cut)
        };
        timeout(ANSWER_WITHIN, opened).await.map_err(late)?
    }

    /// The next part of a stream. Cancel-safe.
    pub(crate) async fn frame(&mut self, body: &mut Incoming) -> Result<Bytes, Broken> {
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
            let frame = self.drive(frame).await?;
            let frame = frame.ok_or_else(|| Broken::cut("the stream ended"))?;
            if let Ok(bytes) = Frame::into_data(frame.map_err(Broken::cut)?) {
                return Ok(bytes);
            }
        }
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Response<Incoming>, Broken> {
        let json = body.is_some();
        let mut request = self.request(method, path, headers, body.unwrap_or_default())?;
        if json {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
        }
        match &mut self.wire {
            Wire::One { sender, connection } => {
                drive(connection, sender.ready()).await?.map_err(Broken::cut)?;
                drive(connection, sender.send_request(request)).await?.map_err(Broken::cut)
            }
            Wire::Two { sender, .. } => {
                sender.ready().await.map_err(Broken::cut)?;
                sender.send_request(request).await.map_err(Broken::cut)
            }
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Broken> {
        let endpoint = &self.endpoint;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers.clone();
        let uri = if let Wire::One { .. } = self.wire {
            let host = HeaderValue::try_from(&endpoint.authority).map_err(Broken::cut)?;
            request.headers_mut().insert(HOST, host);
            format!("{}{path}", endpoint.prefix)
        } else {
            *request.version_mut() = Version::HTTP_2;
            format!("{}{}{path}", endpoint.origin(), endpoint.prefix)
        };
        *request.uri_mut() = uri.parse().map_err(Broken::cut)?;
        Ok(request)
    }

    async fn good(&mut self, response: Response<Incoming>) -> Result<Response<Incoming>, Broken> {
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let body = Limited::new(response.into_body(), MOST_BYTES).collect();
        let body = self.drive(body).await?.map_err(Broken::cut)?.to_bytes();
        Err(Broken::refusal(status, &body))
    }

    async fn drive<T>(&mut self, task: impl Future<Output = T>) -> Result<T, Broken> {
        match &mut self.wire {
            Wire::One { connection, .. } => drive(connection, task).await,
            Wire::Two { .. } => Ok(task.await),
        }
    }
}

/// Drives a connection until a task that needs it is done.
async fn drive<T>(
    connection: &mut http1::Connection<TokioIo<Stream>, Full<Bytes>>,
    task: impl Future<Output = T>,
) -> Result<T, Broken> {
    let mut task = pin!(task);
    poll_fn(|cx| {
        if let Poll::Ready(done) = task.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        let ended = Pin::new(&mut *connection).poll(cx);
        // The connection may have completed the task before it ended.
        if let Poll::Ready(done) = task.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        match ended {
            Poll::Ready(Ok(())) => Poll::Ready(Err(Broken::cut("the connection ended"))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(Broken::cut(error))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn late(_: tokio::time::error::Elapsed) -> Broken {
    Broken::cut("no response in time")
}
