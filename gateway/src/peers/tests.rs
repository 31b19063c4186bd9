//! What a forwarded request and its response carry, seen by a node that records the headers it gets.

use std::net::Ipv4Addr;

use axum::Router;
use axum::response::IntoResponse;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use pabal_core::engine::{EngineConfig, Limits};
use pabal_core::memory::{
    MemoryDirectory, MemoryHistoryStore, MemoryInterest, MemoryMessageLog, MemoryNodeInbox,
    MemoryNodeRegistry, MemoryPresence, MemoryPushNotifier, SystemClock,
};
use pabal_core::model::{Device, DeviceId, Timestamp, TokenHash, User, UserId};
use pabal_core::ports::{Access, Directory as _, NodeRegistry as _, Ports};
use pabal_transports::Meters;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use super::*;
use crate::config::ServeFlags;

const SESSION: &str = "/v1/sessions/0123456789abcdef.n2";
const TOKEN: &str = "token";

/// Returns the headers of the request, one on a line, with headers of its own connection.
async fn echo(headers: HeaderMap) -> impl IntoResponse {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        format!("{name}: {}\n", value.to_str().unwrap())
    };
    let body: String = headers.iter().map(line).collect();
    let own = [("connection", "x-hop, keep-alive"), ("x-hop", "1"), ("x-kept", "2")];
    (own, body)
}

/// Serves [`echo`] and returns its address.
async fn other_node() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let router = Router::new().fallback(echo);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let router = router.clone();
            let service = hyper::service::service_fn(move |it| router.clone().oneshot(it));
            tokio::spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                // The client ends the connection when the test ends.
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    format!("http://{address}")
}

/// A directory with a user who has [`TOKEN`].
async fn directory() -> MemoryDirectory {
    let now = Timestamp::from_micros(1_000_000);
    let user_id = UserId::new(1);
    let user = User {
        user_id,
        username: "ann".into(),
        display_name: "ann".into(),
        status_text: String::new(),
        avatar_url: String::new(),
        created_at: now,
    };
    let device = Device { device_id: DeviceId::new(1), user_id, name: String::new() };
    let expires_at = Timestamp::from_micros(1 << 62);
    let access = Access { token: TokenHash::of(TOKEN), device, expires_at };
    let directory = MemoryDirectory::default();
    directory.sign_up(user, String::new(), access).await.unwrap();
    directory
}

/// Node n1, which knows n2 at `url`.
async fn peers(url: &str) -> Peers {
    let clock = Arc::new(SystemClock);
    let registry = Arc::new(MemoryNodeRegistry::new());
    let n2 = NodeInfo {
        node: "n2".parse().unwrap(),
        url: url.into(),
        peer_url: url.into(),
        websocket_url: String::new(),
        region: String::new(),
        location: None,
        capacity: 1,
        load: 0,
        draining: false,
    };
    registry.heartbeat(n2, Duration::from_secs(60)).await.unwrap();
    let ports = Ports {
        log: Arc::new(MemoryMessageLog::new(clock.clone(), 16)),
        inbox: Arc::new(MemoryNodeInbox::new(16)),
        history: Arc::new(MemoryHistoryStore::new()),
        presence: Arc::new(MemoryPresence::new()),
        interest: Arc::new(MemoryInterest::new()),
        directory: Arc::new(directory().await),
        push: Arc::new(MemoryPushNotifier::new(16)),
        registry,
        clock,
    };
    let config =
        EngineConfig { node: "n1".parse().unwrap(), partitions: 1, limits: Limits::default() };
    let engine = Engine::start(config, ports).await.unwrap();
    let config = Config::load(&ServeFlags::default(), []).unwrap();
    let own = PublicUrl { secure: false, authority: "127.0.0.1:1".into() };
    Peers::new(engine, Requests::unlimited(), &config, &own).unwrap()
}

/// A connection of a client.
fn connection() -> Arc<ConnectionMeter> {
    Meters::new(std::iter::empty()).connection()
}

/// Forwards a poll with these headers; what n2 got, and the response.
async fn forward(headers: &[(&str, &str)], client: &str) -> (String, Response<()>) {
    let mut request = Request::get(format!("{SESSION}/poll"));
    if headers.iter().all(|(name, _)| *name != "authorization") {
        request = request.header("authorization", format!("Bearer {TOKEN}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let peers = peers(&other_node().await).await;
    let node = peers.elsewhere(&request).expect("the session is on n2");
    let response =
        peers.clone().forward(node, request, (client.parse().unwrap(), connection())).await;
    assert_eq!((response.status().as_u16(), peers.forwarded()), (200, 1));
    let (head, body) = response.into_parts();
    let length = http_body::Body::size_hint(&body).exact();
    let seen = body.collect().await.unwrap().to_bytes().to_vec();
    assert_eq!(length, Some(seen.len() as u64), "the length is passed on");
    let seen = String::from_utf8(seen).unwrap();
    peers.inner.engine.shutdown().await;
    (seen, Response::from_parts(head, ()))
}

/// The values of a header among those that n2 got.
fn values<'a>(seen: &'a str, name: &str) -> Vec<&'a str> {
    seen.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

#[tokio::test]
async fn headers_of_the_connection_are_not_forwarded() {
    let (seen, _) = forward(
        &[
            ("connection", "keep-alive, X-Named"),
            ("connection", "x-second ,, te, not a name"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("x-named", "1"),
            ("x-second", "2"),
            ("x-other", "3"),
            ("authorization", "Bearer token"),
        ],
        "192.0.2.1",
    )
    .await;
    for dropped in ["connection", "keep-alive", "proxy-connection", "te", "x-named", "x-second"] {
        assert_eq!(values(&seen, dropped), [""; 0], "{dropped} in {seen}");
    }
    assert_eq!(values(&seen, "x-other"), ["3"]);
    assert_eq!(values(&seen, "authorization"), ["Bearer token"]);
    assert_eq!(values(&seen, "pabal-passed-on-by"), ["n1"]);
}

#[tokio::test]
async fn a_client_cannot_remove_what_this_node_adds() {
    let headers = [("connection", "x-forwarded-for, forwarded, pabal-passed-on-by")];
    let (seen, _) = forward(&headers, "192.0.2.1").await;
    assert_eq!(values(&seen, "x-forwarded-for"), ["192.0.2.1"]);
    assert_eq!(values(&seen, "forwarded"), ["for=192.0.2.1"]);
    assert_eq!(values(&seen, "pabal-passed-on-by"), ["n1"]);
}

#[tokio::test]
async fn headers_of_the_other_connection_do_not_reach_the_client() {
    let (_, response) = forward(&[], "192.0.2.1").await;
    for dropped in ["connection", "x-hop", "date", "content-length"] {
        assert!(!response.headers().contains_key(dropped), "{dropped}: {response:?}");
    }
    assert_eq!(response.headers()["x-kept"], "2");
}

#[tokio::test]
async fn the_forwarded_header_is_this_nodes_own() {
    for (client, own) in [
        ("192.0.2.1", "for=192.0.2.1"),
        ("2001:db8::1", "for=\"[2001:db8::1]\""),
        ("::ffff:192.0.2.1", "for=192.0.2.1"),
    ] {
        let invented = [
            ("forwarded", "for=198.51.100.9"),
            ("forwarded", "for=198.51.100.8;host=x"),
            ("x-forwarded-for", "198.51.100.7"),
        ];
        let (seen, _) = forward(&invented, client).await;
        assert_eq!(values(&seen, "forwarded"), [own]);
        // The last entry is what a node reads that trusts this one.
        let named = values(&seen, "x-forwarded-for");
        let last: IpAddr = named.last().unwrap().parse().unwrap();
        assert_eq!(last, client.parse::<IpAddr>().unwrap().to_canonical());
    }
}

#[tokio::test]
async fn the_body_of_a_stranger_is_not_read() {
    let peers = peers(&other_node().await).await;
    for token in [None, Some("Bearer unknown")] {
        let mut request = Request::post(format!("{SESSION}/commands"));
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let never =
            futures::stream::poll_fn(|_| -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
                panic!("the body is read")
            });
        let request = request.body(StreamBody::new(never)).unwrap();
        let node = peers.elsewhere(&request).expect("the session is on n2");
        let client = Ipv4Addr::LOCALHOST.into();
        let response = peers.clone().forward(node, request, (client, connection())).await;
        assert_eq!((response.status().as_u16(), peers.forwarded()), (401, 0));
    }
    peers.inner.engine.shutdown().await;
}
