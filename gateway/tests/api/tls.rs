//! TLS: every transport and the API work within it, and a certificate can be replaced.

use std::time::Duration;

use futures::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pabal_core::model::Timestamp;
use pabal_gateway::config::Config;
use pabal_gateway::server::Listeners;
use pabal_gateway::tls::Tls;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::certificate::{Certificate, Trust};
use crate::line::{Line, get, post, upgrade};
use crate::support::{Node, PASSWORD, Person, text};

const SOON: Duration = Duration::from_secs(10);

async fn start(certificate: &Certificate) -> Node {
    start_with(certificate, |_| {}).await
}

pub(crate) async fn start_with(
    certificate: &Certificate,
    change: impl FnOnce(&mut Config),
) -> Node {
    let (cert, key) = (certificate.cert.clone(), certificate.key.clone());
    Node::start_with(|config| {
        (config.server.tls_cert, config.server.tls_key) = (Some(cert), Some(key));
        change(config);
    })
    .await
}

pub(crate) async fn sign_up(node: &Node, line: &mut Line, username: &str) -> Person {
    let body = json!({"username": username, "password": PASSWORD}).to_string();
    let length = body.len();
    let request = format!(
        "POST /v1/users HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    let answer = line.ask(request).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    node.person(&answer.body)
}

/// The metrics page.
pub(crate) async fn metrics(node: &Node, trust: &Trust) -> String {
    let mut stream = trust.connect(node.address(), &[]).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test]
async fn every_transport_and_the_api_are_served_within_tls() {
    let (certificate, trust) = Certificate::new();
    let node = start(&certificate).await;
    let mut line = Line::open_tls(&node, &trust).await;
    let ann = sign_up(&node, &mut line, "ann").await;
    let bob = sign_up(&node, &mut line, "bob").await;
    let direct = line.ask(put(&ann, &format!("/v1/direct/{}", bob.id))).await;
    let channel_id = text(&direct.body["channel"]["channel_id"]);
    let discovered = line.ask(get(&ann, "/v1/discover", "")).await.body;
    assert_eq!(discovered["nodes"][0]["url"], "https://pabal");
    assert_eq!(discovered["nodes"][0]["websocket_url"], "wss://pabal/v1/websocket");
    let session = line.ask(post(&bob, "/v1/sessions", &json!({}))).await.body;
    let path = format!("/v1/sessions/{}", text(&session["session_id"]));
    let websocket = text(&session["transports"]["websocket"]["url"]);
    assert_eq!(websocket, format!("wss://pabal{path}/websocket"));

    // Polls and other requests in turn, on one connection.
    for round in 1..=3 {
        let nothing = line.ask(get(&bob, &format!("{path}/poll?after={}", round - 1), "")).await;
        assert_eq!(nothing.body["events"], json!([]));
        let messages = format!("/v1/channels/{channel_id}/messages");
        let sent = line.ask(post(&ann, &messages, &json!({"content": "hello"}))).await;
        assert_eq!(sent.status, 201, "{sent:?}");
        let long_poll = format!("{path}/long-poll?after={}", round - 1);
        let heard = line.ask(get(&bob, &long_poll, "")).await;
        assert_eq!(heard.body["next"], round.to_string());
    }

    let mut line = Line::open_tls(&node, &trust).await;
    let upgraded = line.ask(upgrade(&bob, &format!("{path}/websocket?after=2"))).await;
    assert_eq!(upgraded.status, 101);
    let mut socket = line.into_socket().await;
    let batch: Value = next(&mut socket).await;
    assert_eq!(batch["next"], "3");
    // The client closes, and the server ends TLS in order: nothing looks like a truncation attack.
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    let mut stream = socket.into_inner();
    assert_eq!(timeout(SOON, stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    node.stop().await;
}

async fn next<S>(socket: &mut WebSocketStream<S>) -> Value
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let frame = timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap();
    let Message::Text(text) = frame else { panic!("{frame:?}") };
    serde_json::from_str(&text).unwrap()
}

fn put(person: &Person, path: &str) -> String {
    get(person, path, "content-length: 0\r\n").replacen("GET", "PUT", 1)
}

#[tokio::test]
async fn a_client_chooses_its_protocol_in_the_handshake() {
    let (certificate, trust) = Certificate::new();
    let node = start(&certificate).await;
    let chosen = async |offered: &[&[u8]]| {
        let stream = trust.connect(node.address(), offered).await.unwrap();
        let (_, tls) = stream.get_ref();
        (tls.alpn_protocol().map(<[u8]>::to_vec), stream)
    };
    assert_eq!(chosen(&[b"http/1.1", b"h2"]).await.0.unwrap(), b"h2");
    assert_eq!(chosen(&[b"http/1.1"]).await.0.unwrap(), b"http/1.1");
    let (_, stream) = chosen(&[b"h2"]).await;
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let driving = tokio::spawn(connection);
    let request =
        http::Request::get("https://localhost/healthz").body(Empty::<bytes::Bytes>::new());
    let answer = client.send_request(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap();
    drop(client);
    driving.await.unwrap().unwrap();
    node.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_a_bad_one_for_none() {
    let (certificate, old) = Certificate::new();
    let node = start(&certificate).await;
    let tls = node.tls.as_deref().unwrap();
    let trusted = async |trust: &Trust| trust.connect(node.address(), &[]).await.is_ok();
    let mut kept = Line::open_tls(&node, &old).await;
    let health = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert_eq!(kept.ask(health).await.status, 200);

    let new = certificate.renew();
    assert!(trusted(&old).await && !trusted(&new).await, "no reload was requested");
    tls.reload().unwrap();
    assert!(!trusted(&old).await && trusted(&new).await);
    assert_eq!(kept.ask(health).await.status, 200, "what is connected stays so");

    std::fs::write(&certificate.cert, "no certificate").unwrap();
    assert!(tls.reload().is_err());
    assert!(trusted(&new).await);
    node.stop().await;
}

#[tokio::test]
async fn a_wrong_certificate_is_reported_in_one_line() {
    let (certificate, _) = Certificate::new();
    let (other, _) = Certificate::new();
    let file = |name: &str, text: &str| {
        let path = certificate.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (cert, key) = (&certificate.cert, &certificate.key);
    let pem = std::fs::read_to_string(cert).unwrap();
    // PEM in good order around five letters.
    let garbage = |what| format!("-----BEGIN {what}-----\naGVsbG8=\n-----END {what}-----\n");
    let (broken, behind) = (garbage("CERTIFICATE"), pem.clone() + &garbage("CERTIFICATE"));
    let none = certificate.folder().join("none.pem");
    let cases = [
        (file("empty.pem", ""), key.clone(), "tls_cert: {}/empty.pem holds no certificate"),
        (file("text.pem", "hello"), key.clone(), "tls_cert: {}/text.pem holds no certificate"),
        (file("cut.pem", &pem[..pem.len() / 2]), key.clone(), "tls_cert: {}/cut.pem holds no cert"),
        (file("broken.pem", &broken), key.clone(), "tls_cert: {}/broken.pem holds a certificate"),
        (file("chain.pem", &behind), key.clone(), "tls_cert: {}/chain.pem holds a certificate"),
        (none.clone(), key.clone(), "tls_cert: cannot read {}/none.pem"),
        (cert.clone(), none, "tls_key: cannot read {}/none.pem"),
        (cert.clone(), cert.clone(), "tls_key: {}/cert.pem holds no private key"),
        (cert.clone(), file("no-key.pem", ""), "tls_key: {}/no-key.pem holds no private key"),
        (
            cert.clone(),
            file("broken-key.pem", &garbage("PRIVATE KEY")),
            "tls_key: {}/broken-key.pem holds a private key that cannot be used",
        ),
        (
            cert.clone(),
            file("other-key.pem", &std::fs::read_to_string(&other.key).unwrap()),
            "tls_key: {}/other-key.pem is not the key of the certificate in {}/cert.pem",
        ),
    ];
    for (cert, key, expected) in cases {
        let error = Tls::load(&cert, &key).unwrap_err().to_string();
        let expected = expected.replace("{}", certificate.folder().to_str().unwrap());
        let expected = format!("server.{expected}");
        assert!(error.starts_with(&expected) && !error.contains('\n'), "{error}");
        let server = pabal_gateway::config::Server {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls_cert: Some(cert),
            tls_key: Some(key),
            ..Default::default()
        };
        assert_eq!(Listeners::bind(&server).unwrap_err().to_string(), error);
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_is_reported_and_used() {
    let (certificate, _) = Certificate::new();
    let at = |seconds: u64| Timestamp::from_millis(seconds * 1_000);
    // The last seconds of 2025-01-31 and of 2025-03-01.
    let (from, until) = (1_738_367_999, 1_740_873_599);
    certificate.renew_for((2025, 2, 1), (2025, 3, 2));
    let tls = Tls::load(&certificate.cert, &certificate.key).unwrap();
    assert!(tls.complaint(at(from + 1)).is_none() && tls.complaint(at(until + 1)).is_none());
    let early = tls.complaint(at(from)).unwrap();
    assert!(early.contains("cert.pem begins at 2025-02-01T00:00:00.000Z"), "{early}");
    let late = tls.complaint(at(until + 2)).unwrap();
    assert!(late.contains("cert.pem ended at 2025-03-02T00:00:00.000Z"), "{late}");

    // One that ends counts, wherever in the chain.
    let short = std::fs::read_to_string(&certificate.cert).unwrap();
    certificate.renew_for((2024, 1, 1), (2030, 1, 1));
    let long = std::fs::read_to_string(&certificate.cert).unwrap();
    std::fs::write(&certificate.cert, long + &short).unwrap();
    tls.reload().unwrap();
    assert_eq!(tls.complaint(at(until + 2)), Some(late));
}

#[tokio::test]
async fn the_expiry_of_the_certificate_in_use_is_a_metric() {
    let (certificate, _) = Certificate::new();
    let trust = certificate.renew_for((2024, 1, 1), (2122, 1, 1));
    let node = start(&certificate).await;
    let name = "\npabal_tls_certificate_expires_timestamp_seconds";
    assert!(metrics(&node, &trust).await.contains(&format!("{name} 4796668800\n")));
    let trust = certificate.renew_for((2024, 1, 1), (2123, 1, 1));
    node.tls.as_deref().unwrap().reload().unwrap();
    assert!(metrics(&node, &trust).await.contains(&format!("{name} 4828204800\n")));
    node.stop().await;
    let plain = Node::start().await;
    assert!(!plain.get("/metrics").await.text.contains("pabal_tls"));
    plain.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_the_handshake_is_disconnected() {
    let (certificate, _) = Certificate::new();
    let node = start_with(&certificate, |config| {
        config.server.first_request_timeout_ms = 300;
    })
    .await;
    // Nothing, the beginning of a client's hello, and HTTP without TLS.
    for opening in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(node.address()).await.unwrap();
        stream.write_all(opening).await.unwrap();
        let mut rest = Vec::new();
        // Closed or reset, but soon.
        let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap();
        assert!(!rest.starts_with(b"HTTP"), "answered without TLS");
    }
    node.stop().await;
}
