//! Clients of a trusted proxy: each counts for its own address, and none for an invented one.

use std::net::SocketAddr;

use pabal_gateway::config::Network;
use tokio::net::TcpSocket;

use crate::line::{Answer, Line, get, poll};
use crate::support::{Node, reply};

/// The only trusted proxy is 127.0.0.1.
async fn start() -> Node {
    Node::start_with(|config| {
        config.server.trusted_proxies = vec![Network::try_from("127.0.0.1".to_owned()).unwrap()];
        config.server.max_connections_per_address = 4;
        config.limits.rate_limits = true;
        config.limits.requests_per_address_per_second = 1;
    })
    .await
}

async fn from(node: &Node, source: [u8; 4]) -> Line {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((source, 0))).unwrap();
    Line::over(socket.connect(node.address().parse().unwrap()).await.unwrap())
}

/// The least burst of an address that has been idle.
const FREE: usize = 10;

/// Sends requests up to the rate limit, and returns how many passed: hardly any, if the same address has
/// just used up its burst.
async fn spend(line: &mut Line, request: &str) -> usize {
    for number in 0..1_000 {
        let answer: Answer = line.ask(request).await;
        if answer.status == 429 {
            assert_eq!(answer.body["code"], "rate_limited");
            return number;
        }
    }
    panic!("nothing is too often: {request}");
}

fn health(more: &str) -> String {
    format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{more}\r\n")
}

#[tokio::test]
async fn each_client_of_a_proxy_has_its_own_rate_limit_whatever_it_claims() {
    let node = start().await;
    let mut line = Line::open(&node).await;
    assert!(spend(&mut line, &health("x-forwarded-for: 192.0.2.1\r\n")).await >= FREE);
    for pretended in [
        "x-forwarded-for: 198.51.100.1, 192.0.2.1\r\n",
        "x-forwarded-for: 198.51.100.2\r\nx-forwarded-for: 192.0.2.1, 127.0.0.1\r\n",
        "forwarded: for=198.51.100.3, for=\"192.0.2.1:80\"\r\n",
    ] {
        assert!(spend(&mut line, &health(pretended)).await < FREE, "{pretended}");
    }
    assert_eq!(line.ask(health("x-forwarded-for: 192.0.2.2\r\n")).await.status, 200);
    assert_eq!(line.ask(health("forwarded: for=192.0.2.3\r\n")).await.status, 200);
    node.stop().await;
}

#[tokio::test]
async fn malformed_and_contradictory_headers_count_for_the_proxy() {
    let node = start().await;
    let mut line = Line::open(&node).await;
    spend(&mut line, &health("")).await;
    for senseless in [
        "x-forwarded-for: unknown\r\n",
        "forwarded: for=_hidden\r\n",
        "forwarded: for=192.0.2.7\r\nx-forwarded-for: 192.0.2.8\r\n",
    ] {
        assert!(spend(&mut line, &health(senseless)).await < FREE, "{senseless}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_is_not_a_proxy_cannot_name_another_client() {
    let node = start().await;
    let mut line = from(&node, [127, 0, 0, 2]).await;
    let mut number = 0;
    let refused = loop {
        number += 1;
        let header = format!("x-forwarded-for: 192.0.2.{number}\r\nforwarded: for=192.0.2.1\r\n");
        if line.ask(health(&header)).await.status == 429 {
            break number;
        }
        assert!(number < 200, "a new address each time");
    };
    assert!(refused > FREE, "the first are free: {refused}");
    let mut proxied = Line::open(&node).await;
    assert_eq!(proxied.ask(health("x-forwarded-for: 192.0.2.1\r\n")).await.status, 200);
    node.stop().await;
}

#[tokio::test]
async fn polls_and_http_2_count_for_the_same_address() {
    let node = start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let client = |last: u8| format!("x-forwarded-for: 192.0.2.{last}\r\n");
    let lean = |last| {
        poll(&ears, &ann, "poll").replacen("\r\n\r\n", &format!("\r\n{}\r\n", client(last)), 1)
    };
    let mut line = Line::open(&node).await;
    spend(&mut line, &lean(1)).await;
    assert_eq!(line.ask(lean(2)).await.status, 200);
    let api = get(&ann, "/v1/me", &client(1));
    assert!(spend(&mut line, &api).await < FREE, "one rate limit for all of them");
    let by_hyper = |last| lean(last).replacen("\r\n\r\n", "\r\ncontent-length: 0\r\n\r\n", 1);
    assert!(spend(&mut line, &by_hyper(1)).await < FREE);
    assert_eq!(line.ask(by_hyper(3)).await.status, 200);

    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let ask = async |last: u8| {
        let request = http2.get(format!("{}/healthz", node.url));
        let request = request.header("x-forwarded-for", format!("192.0.2.{last}"));
        reply(request).await.status.as_u16()
    };
    let mut passed = 0;
    while ask(1).await == 200 {
        passed += 1;
    }
    assert!(passed < FREE);
    assert_eq!(ask(4).await, 200);
    drop(http2);
    node.stop().await;
}

#[tokio::test]
async fn log_ins_count_for_the_client() {
    let node = Node::start_with(|config| {
        config.server.trusted_proxies = vec![Network::try_from("127.0.0.0/8".to_owned()).unwrap()];
        config.limits.rate_limits = true;
        config.auth.attempts_per_address_per_second = 1;
    })
    .await;
    let mut line = Line::open(&node).await;
    let mut log_in = async |client: u8| {
        let body = r#"{"username":"nobody","password":"correct horse"}"#;
        let length = body.len();
        let request = format!(
            "POST /v1/login HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 192.0.2.{client}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        line.ask(request).await
    };
    let mut tries = 0;
    let refused = loop {
        let answer = log_in(1).await;
        if answer.status == 429 {
            break answer;
        }
        tries += 1;
    };
    let why = refused.body["detail"].as_str().unwrap();
    assert!(why.contains("from this address"), "the limit of the username is higher: {why}");
    assert!(tries >= 30, "the first thirty are free: {tries}");
    assert_eq!(log_in(2).await.status, 401);
    node.stop().await;
}

#[tokio::test]
async fn a_proxy_may_hold_more_connections_than_an_address() {
    let node = start().await;
    let mut held = Vec::new();
    for last in 0..10 {
        let mut line = Line::open(&node).await;
        let header = format!("x-forwarded-for: 192.0.2.{last}\r\n");
        assert_eq!(line.ask(health(&header)).await.status, 200);
        held.push(line);
    }
    // The limit holds for any other address, with a response that says so.
    for number in 0..4 {
        let mut line = from(&node, [127, 0, 0, 2]).await;
        assert_eq!(line.ask(health("")).await.status, 200, "{number}");
        held.push(line);
    }
    let refused = from(&node, [127, 0, 0, 2]).await.ask(health("")).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (429, Some("rate_limited")));
    assert_eq!(refused.body["retry_after_ms"], 5_000);
    assert_eq!(refused.header("connection"), "close");
    drop(held);
    node.stop().await;
}
