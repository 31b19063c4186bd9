//! Input that no correct client sends: a clear response each time, and no effect on other clients.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::line::{Answer, Line, get, poll, upgrade};
use crate::support::{Node, Person, text};

const SOON: Duration = Duration::from_secs(30);

fn post(person: &Person, path: &str, body: &[u8]) -> Vec<u8> {
    let (token, length) = (&person.token, body.len());
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: pabal\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[track_caller]
fn is(answer: &Answer, status: u16, code: &str, shown: &str) {
    let said = (answer.status, answer.body["code"].as_str());
    assert_eq!(said, (status, Some(code)), "{shown}: {answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json", "{shown}");
}

#[tokio::test]
async fn malformed_and_mistyped_bodies_are_invalid() {
    let node = Node::start().await;
    let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
    let channel_id = ann.direct(&bob).await;
    let ears = ann.listen().await;
    let deep = "[".repeat(100_000);
    let deep_in = format!("{{\"channels\":{}", "{\"1\":".repeat(50_000));
    let bodies: [(&str, &[u8]); 9] = [
        ("cut short", b"{\"content\":"),
        ("two documents", b"{} {}"),
        ("a trailing comma", b"{\"content\":\"x\",}"),
        ("not UTF-8", b"{\"content\":\"\xff\xfe\"}"),
        ("a control character", b"{\"content\":\"\x01\"}"),
        ("nested deeply", deep.as_bytes()),
        ("nested deeply in a field", deep_in.as_bytes()),
        ("an array", b"[{\"content\":\"x\"}]"),
        ("a number", b"1e400"),
    ];
    let session = format!("/v1/sessions/{}", ears.id);
    let messages = format!("/v1/channels/{channel_id}/messages");
    let mut line = Line::open(&node).await;
    for path in [messages.as_str(), "/v1/sync", "/v1/sessions", &format!("{session}/commands")] {
        for (name, body) in bodies {
            let answer = line.ask(post(&ann, path, body)).await;
            is(&answer, 422, "invalid", &format!("{name} to {path}"));
        }
    }
    let typed = [
        (messages.as_str(), json!({"content": 7})),
        (&messages, json!({"content": null})),
        (&messages, json!({"content": ["x"]})),
        (&messages, json!({"content": ""})),
        (&messages, json!({"content": "x", "client_message_id": 7})),
        (&messages, json!({"content": "x", "client_message_id": ""})),
        (&messages, json!({"content": "x", "client_message_id": "x".repeat(10_000)})),
        ("/v1/sync", json!({"channels": []})),
        ("/v1/sync", json!({"channels": {"x": "0"}})),
        ("/v1/sync", json!({"channels": {"1": 7}})),
        ("/v1/sync", json!({"channels": {"1": "-1"}})),
        ("/v1/sync", json!({"channels": {"1": "9223372036854775808"}})),
        ("/v1/sessions", json!({"channels": {"99999999999999999999": "0"}})),
        ("/v1/sessions", json!({"channels": {"1": "1e3"}})),
        ("/v1/sessions", json!({"channels": "1"})),
        ("/v1/channels", json!({"name": "x", "members": ["0x10"]})),
        ("/v1/channels", json!({"name": "x", "members": "1"})),
        ("/v1/channels", json!({"name": {}, "members": []})),
    ];
    for (path, body) in typed {
        let answer = line.ask(post(&ann, path, body.to_string().as_bytes())).await;
        is(&answer, 422, "invalid", &format!("{body} to {path}"));
    }
    let answer = line.ask(post(&ann, &messages, br#"{"content":"\ud800"}"#)).await;
    is(&answer, 422, "invalid", "half a surrogate");
    // The same connection still works.
    let sent = line.ask(post(&ann, &messages, br#"{"content":"at last"}"#)).await;
    assert_eq!(sent.status, 201);
    node.stop().await;
}

#[tokio::test]
async fn requests_beyond_a_size_limit_are_refused() {
    let node = Node::start().await;
    let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
    let channel_id = ann.direct(&bob).await;
    let ears = ann.listen().await;
    let session = format!("/v1/sessions/{}", ears.id);
    let messages = format!("/v1/channels/{channel_id}/messages");
    let content = |bytes: usize| json!({"content": "é".repeat(bytes / 2)}).to_string();
    let mut line = Line::open(&node).await;
    assert_eq!(line.ask(post(&ann, &messages, content(16 * 1024).as_bytes())).await.status, 201);
    let above = line.ask(post(&ann, &messages, content(16 * 1024 + 2).as_bytes())).await;
    is(&above, 413, "too_large", "content");
    let body = vec![b' '; 256 * 1024 + 1];
    for path in [messages.as_str(), "/v1/sync", "/v1/sessions", &format!("{session}/commands")] {
        // The server need not read a body that it refuses, so the connection may end with the response.
        let answer = Line::open(&node).await.ask(post(&ann, path, &body)).await;
        is(&answer, 413, "too_large", path);
        // The head announces a large body, which never comes.
        let claimed = String::from_utf8(post(&ann, path, b"")).unwrap();
        let claimed = claimed.replace("length: 0", "length: 9999999999");
        let answer = Line::open(&node).await.ask(claimed.replace("\r\n\r\n", "\r\n\r\n{")).await;
        is(&answer, 413, "too_large", path);
    }
    let commands = vec![json!({"type": "typing", "channel_id": channel_id}); 257];
    let body = json!({"commands": commands}).to_string();
    let answer = line.ask(post(&ann, &format!("{session}/commands"), body.as_bytes())).await;
    assert!(matches!(answer.status, 413 | 422), "{answer:?}");
    let (many, long) = ("x: y\r\n".repeat(1_000), "x".repeat(128 * 1024));
    for (name, request) in [
        ("many headers", get(&ann, "/v1/me", &many)),
        ("a long header", get(&ann, "/v1/me", &format!("x: {long}\r\n"))),
        ("many headers of a poll", get(&ann, &format!("{session}/poll"), &many)),
        (
            "a long header of a poll",
            get(&ann, &format!("{session}/poll?after=0"), &format!("x: {long}\r\n")),
        ),
        ("a long path", get(&ann, &format!("/{long}"), "")),
    ] {
        for polled in [false, true] {
            let mut line = Line::open(&node).await;
            if polled {
                assert_eq!(line.ask(poll(&ears, &ann, "poll")).await.status, 200);
            }
            // Refused before all of it was read, or reset.
            let answer = line.try_ask(&request).await;
            let refused = answer.is_none_or(|it| matches!(it.status, 400 | 414 | 431));
            assert!(refused, "{name}, after a poll: {polled}");
        }
    }
    assert_eq!(node.get("/healthz").await.status, 200);
    node.stop().await;
}

#[tokio::test]
async fn channels_and_sessions_of_other_users_are_refused() {
    let node = Node::start().await;
    let [ann, bob, eve] =
        [node.sign_up("ann").await, node.sign_up("bob").await, node.sign_up("eve").await];
    let channel_id = ann.direct(&bob).await;
    let (ears, ended) = (ann.listen().await, ann.listen().await);
    ann.delete(&format!("/v1/sessions/{}", ended.id)).await.is(204);
    bob.put(&format!("/v1/me/blocks/{}", ann.id)).await.is(204);
    let commands = format!("/v1/sessions/{}/commands", ears.id);
    let evil = eve.listen().await;
    let evil_commands = format!("/v1/sessions/{}/commands", evil.id);
    for (person, commands, channel, status, code) in [
        (&ann, &commands, "1", 403, "not_a_member"),
        (&ann, &commands, "9223372036854775807", 403, "not_a_member"),
        (&eve, &evil_commands, channel_id.as_str(), 403, "not_a_member"),
        (&ann, &commands, channel_id.as_str(), 403, "blocked"),
    ] {
        let path = format!("/v1/channels/{channel}/messages");
        person.post(&path, json!({"content": "x"})).await.problem(status, code);
        let send = json!({"id": "c", "type": "send", "channel_id": channel, "content": "x"});
        let replies = person.post(commands, json!({"commands": [send]})).await.json(200);
        assert_eq!(replies["replies"][0]["error"]["code"], code, "{replies}");
    }
    for id in ["x", "-1", "1.0", "9223372036854775808", "99999999999999999999999", "%00"] {
        let path = format!("/v1/channels/{id}/messages");
        ann.post(&path, json!({"content": "x"})).await.problem(404, "not_found");
        ann.get(&format!("/v1/users/{id}")).await.problem(404, "not_found");
    }

    // Every path of a session: one of another user, an ended one, and one that never existed.
    let mut line = Line::open(&node).await;
    let sessions = [
        (&ears.id, &eve, &[403, 404, 410][..]),
        (&ended.id, &ann, &[410]),
        (&"0000000000000000.n1".to_owned(), &ann, &[410]),
        (&"x".to_owned(), &ann, &[404]),
    ];
    let mut foreign = Vec::new();
    for (id, person, statuses) in sessions {
        let session = format!("/v1/sessions/{id}");
        for request in [
            get(person, &format!("{session}/poll?after=0"), ""),
            get(person, &format!("{session}/long-poll?after=0"), ""),
            get(person, &format!("{session}/events?after=0"), ""),
            upgrade(person, &format!("{session}/websocket?after=0")),
            String::from_utf8(post(person, &format!("{session}/commands"), b"{\"commands\":[]}"))
                .unwrap(),
            get(person, &session, "").replacen("GET", "DELETE", 1),
        ] {
            let answer = line.ask(&request).await;
            assert!(statuses.contains(&answer.status), "{request}: {answer:?}");
            assert!(answer.body["code"].is_string(), "{answer:?}");
            if statuses.len() > 1 {
                foreign.push(answer.status);
            }
        }
    }
    assert!(
        foreign.windows(2).all(|pair| pair[0] == pair[1]),
        "the same status on every path: {foreign:?}"
    );
    assert_eq!(
        line.ask(poll(&ears, &ann, "poll")).await.status,
        200,
        "the session of ann still exists"
    );
    node.stop().await;
}

#[tokio::test]
async fn positions_that_the_session_does_not_hold_are_invalid() {
    let node = Node::start().await;
    let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
    let channel_id = ann.direct(&bob).await;
    let ears = bob.listen().await;
    for content in ["one", "two", "three"] {
        ann.say(&channel_id, content).await;
    }
    let mut line = Line::open(&node).await;
    // Reads all three, then confirms two: from now on positions 2 and 3 exist.
    for after in ["0", "2"] {
        let answer = line.ask(poll(&ears, &bob, &format!("long-poll?after={after}"))).await;
        assert_eq!(answer.status, 200);
    }
    let session = format!("/v1/sessions/{}", ears.id);
    for after in ["0", "1", "4", "18446744073709551615", "18446744073709551616", "-1", "x", "1.5"] {
        for request in [
            poll(&ears, &bob, &format!("poll?after={after}")),
            poll(&ears, &bob, &format!("long-poll?after={after}")),
            get(&bob, &format!("{session}/events?after={after}"), ""),
            get(&bob, &format!("{session}/events"), &format!("last-event-id: {after}\r\n")),
            upgrade(&bob, &format!("{session}/websocket?after={after}")),
        ] {
            let answer = line.ask(&request).await;
            is(&answer, 422, "invalid", &request);
        }
    }
    for query in ["limit=x", "limit=-1", "wait_ms=x", "wait_ms=-1"] {
        let answer = line.ask(poll(&ears, &bob, &format!("long-poll?after=2&{query}"))).await;
        let known = query.starts_with("wait") || answer.status == 422;
        assert!(known, "{query}: {answer:?}");
    }
    let answer = line.ask(poll(&ears, &bob, "poll?after=2")).await;
    assert_eq!(answer.body["events"][0]["message"]["content"], "three", "nothing is lost");
    node.stop().await;
}

#[tokio::test]
async fn a_second_poll_ends_the_first_with_an_empty_batch() {
    let node = Node::start().await;
    let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
    let channel_id = ann.direct(&bob).await;
    let ears = bob.listen().await;
    let parked = async || {
        let wanted = "pabal_transport_attached{transport=\"long_polling\"} 1";
        while !node.get("/metrics").await.text.contains(wanted) {
            tokio::task::yield_now().await;
        }
    };
    let (mut first, mut second) = (Line::open(&node).await, Line::open(&node).await);
    first.write(poll(&ears, &bob, "long-poll?after=0")).await;
    parked().await;
    second.write(poll(&ears, &bob, "long-poll?after=0")).await;
    let ended = timeout(SOON, first.read()).await.unwrap().unwrap();
    assert_eq!((ended.status, &ended.body["events"]), (200, &json!([])));
    parked().await;
    ann.say(&channel_id, "hello").await;
    let heard = second.read().await.unwrap().body;
    assert_eq!(text(&heard["events"][0]["message"]["content"]), "hello");
    // A short poll during a long one disturbs neither.
    second.write(poll(&ears, &bob, "long-poll?after=1")).await;
    parked().await;
    assert_eq!(first.ask(poll(&ears, &bob, "poll?after=1")).await.body["events"], json!([]));
    ann.say(&channel_id, "again").await;
    let heard: Value = second.read().await.unwrap().body;
    assert_eq!(text(&heard["events"][0]["message"]["content"]), "again");
    node.stop().await;
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn h2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn a_flood_of_http_2_frames_ends_with_its_connection() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    // GET http://x/ in HPACK, all but the authority from the static table.
    let request = [0x82, 0x86, 0x84, 0x41, 1, b'x'];
    let reset = |stream: u32| {
        let headers = h2_frame(1, 0x05, stream, &request);
        [headers, h2_frame(3, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let resets: Vec<u8> = (0..50_000_u32).flat_map(|number| reset(2 * number + 1)).collect();
    let floods = [
        ("rapid reset (CVE-2023-44487)", resets),
        ("settings", h2_frame(4, 0, 0, &[]).repeat(200_000)),
        ("pings", h2_frame(6, 0, 0, &[0; 8]).repeat(200_000)),
        ("an endless head (CVE-2024-27316)", {
            let piece = h2_frame(9, 0, 1, &[0; 16_000]);
            [h2_frame(1, 0, 1, &request), piece.repeat(1_000)].concat()
        }),
        ("empty data", {
            let open = h2_frame(1, 0x04, 1, &request);
            [open, h2_frame(0, 0, 1, &[]).repeat(200_000)].concat()
        }),
        ("a frame above the limit", h2_frame(0, 0, 1, &[0; 20_000])),
    ];
    for (name, flood) in floods {
        let stream = TcpStream::connect(node.address()).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let opening = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &h2_frame(4, 0, 0, &[])].concat();
        let writing = async {
            write.write_all(&opening).await?;
            // The server may close before the end.
            write.write_all(&flood).await?;
            write.shutdown().await
        };
        let reading = async {
            let (mut buffer, mut bytes) = ([0; 16_384], 0);
            while let Ok(read @ 1..) = read.read(&mut buffer).await {
                bytes += read;
            }
            bytes
        };
        let (_, bytes) = timeout(SOON, async { tokio::join!(writing, reading) })
            .await
            .unwrap_or_else(|_| panic!("{name}: still open"));
        // At most an acknowledgement for each frame.
        assert!(bytes <= flood.len() + 1_000, "{name}: {bytes} bytes for {}", flood.len());
        assert_eq!(ann.get("/v1/me").await.status, 200, "{name}");
    }
    node.stop().await;
}

#[tokio::test]
async fn many_connections_at_once_are_served_and_their_sockets_closed() {
    const MANY: usize = 800;
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let lines = join_all((0..MANY).map(|_| async {
        let mut line = Line::open(&node).await;
        assert_eq!(line.ask(poll(&ears, &ann, "poll")).await.status, 200);
        line
    }))
    .await;
    assert_eq!(lines.len(), MANY);
    let open = async || {
        let page = node.get("/metrics").await.text;
        let value = page.lines().find_map(|line| line.strip_prefix("process_open_fds "));
        value.unwrap().parse::<usize>().unwrap()
    };
    // Both ends of each connection belong to this process, and so do those of tests that run at the same time.
    let held = open().await;
    assert!(held >= 2 * MANY, "{held}");
    drop(lines);
    let given_back = async {
        while open().await + 2 * MANY > held + MANY {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, given_back).await.expect("their sockets are closed");
    node.call(Method::GET, "/healthz", None).await.is(200);
    node.stop().await;
}
