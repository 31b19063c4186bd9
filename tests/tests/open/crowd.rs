//! As many connections at once as a busy node has: WebSockets, parked long polls, and idle ones. All are served,
//! connections beyond the limit are refused with a response, and after their end the node has released their
//! memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use pabal_tests::account::Account;
use pabal_tests::metrics::Metrics;
use pabal_tests::node::{Node, Port};
use pabal_tests::wait;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// The number of connections.
const WANTED: usize = 15_000;
/// Files that this process and the node have open besides connections.
const OTHER_FILES: usize = 1_500;
/// Connections beyond the limit.
const BEYOND: usize = 40;
/// How many connect at once.
const AT_ONCE: usize = 64;
/// Several addresses, because the ports of one are not enough if they were used just now.
const SOURCES: usize = 16;
/// Which share of the memory of a crowd may remain beyond what the previous crowd left. An allocator keeps some
/// freed memory and reuses it later.
const KEPT: f64 = 0.5;
/// The amount that may remain in any case, for small crowds.
const KEPT_MEBIBYTES: f64 = 4.0;
/// How long sessions may take to end, and memory to be released.
const SETTLES: Duration = Duration::from_secs(180);
/// The interval between two checks of that.
const AGAIN: Duration = Duration::from_millis(200);
/// Longer than the test takes, so that no connection is pinged or closed meanwhile.
const LONG: &str = "600000";

/// The use of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    WebSocket,
    LongPoll,
    Nothing,
}

/// Half of all are WebSockets, a quarter polls.
fn use_of(number: usize) -> Use {
    match number % 4 {
        0 | 1 => Use::WebSocket,
        2 => Use::LongPoll,
        _ => Use::Nothing,
    }
}

/// How many connections this process may hold after raising its limit as far as possible. The node, which it
/// starts, has the same limit.
fn affordable() -> usize {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, ..before };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => before.maximum,
        Err(_) => before.current,
    };
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let count = WANTED.min(limit.saturating_sub(OTHER_FILES)) / 4 * 4;
    if count < WANTED {
        eprintln!("CUT SHORT: {limit} open files allow {count} connections, not {WANTED}");
    }
    count
}

async fn connect(node: SocketAddr, number: usize) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let source = Ipv4Addr::new(127, 0, 1, 1 + (number % SOURCES) as u8);
    socket.bind(SocketAddr::from((source, 0)))?;
    socket.connect(node).await
}

/// A connection of the crowd, in use.
async fn join(node: SocketAddr, number: usize, token: &str) -> TcpStream {
    let mut stream = connect(node, number).await.expect("a connection");
    let head = format!("host: pabal\r\nauthorization: Bearer {token}\r\n");
    match use_of(number) {
        Use::Nothing => {}
        Use::WebSocket => {
            let request = format!(
                "GET /v1/websocket HTTP/1.1\r\n{head}connection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.expect("the request is written");
            read_until(&mut stream, "\"session_id\"").await;
        }
        Use::LongPoll => {
            let open = format!(
                "POST /v1/sessions HTTP/1.1\r\n{head}content-type: application/json\r\n\
                 content-length: 2\r\n\r\n{{}}"
            );
            stream.write_all(open.as_bytes()).await.expect("the request is written");
            let response = read_until(&mut stream, "\"}}}").await;
            let document = response.split("\r\n\r\n").nth(1).expect("a body");
            let document: Value = serde_json::from_str(document).expect("a session");
            let session = document["session_id"].as_str().expect("a session");
            let poll = format!(
                "GET /v1/sessions/{session}/long-poll?wait_ms=600000 HTTP/1.1\r\n{head}\r\n"
            );
            stream.write_all(poll.as_bytes()).await.expect("the request is written");
        }
    }
    stream
}

/// Reads up to a text that must arrive.
async fn read_until(stream: &mut TcpStream, expected: &str) -> String {
    wait::soon(expected, async {
        let mut read = Vec::with_capacity(1_024);
        while !String::from_utf8_lossy(&read).contains(expected) {
            let count = stream.read_buf(&mut read).await.expect("a response");
            assert!(count > 0, "closed after {}", String::from_utf8_lossy(&read));
        }
        String::from_utf8_lossy(&read).into_owned()
    })
    .await
}

/// Sends a request on a connection, and returns the head and the body of the response.
async fn ask(stream: &mut TcpStream, request: &str) -> (String, Value) {
    stream.write_all(request.as_bytes()).await.expect("the request is written");
    let response = read_until(stream, "}").await;
    let (head, body) = response.split_once("\r\n\r\n").expect("a response");
    (head.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

/// The connections of the crowd with their uses.
type Crowd = Vec<(usize, TcpStream)>;

async fn gather(node: SocketAddr, count: usize, token: &str) -> Crowd {
    let joining = stream::iter(0..count)
        .map(async |number| (number, join(node, number, token).await))
        .buffer_unordered(AT_ONCE);
    joining.collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifteen_thousand_connections_are_served_and_leave_no_memory_behind() {
    let count = affordable();
    let (sockets, polls) = ((count / 2) as f64, (count / 4) as f64);
    // One more for the sender.
    let (cap, sessions) = ((count + 1).to_string(), count.to_string());
    let settings = [
        ("PABAL_SERVER_MAX_CONNECTIONS", &*cap),
        ("PABAL_LIMITS_SESSIONS_PER_USER", &*sessions),
        ("PABAL_SERVER_FIRST_REQUEST_TIMEOUT_MS", LONG),
        ("PABAL_SERVER_IDLE_CONNECTION_TIMEOUT_MS", LONG),
        ("PABAL_LIMITS_LONG_POLL_MAX_WAIT_MS", LONG),
        ("PABAL_LIMITS_PING_INTERVAL_MS", LONG),
        ("PABAL_LIMITS_RESUME_WINDOW_MS", "5000"),
    ];
    let node = Node::start_watched(Ipv4Addr::LOCALHOST.into(), &settings).await;
    let (token, channel_id) = {
        let ann = Account::sign_up(node.address(), "ann").await;
        let bob = Account::sign_up(node.address(), "bob").await;
        (ann.token.clone(), ann.direct(&bob).await)
    };
    // A new process, without the memory that hashing passwords took. A first crowd warms it up.
    node.restart(Port::Same).await;
    let fresh = node.metrics().await.mebibytes();
    let at = node.address().get();
    drop(gather(at, count, &token).await);
    let mut speaker = connect(at, 0).await.expect("a connection");
    let before = wait::until("only the speaker is there", async || {
        let metrics = node.metrics().await;
        let alone = metrics.get("pabal_connections") == 1.0;
        (alone && metrics.get("pabal_sessions") == 0.0).then_some(metrics)
    })
    .await;

    let mut crowd = gather(at, count, &token).await;
    let peak = wait::until("every connection is established", async || {
        let metrics = node.metrics().await;
        (metrics.attached("long_polling") == polls).then_some(metrics)
    })
    .await;
    assert_eq!(peak.attached("websocket"), sockets);
    assert_eq!(peak.get("pabal_connections"), count as f64 + 1.0);
    assert_eq!(peak.get("pabal_sessions"), sockets + polls);

    for number in 0..BEYOND {
        let mut one_more = connect(at, number).await.expect("the system takes it");
        let (head, problem) = ask(&mut one_more, HEALTH).await;
        assert!(head.starts_with("HTTP/1.1 503"), "{head}");
        assert_eq!(problem["code"], "unavailable");
        assert!(problem["retry_after_ms"].is_u64(), "{problem}");
    }
    let refused = node.metrics().await.get("pabal_connections_refused_total{bound=\"node\"}");
    assert_eq!(refused, BEYOND as f64);

    let body = r#"{"content":"hello, all"}"#;
    let say = format!(
        "POST /v1/channels/{channel_id}/messages HTTP/1.1\r\nhost: pabal\r\n\
         authorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (head, _) = ask(&mut speaker, &say).await;
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    for (number, stream) in &mut crowd {
        if use_of(*number) != Use::Nothing {
            read_until(stream, "hello, all").await;
        }
    }

    drop(crowd);
    let cost = peak.mebibytes() - fresh;
    let allowed = before.mebibytes() + (KEPT * cost).max(KEPT_MEBIBYTES);
    let mut seen = (0.0, 0.0);
    let settled = async {
        loop {
            let metrics = node.metrics().await;
            if metrics.get("pabal_connections") == 1.0
                && metrics.get("pabal_sessions") == 0.0
                && metrics.mebibytes() <= allowed
            {
                return metrics;
            }
            seen = (metrics.mebibytes(), metrics.get("pabal_sessions"));
            sleep(AGAIN).await;
        }
    };
    let Ok(after) = timeout(SETTLES, settled).await else {
        let (before, peak) = (before.mebibytes(), peak.mebibytes());
        panic!(
            "{fresh:.0} MiB at first, {before:.0} after a first crowd, {peak:.0} with the second, \
             now (MiB, sessions) {seen:?}"
        );
    };
    let expired = |metrics: &Metrics| metrics.get("pabal_sessions_expired_total");
    assert_eq!(expired(&after) - expired(&before), sockets + polls, "no session was resumed");
    assert_eq!((after.attached("websocket"), after.attached("long_polling")), (0.0, 0.0));
    eprintln!(
        "{count} connections: {fresh:.0} MiB at first, {:.0} after a first crowd, {:.0} with the \
         second, {:.0} after",
        before.mebibytes(),
        peak.mebibytes(),
        after.mebibytes()
    );
    let mut next = connect(at, 0).await.expect("a connection");
    assert!(ask(&mut next, HEALTH).await.0.starts_with("HTTP/1.1 200"), "there is capacity again");
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: pabal\r\n\r\n";
