//! Polls and event streams on plain connections: the poll server (`server/poll_server.rs`) serves them and
//! hyper all other requests, and no client can tell the difference.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::line::{Line, get, poll, post};
use crate::support::Node;

const SOON: Duration = Duration::from_secs(20);

fn contents(batch: &Value) -> Vec<String> {
    let events = batch["events"].as_array().unwrap().iter();
    let messages = events.filter(|event| event["type"] == "message");
    messages.map(|event| event["message"]["content"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn polls_and_all_other_requests_share_a_connection() {
    let node = Node::start().await;
    let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
    let channel_id = ann.direct(&bob).await;
    let ears = bob.listen().await;
    let mut line = Line::open(&node).await;
    let mut after = "0".to_owned();
    for round in 0..5 {
        let nothing = line.ask(&poll(&ears, &bob, &format!("poll?after={after}"))).await;
        assert_eq!(nothing.body, json!({"events": [], "next": after}));
        let path = format!("/v1/channels/{channel_id}/messages");
        let send = post(&ann, &path, &json!({"content": format!("round {round}")}));
        assert_eq!(line.ask(&send).await.status, 201);
        let heard = line.ask(&poll(&ears, &bob, &format!("long-poll?after={after}"))).await;
        assert_eq!((heard.status, contents(&heard.body)), (200, vec![format!("round {round}")]));
        assert!(heard.head.contains("content-type: application/json\r\n"), "{}", heard.head);
        assert!(heard.head.contains("\r\ndate: "), "{}", heard.head);
        after = heard.body["next"].as_str().unwrap().to_owned();
        let me = line.ask(&get(&bob, "/v1/me", "")).await;
        assert_eq!(me.body["user"]["user_id"], *bob.id);
    }
    node.stop().await;
}

#[tokio::test]
async fn a_poll_that_arrives_in_pieces_is_served_as_one() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let mut line = Line::open(&node).await;
    let request = poll(&ears, &ann, "poll?after=0");
    for cut in 1..request.len() {
        let (first, second) = request.split_at(cut);
        line.write(first).await;
        // The node shares this thread, and now reads the first piece by itself.
        tokio::task::yield_now().await;
        let answer = line.ask(second).await;
        assert_eq!((answer.status, &answer.body), (200, &json!({"events": [], "next": "0"})));
    }
    node.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_served_in_order() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let mut line = Line::open(&node).await;
    let ahead = [
        poll(&ears, &ann, "long-poll?wait_ms=50"),
        poll(&ears, &ann, "poll"),
        get(&ann, "/v1/me", ""),
        poll(&ears, &ann, "poll"),
        post(&ann, &format!("/v1/sessions/{}/commands", ears.id), &json!({"commands": []})),
        poll(&ears, &ann, "long-poll?wait_ms=50"),
        get(&ann, "/v1/channels", ""),
    ];
    line.write(&ahead.concat()).await;
    let nothing = json!({"events": [], "next": "0"});
    let timeout = json!({"events": [], "next": "0", "timeout": true});
    assert_eq!(line.read().await.unwrap().body, timeout);
    assert_eq!(line.read().await.unwrap().body, nothing);
    assert_eq!(line.read().await.unwrap().body["user"]["username"], "ann");
    assert_eq!(line.read().await.unwrap().body, nothing);
    assert_eq!(line.read().await.unwrap().body, json!({"replies": []}));
    assert_eq!(line.read().await.unwrap().body, timeout);
    assert_eq!(line.read().await.unwrap().body["channels"], json!([]));
    node.stop().await;
}

#[tokio::test]
async fn pipelined_requests_beyond_the_read_ahead_limit_wait_in_the_socket() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let (mut line, count) = (Line::open(&node).await, 200);
    let ahead = poll(&ears, &ann, "poll").repeat(count);
    line.write(&(poll(&ears, &ann, "long-poll?wait_ms=50") + &ahead)).await;
    assert_eq!(line.read().await.unwrap().body["timeout"], true);
    for _ in 0..count {
        assert_eq!(line.read().await.unwrap().body, json!({"events": [], "next": "0"}));
    }
    node.stop().await;
}

#[tokio::test]
async fn a_stream_is_one_response_among_others() {
    let node = Node::start().await;
    let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
    let channel_id = ann.direct(&bob).await;
    let ears = bob.listen().await;
    let mut line = Line::open(&node).await;
    // After a request to hyper and after a poll; followed by a pipelined request.
    for before in [get(&bob, "/v1/me", ""), poll(&ears, &bob, "poll")] {
        let ears = bob.listen().await;
        assert_eq!(line.ask(&before).await.status, 200);
        line.write(&(poll(&ears, &bob, "events?after=0") + &get(&bob, "/v1/me", ""))).await;
        let head = line.read().await.unwrap();
        assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
        assert_eq!(head.header("transfer-encoding"), "chunked");
        assert_eq!(line.chunk().await, ":\n\n");
        for content in ["first".to_owned(), "x".repeat(16 * 1024), "third".to_owned()] {
            ann.say(&channel_id, &content).await;
            let event = line.chunk().await;
            assert!(event.starts_with("id: ") && event.ends_with("}\n\n"), "{event}");
            assert!(event.contains(&format!("\"content\":\"{content}\"")), "{event}");
        }
        bob.delete(&format!("/v1/sessions/{}", ears.id)).await.is(204);
        assert!(line.chunk().await.contains("\"code\":4404"));
        assert_eq!(line.chunk().await, "", "the end of the response");
        assert_eq!(line.read().await.unwrap().body["user"]["user_id"], *bob.id);
    }
    node.stop().await;
}

#[tokio::test]
async fn a_parked_read_ends_when_its_client_disconnects() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    for (transport, read) in [("long_polling", "long-poll"), ("sse", "events")] {
        let ears = ann.listen().await;
        let attached = async |count: u32| {
            let wanted = format!("pabal_transport_attached{{transport=\"{transport}\"}} {count}");
            while !node.get("/metrics").await.text.contains(&wanted) {
                tokio::task::yield_now().await;
            }
        };
        let mut line = Line::open(&node).await;
        line.write(&poll(&ears, &ann, read)).await;
        attached(1).await;
        drop(line);
        attached(0).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn polls_that_are_not_plain_are_served_by_hyper() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let path = format!("/v1/sessions/{}/poll", ears.id);
    let nothing = json!({"events": [], "next": "0"});
    // After a plain poll the poll server has the connection.
    let line = async || {
        let mut line = Line::open(&node).await;
        assert_eq!(line.ask(&poll(&ears, &ann, "poll")).await.body, nothing);
        line
    };

    let mut closing = line().await;
    let answer = closing.ask(&get(&ann, &path, "connection: close\r\n")).await;
    assert_eq!((answer.body, answer.head.contains("connection: close")), (nothing.clone(), true));
    assert!(closing.read().await.is_none());

    let mut with_body = line().await;
    let answer = with_body.ask(&(get(&ann, &path, "content-length: 2\r\n") + "{}")).await;
    assert_eq!(answer.body, nothing);
    assert_eq!(with_body.ask(&poll(&ears, &ann, "poll")).await.body, nothing);

    let mut chunked = line().await;
    let request = get(&ann, &path, "transfer-encoding: chunked\r\n") + "2\r\n{}\r\n0\r\n\r\n";
    assert_eq!(chunked.ask(&request).await.body, nothing);
    assert_eq!(chunked.ask(&poll(&ears, &ann, "poll")).await.body, nothing);

    let mut old = line().await;
    let answer = old.ask(&get(&ann, &path, "").replace("HTTP/1.1", "HTTP/1.0")).await;
    assert_eq!(answer.body, nothing);
    assert!(old.read().await.is_none());

    let mut posted = line().await;
    let answer = posted.ask(&post(&ann, &path, &json!({}))).await;
    assert_eq!((answer.status, answer.head.contains("allow: get")), (405, true));

    let mut broken = line().await;
    broken.write("GET / HTTP/1.1\r\nno colon\r\n\r\n").await;
    assert_eq!(broken.read().await.unwrap().status, 400);
    assert!(broken.read().await.is_none());

    let mut stranger = Line::open(&node).await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: pabal\r\n\r\n");
    let answer = stranger.ask(&request).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (401, Some("unauthenticated")));
    assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
    assert_eq!(stranger.ask(&poll(&ears, &ann, "poll")).await.body, nothing);
    node.stop().await;
}

#[tokio::test]
async fn a_parked_poll_gets_the_draining_event_and_its_connection_is_closed() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let mut parked = Line::open(&node).await;
    let mut idle = Line::open(&node).await;
    assert_eq!(idle.ask(&poll(&ears, &ann, "poll")).await.status, 200);
    parked.write(&poll(&ears, &ann, "long-poll")).await;
    let (_, told) = tokio::join!(node.stop(), parked.read());
    assert_eq!(told.unwrap().body["events"][0]["type"], "draining");
    assert!(parked.read().await.is_none());
    assert!(idle.read().await.is_none());
}

#[tokio::test]
async fn a_connection_that_has_only_polled_may_send_any_other_request_later() {
    let within = Duration::from_millis(50);
    let node = Node::start_with(|config| {
        config.server.first_request_timeout_ms = within.as_millis().try_into().unwrap();
    })
    .await;
    let ann = node.sign_up("ann").await;
    // Repeated, because a deadline that closes the connection would only do so now and then.
    for _ in 0..16 {
        let ears = ann.listen().await;
        let mut line = Line::open(&node).await;
        let waited = format!("long-poll?wait_ms={}", 2 * within.as_millis());
        assert_eq!(line.ask(&poll(&ears, &ann, &waited)).await.body["timeout"], true);
        // The deadline of the first request has passed, and this is not the first.
        let end = get(&ann, &format!("/v1/sessions/{}", ears.id), "").replacen("GET", "DELETE", 1);
        assert_eq!(line.ask(end).await.status, 204);
    }
    node.stop().await;
}

#[tokio::test]
async fn http_2_begins_only_with_the_first_bytes_of_a_connection() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    for before in [poll(&ears, &ann, "poll"), get(&ann, "/v1/me", "")] {
        let mut line = Line::open(&node).await;
        assert_eq!(line.ask(before).await.status, 200);
        // Closed without SETTINGS, the first frame of a server of HTTP/2.
        let closed = timeout(SOON, line.try_ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).await;
        assert!(closed.expect("the connection ends").is_none());
    }
    node.stop().await;
}
