//! Fuzz target of the two readers of HTTP/1.1: whatever a client writes, cut wherever, the poll server with
//! hyper behind it gives the same bytes as hyper alone. Two listeners of one node serve the same input,
//! each with a session of its own that holds the same events.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use pabal_contract::fuzz::{mutated, run_for_budget};
use pabal_gateway::app::App;
use pabal_gateway::config::{Config, ServeFlags};
use pabal_gateway::server::{Listeners, Readers, Server};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{PASSWORD, send, text};

const SOON: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(5);
/// How long a connection is quiet before the client ends what it may be waiting for. A busy machine may
/// make one side quiet for longer: an input whose responses differ is tried again, with more patience.
const QUIET: Duration = Duration::from_millis(150);
const TRIES: u32 = 3;
/// The last request on each connection. Its response ends the connection, unless it became part of what was
/// written before.
const LAST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// What a client of HTTP/2 writes first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Parts of requests, in positions where they may not belong.
const TOKENS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\n\n",
    b"\r",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PRI",
    b"host: x\r\n",
    b"host: a b\r\n",
    b"content-length: 5\r\n",
    b"content-length: 0\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n",
    b"connection: keep-alive\r\n",
    b"expect: 100-continue\r\n",
    b"0\r\n\r\n",
    b"http://x",
    b"/v1/sessions/",
    b"?after=1",
    b"&limit=1",
    b":",
    b" ",
    b"\0",
    b"\x80",
    b"%00",
];

/// A request as a client may write it. `SESSION` and `TOKEN` stand for what each listener has of its own.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let targets = [
        "poll",
        "poll?after=0",
        "poll?after=2&limit=1",
        "poll?after=9",
        "poll?limit=0",
        "poll?after=x",
        "long-poll?after=0",
        "long-poll?after=3&wait_ms=5",
        "long-poll?after=1&wait_ms=0&limit=1",
        "events?after=0",
        "events",
        "commands",
        "nothing",
    ];
    let sessions = targets.map(|target| format!("/v1/sessions/SESSION/{target}"));
    let others =
        ["/v1/me", "/healthz", "/v1/nothing", "http://pabal/v1/sessions/SESSION/poll", "*"];
    let targets = sessions.into_iter().chain(others.map(str::to_owned)).collect::<Vec<_>>();
    // Each ends the head of a request, and may have a body.
    let rests = [
        "\r\n",
        "\r\n",
        "\r\n",
        "connection: keep-alive\r\n\r\n",
        "connection: keep-alive, x\r\n\r\n",
        "connection: close\r\n\r\n",
        "content-length: 0\r\n\r\n",
        "content-length: 2\r\n\r\n{}",
        "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "x-request-id: trace-7\r\n\r\n",
        "origin: https://x.example\r\n\r\n",
        "last-event-id: 2\r\n\r\n",
        "host: again\r\n\r\n",
        "expect: 100-continue\r\ncontent-length: 2\r\n\r\n{}",
        "forwarded: for=192.0.2.1\r\n\r\n",
        "x: y\r\n folded: z\r\n\r\n",
        "transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ];
    let many = "x: y\r\n".repeat(40) + "\r\n";
    let rests = rests.map(str::to_owned).into_iter().chain([many]).collect::<Vec<_>>();
    let methods = select(&["GET", "GET", "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS"][..]);
    let versions = select(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0"][..]);
    let hosts =
        select(&["host: pabal\r\n", "host: pabal\r\n", "host: pabal\r\n", "Host:x\r\n", ""][..]);
    let request = (methods, select(targets), versions, hosts, select(rests)).prop_map(
        |(method, target, version, host, rest)| {
            format!("{method} {target} {version}\r\n{host}authorization: Bearer TOKEN\r\n{rest}")
        },
    );
    prop_oneof![
        15 => request.prop_map(String::into_bytes),
        1 => Just(PREFACE.to_vec()),
        1 => Just(b"PRI /healthz HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        1 => vec(any::<u8>(), 0..30),
    ]
}

/// A node with two listeners, and a user whose new sessions hold three messages.
struct Twins {
    app: App,
    servers: [Server; 2],
    addresses: [SocketAddr; 2],
    http: reqwest::Client,
    token: String,
    channel_id: String,
    _folder: tempfile::TempDir,
}

impl Twins {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let flags = ServeFlags {
            listen: Some("127.0.0.1:0".parse().unwrap()),
            data: Some(folder.path().join("data")),
            no_rate_limits: true,
            ..ServeFlags::default()
        };
        let mut config = Config::load(&flags, []).unwrap();
        config.storage.partitions = 4;
        config.limits.sessions_per_user = 100_000;
        let listeners = [0, 1].map(|_| Listeners::bind(&config.server).unwrap());
        let addresses = [0, 1].map(|it: usize| listeners[it].address().unwrap());
        let app = App::build(&config, addresses[0], None).await.unwrap();
        let [poll_server, hyper] = listeners;
        let servers = [
            Server::start_with(poll_server, app.services(), &config, Readers::PollServer),
            Server::start_with(hyper, app.services(), &config, Readers::HyperOnly),
        ];
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let (token, channel_id) = (String::new(), String::new());
        let mut this = Self { app, servers, addresses, http, token, channel_id, _folder: folder };
        let bob = this.sign_up("bob").await;
        let ann = this.sign_up("ann").await;
        this.token = text(&ann["token"]);
        let path = format!("/v1/direct/{}", text(&bob["user"]["user_id"]));
        this.channel_id = text(&this.call(Method::PUT, &path, None).await["channel"]["channel_id"]);
        let path = format!("/v1/channels/{}/messages", this.channel_id);
        for content in ["one", "two", "three"] {
            this.call(Method::POST, &path, Some(json!({"content": content}))).await;
        }
        this
    }

    async fn sign_up(&self, username: &str) -> Value {
        let body = json!({"username": username, "password": PASSWORD});
        self.call(Method::POST, "/v1/users", Some(body)).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let url = format!("http://{}{path}", self.addresses[0]);
        let token = (!self.token.is_empty()).then_some(&*self.token);
        let reply = send(&self.http, method, url, token, body).await;
        assert!(reply.status.is_success(), "{reply:?}");
        reply.body
    }

    async fn open_session(&self) -> String {
        let body = json!({"channels": {self.channel_id.as_str(): "0"}});
        text(&self.call(Method::POST, "/v1/sessions", Some(body)).await["session_id"])
    }

    async fn end_session(&self, id: &str) {
        let url = format!("http://{}/v1/sessions/{id}", self.addresses[0]);
        // 410 if the input has ended it.
        let reply = send(&self.http, Method::DELETE, url, Some(&self.token), None).await;
        assert!(matches!(reply.status.as_u16(), 204 | 410), "{reply:?}");
    }

    /// What the listener writes in response to `input`, cut at these positions.
    async fn responses(
        &self,
        address: SocketAddr,
        input: &[u8],
        (cuts, closes): (&[Index], bool),
        quiet: Duration,
    ) -> String {
        let session = self.open_session().await;
        let input = replaced(&replaced(input, b"SESSION", &session), b"TOKEN", &self.token);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
        let mut from = 0;
        for to in cuts.into_iter().chain([input.len()]) {
            // The server may have closed.
            if write.write_all(&input[from..to]).await.is_err() {
                break;
            }
            from = to;
            // The server, which shares this thread pool, reads the piece by itself, or does not.
            tokio::task::yield_now().await;
        }
        let _ = write.write_all(LAST).await;
        if closes {
            let _ = write.shutdown().await;
        }
        let (mut out, mut ended) = (Vec::new(), false);
        loop {
            match timeout(quiet, read.read_buf(&mut out)).await {
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(_)) => {}
                Err(_) if !ended => {
                    // A stream or a poll may wait at the session.
                    self.end_session(&session).await;
                    ended = true;
                }
                Err(_) => {
                    // The server waits for the rest of a request.
                    let _ = write.shutdown().await;
                    let rest = timeout(SOON, read.read_to_end(&mut out)).await;
                    let _ = rest.expect("the connection ends");
                    break;
                }
            }
        }
        self.end_session(&session).await;
        comparable(&out)
    }

    /// Whether both readers give the same responses, and the responses.
    async fn agree(
        &self,
        input: &[u8],
        cuts: &[Index],
        closes: bool,
    ) -> Result<String, TestCaseError> {
        // What waits for events ends when the client closes its side, which depends on timing.
        let waits = [&b"long-poll"[..], b"events"].iter().any(|name| contains(input, name));
        let cuts = (cuts, closes && !waits);
        let mut quiet = QUIET;
        for attempt in 1.. {
            let [one, other] = self.addresses;
            let (poll_server, hyper) = tokio::join!(
                self.responses(one, input, cuts, quiet),
                self.responses(other, input, cuts, quiet),
            );
            if attempt < TRIES && poll_server != hyper {
                quiet *= 4;
                continue;
            }
            prop_assert_eq!(&poll_server, &hyper, "{:?}", String::from_utf8_lossy(input));
            return Ok(poll_server);
        }
        unreachable!("the last attempt returns")
    }

    async fn stop(self) {
        self.app.drain(GRACE).await;
        for server in self.servers {
            server.finish(GRACE).await;
        }
        self.app.shutdown(GRACE).await;
    }
}

fn contains(bytes: &[u8], name: &[u8]) -> bool {
    bytes.windows(name.len()).any(|window| window == name)
}

fn replaced(bytes: &[u8], name: &[u8], value: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    while let Some(at) = rest.windows(name.len()).position(|window| window == name) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(value.as_bytes());
        rest = &rest[at + name.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Responses without what differs between two connections: the date, and random ids of 16 hex digits.
fn comparable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let dated = text.split_inclusive("\r\n").filter(|line| !line.starts_with("date: "));
    let (mut out, mut run) = (String::new(), String::new());
    for c in dated.flat_map(str::chars).chain(['\n']) {
        if c.is_ascii_hexdigit() {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() == 16 { "(id)" } else { &run });
        run.clear();
        out.push(c);
    }
    out
}

#[test]
fn readers_agree_on_any_bytes_cut_anywhere() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let twins = runtime.block_on(Twins::start());
    let input = vec(requests(), 1..6).prop_map(|requests| requests.concat());
    let cuts = prop_oneof![1 => Just(Vec::new()), 2 => vec(any::<Index>(), 1..5)];
    let (served, streamed, refused) = (Cell::new(0), Cell::new(0), Cell::new(0));
    // Several at once, beside each other.
    let inputs = vec((mutated(input, TOKENS), cuts, any::<bool>()), 1..9);
    run_for_budget(file!(), inputs, |inputs| {
        runtime.block_on(async {
            // HTTP/2 from the first byte on is served by hyper on both listeners, in frames that depend on
            // timing.
            let inputs = inputs.iter().filter(|(input, ..)| !input.starts_with(PREFACE));
            let agreed = inputs.map(|(input, cuts, closes)| twins.agree(input, cuts, *closes));
            for responses in join_all(agreed).await {
                let responses = responses?;
                let count = |text: &str| responses.matches(text).count();
                served.set(served.get() + count("\"events\":["));
                streamed.set(streamed.get() + count("event: closed"));
                refused.set(refused.get() + count("HTTP/1.1 400 "));
            }
            Ok(())
        })
    });
    let seen = [served, streamed, refused].map(|it| it.get());
    assert!(seen.iter().all(|&count| count > 0), "polls, streams and refusals: {seen:?}");
    runtime.block_on(twins.stop());
}
