//! Connections: idle ones, limits, HTTP/2, and addresses and folders that cannot be used.

use std::time::{Duration, Instant};

use pabal_gateway::app::App;
use pabal_gateway::config::{Config, ServeFlags};
use pabal_gateway::server::Listeners;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Node;

#[tokio::test]
async fn connections_without_a_request_are_closed() {
    let node = Node::start_with(|config| config.server.first_request_timeout_ms = 300).await;
    let address = node.url.strip_prefix("http://").unwrap();
    for opening in ["", "G", "GET /healthz HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(opening.as_bytes()).await.unwrap();
        let begun = Instant::now();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest));
        // Closed or reset, but soon.
        let _ = closed.await.unwrap_or_else(|_| panic!("{opening:?} is still open"));
        assert!(begun.elapsed() >= Duration::from_millis(200), "{opening:?}");
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    for _ in 0..3 {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 512];
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
        // Longer than the deadline of the first request: a polling client keeps its connection.
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn an_address_is_limited_in_its_connections() {
    let node = Node::start_with(|config| {
        config.limits.rate_limits = true;
        config.server.max_connections_per_address = 3;
    })
    .await;
    let address = node.url.strip_prefix("http://").unwrap().to_owned();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(&address).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut refused = TcpStream::connect(&address).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(2), refused.read(&mut [0; 1])).await;
    assert!(matches!(read.unwrap(), Ok(0) | Err(_)), "closed");
    drop(held);
    tokio::time::sleep(Duration::from_millis(100)).await;
    node.get("/healthz").await.is(200);
    node.stop().await;
}

#[tokio::test]
async fn http_2_without_tls_is_served() {
    let node = Node::start().await;
    let http = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let reply = crate::support::reply(http.get(format!("{}/v1/discover", node.url))).await;
    let answer = reply.json(200);
    assert_eq!(answer["nodes"][0]["url"], node.url, "from :authority");
    drop(http);
    node.stop().await;
}

#[tokio::test]
async fn addresses_and_folders_that_cannot_be_used_are_reported_in_one_line() {
    let node = Node::start().await;
    let flags = |listen: &str, data: &std::path::Path| ServeFlags {
        listen: Some(listen.parse().unwrap()),
        data: Some(data.to_owned()),
        ..ServeFlags::default()
    };
    let taken = node.url.strip_prefix("http://").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = Config::load(&flags(taken, folder.path()), []).unwrap();
    let error = Listeners::bind(&config.server).unwrap_err().to_string();
    assert!(error.contains(taken) && !error.contains('\n'), "{error}");
    let fail = async |data: &std::path::Path| {
        let mut config = Config::load(&flags("127.0.0.1:0", data), []).unwrap();
        config.storage.partitions = 4;
        let address = "127.0.0.1:1".parse().unwrap();
        let error = App::build(&config, address, None).await.unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    };
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    assert!(fail(&file).await.contains("data folder"));
    let folder = node.stop().await;
    let node = Node::start_on(folder).await;
    let locked = fail(&node.data()).await;
    assert!(locked.contains("in use"), "{locked}");
    node.stop().await;
}
