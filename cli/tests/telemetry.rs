//! Telemetry of the node: one trace per message, and no contents, passwords or tokens.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(30);
/// Texts that must be in no log line and no trace.
const CONTENT: &str = "MarkerOfContent";
const PASSWORD: &str = "MarkerOfPassword";

/// The program, and its log.
struct Program {
    child: Child,
    url: String,
    log: JoinHandle<String>,
}

impl Program {
    async fn start(data: &std::path::Path, format: &str, collector: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pabal"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--no-rate-limits"]);
        command.arg("--data").arg(data).env("PABAL_TELEMETRY_OTLP_ENDPOINT", collector);
        command.args(["--log", "trace,tungstenite::protocol=trace"]);
        command.env("PABAL_LOG_FORMAT", format).env("PABAL_STORAGE_PARTITIONS", "4");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut err = child.stderr.take().unwrap();
        let log = tokio::spawn(async move {
            let mut bytes = Vec::new();
            err.read_to_end(&mut bytes).await.unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.as_mut().unwrap());
        timeout(SOON, out.read_line(&mut line)).await.unwrap().unwrap();
        let url = line.trim_end().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url, log }
    }

    /// Stops the program, and returns its log.
    async fn stop(mut self) -> String {
        let id = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").arg(id).status().unwrap().success());
        let status = timeout(SOON, self.child.wait()).await.unwrap().unwrap();
        let log = timeout(SOON, self.log).await.unwrap().unwrap();
        assert!(status.success(), "{log}");
        log
    }
}

#[derive(Clone)]
struct Person {
    url: String,
    http: reqwest::Client,
    token: String,
    id: String,
}

impl Person {
    async fn sign_up(url: &str, name: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut person = Self { url: url.into(), http, token: String::new(), id: String::new() };
        let body = json!({"username": name, "password": PASSWORD, "display_name": name});
        let response = person.call(Method::POST, "/v1/users", body).await;
        person.token =
            response["token"].as_str().unwrap_or_else(|| panic!("{response}")).to_owned();
        person.id = response["user"]["user_id"].as_str().unwrap().to_owned();
        person
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let text = request.timeout(SOON).send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }

    async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, Value::Null).await
    }

    /// Sends a message, and returns its id.
    async fn send(&self, channel: &str) -> String {
        let path = format!("/v1/channels/{channel}/messages");
        let response = self.call(Method::POST, &path, json!({"content": CONTENT})).await;
        let id = response["message"]["message_id"].as_str();
        id.unwrap_or_else(|| panic!("{response}")).to_owned()
    }

    async fn session(&self) -> String {
        let response = self.call(Method::POST, "/v1/sessions", json!({})).await;
        response["session_id"].as_str().unwrap_or_else(|| panic!("{response}")).to_owned()
    }
}

/// Sends a message by WebSocket, and reads until it is delivered.
async fn by_websocket(person: &Person, channel: &str) {
    let session = person.session().await;
    let address = person.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /v1/sessions/{session}/websocket?after=0 HTTP/1.1\r\nhost: {address}\r\n\
         connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: Bearer {}\r\n\r\n",
        person.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let command = json!({"id": "c1", "type": "send", "channel_id": channel, "content": CONTENT});
    let text = command.to_string();
    // A masked text frame; a mask of zeroes changes nothing.
    let mut frame = vec![0x81, 0x80 | 126, 0, 0, 0, 0, 0, 0];
    frame[2..4].copy_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
    frame.extend(text.as_bytes());
    stream.write_all(&frame).await.unwrap();
    let mut received = Vec::new();
    let receive = async {
        while !received.windows(CONTENT.len()).any(|bytes| bytes == CONTENT.as_bytes()) {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "the socket was closed");
        }
    };
    timeout(SOON, receive).await.unwrap();
}

/// Sends and receives messages by every transport. Returns the ids of the messages sent by HTTP,
/// and the tokens.
async fn converse(url: &str) -> (Vec<String>, Vec<String>) {
    let (ann, bob) = (Person::sign_up(url, "ann").await, Person::sign_up(url, "bob").await);
    let direct = ann.call(Method::PUT, &format!("/v1/direct/{}", bob.id), Value::Null).await;
    let channel = direct["channel"]["channel_id"].as_str().unwrap();
    let mut sent = Vec::new();
    for transport in ["poll", "long-poll", "events"] {
        let session = bob.session().await;
        sent.push(ann.send(channel).await);
        let path = format!("/v1/sessions/{session}/{transport}?after=0");
        let received = match transport {
            // The stream does not end: reads until the message has arrived.
            "events" => {
                let request = bob.http.get(format!("{url}{path}")).bearer_auth(&bob.token);
                let mut response = request.send().await.unwrap();
                let mut text = String::new();
                while !text.contains(CONTENT) {
                    let piece = timeout(SOON, response.chunk()).await.unwrap().unwrap().unwrap();
                    text.push_str(&String::from_utf8_lossy(&piece));
                }
                text
            }
            // A message is acknowledged when it is durable, and delivered a moment later.
            _ => {
                let mut received = String::new();
                let poll = async {
                    while !received.contains(CONTENT) {
                        received = bob.get(&path).await.to_string();
                    }
                };
                timeout(SOON, poll).await.unwrap_or_else(|_| panic!("{transport}"));
                received
            }
        };
        assert!(received.contains(CONTENT), "{transport}: {received}");
    }
    by_websocket(&bob, channel).await;
    let page = ann.get(&format!("/v1/channels/{channel}/messages")).await;
    assert_eq!(page["messages"].as_array().unwrap().len(), 4);
    // Refused requests are logged as well.
    let wrong = json!({"username": "ann", "password": format!("{PASSWORD} wrong")});
    ann.call(Method::POST, "/v1/login", wrong).await;
    let bad = json!({"content": [CONTENT]});
    ann.call(Method::POST, &format!("/v1/channels/{channel}/messages"), bad).await;
    ann.call(Method::POST, "/v1/channels/1/messages", json!({"content": CONTENT})).await;
    ann.get(&format!("/v1/users?prefix={CONTENT}")).await;
    (sent, vec![ann.token, bob.token])
}

/// A collector of traces, and the bodies that it received.
async fn collector() -> (String, Arc<Mutex<Vec<Bytes>>>) {
    let bodies = Arc::<Mutex<Vec<Bytes>>>::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let kept = Arc::clone(&bodies);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let kept = Arc::clone(&kept);
            let take = service_fn(move |request: Request<Incoming>| {
                let kept = Arc::clone(&kept);
                async move {
                    assert_eq!(
                        (request.method(), request.uri().path()),
                        (&Method::POST, "/v1/traces")
                    );
                    let body = request.into_body().collect().await?.to_bytes();
                    kept.lock().unwrap().push(body);
                    Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), take));
        }
    });
    (url, bodies)
}

/// All spans, by trace.
fn traces(bodies: &[Bytes]) -> BTreeMap<Vec<u8>, Vec<Span>> {
    let mut traces = BTreeMap::<_, Vec<Span>>::new();
    for body in bodies {
        let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|it| it.scope_spans);
        for span in scopes.flat_map(|it| it.spans) {
            traces.entry(span.trace_id.clone()).or_default().push(span);
        }
    }
    traces
}

/// The value of an attribute of a span.
fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue;
    let attribute = span.attributes.iter().find(|it| it.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        StringValue(text) => Some(text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_has_every_stage_of_a_message_and_no_contents() {
    for format in ["text", "json"] {
        let (url, bodies) = collector().await;
        let folder = tempfile::tempdir().unwrap();
        let program = Program::start(&folder.path().join("data"), format, &url).await;
        let (sent, tokens) = converse(&program.url).await;
        let log = program.stop().await;
        let bodies = bodies.lock().unwrap().clone();

        let secrets = tokens.iter().map(String::as_str).chain([CONTENT, PASSWORD]);
        for secret in secrets {
            if let Some(line) = log.lines().find(|line| line.contains(secret)) {
                panic!("{format}: {secret} is in the log: {line}");
            }
            let has = |body: &Bytes| body.windows(secret.len()).any(|it| it == secret.as_bytes());
            assert!(!bodies.iter().any(has), "{secret} is in a trace");
        }
        assert!(log.contains("TRACE"), "everything is logged: {log}");
        assert_eq!(format == "json", log.lines().all(|line| line.starts_with('{')), "{log}");

        let traces = traces(&bodies);
        for message_id in &sent {
            let of_message = traces.values().find(|spans| {
                spans.iter().any(|span| attribute(span, "message_id") == Some(message_id))
            });
            let spans = of_message.unwrap_or_else(|| panic!("no trace of {message_id}"));
            let root = spans.iter().find(|span| span.parent_span_id.is_empty()).unwrap();
            assert_eq!(root.name, "message");
            let stages: Vec<_> = spans.iter().filter(|it| it.span_id != root.span_id).collect();
            let names: BTreeSet<_> = stages.iter().map(|span| span.name.as_str()).collect();
            let expected = ["authorize", "deliver", "route", "sequence", "store"];
            assert_eq!(names, expected.into(), "{spans:#?}");
            assert!(stages.iter().all(|span| span.parent_span_id == root.span_id));
            let begins = |name| {
                let stage = stages.iter().find(|span| span.name == name).unwrap();
                stage.start_time_unix_nano
            };
            let order = ["authorize", "sequence", "store", "route", "deliver"].map(begins);
            assert!(order.is_sorted(), "{order:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_or_silent_collector_does_not_delay_sends() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let unavailable = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    // Accepts connections and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    for (collector, reported) in [(unavailable, true), (silent_url, false)] {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::start(&folder.path().join("data"), "text", &collector).await;
        let (ann, bob) = (
            Person::sign_up(&program.url, "ann").await,
            Person::sign_up(&program.url, "bob").await,
        );
        let direct = ann.call(Method::PUT, &format!("/v1/direct/{}", bob.id), Value::Null).await;
        let channel = direct["channel"]["channel_id"].as_str().unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1_500) {
            let sent = Instant::now();
            ann.send(channel).await;
            assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
        }
        let stopping = Instant::now();
        let log = program.stop().await;
        assert!(stopping.elapsed() < Duration::from_secs(10), "{:?}", stopping.elapsed());
        let warnings = log.matches("trace collector unavailable").count();
        assert_eq!(warnings, usize::from(reported), "one warning per outage, not per request");
    }
}
