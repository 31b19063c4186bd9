//! `/v1/channels/{channel_id}/messages`.

use serde_json::{Value, json};

use crate::support::{Node, pluck, text};

#[tokio::test]
async fn a_message_has_the_form_of_the_contract() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let (direct, group) = (mina.direct(&jun).await, mina.group("Lunch", &[&jun]).await);
    let content = "안녕 \"you\" 👋";
    let body = json!({"content": content, "client_message_id": "m1", "color": "red"});
    let path = format!("/v1/channels/{direct}/messages");
    let message = mina.post(&path, body).await.json(201)["message"].clone();
    assert_eq!(message["channel_id"], direct);
    assert_eq!(message["message_from"], mina.id);
    assert_eq!(message["message_to"], jun.id);
    assert_eq!(message["content"], content);
    assert_eq!(message["client_message_id"], "m1");
    assert!(text(&message["created_at"]).ends_with('Z'));
    assert!(text(&message["message_id"]).parse::<u64>().is_ok());
    let in_group = mina.say(&group, "hello").await;
    assert!(in_group.get("message_to").is_none() && in_group.get("client_message_id").is_none());
    assert_eq!(jun.get(&path).await.json(200)["messages"], json!([message]));
    node.stop().await;
}

#[tokio::test]
async fn a_repeated_send_returns_the_first_message() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let group = mina.group("Notes", &[]).await;
    let path = format!("/v1/channels/{group}/messages");
    let body = json!({"content": "once", "client_message_id": "m1"});
    let first = mina.post(&path, body.clone()).await.json(201);
    for _ in 0..3 {
        assert_eq!(mina.post(&path, body.clone()).await.json(200), first);
    }
    let other = json!({"content": "twice", "client_message_id": "m2"});
    mina.post(&path, other).await.is(201);
    assert_eq!(mina.get(&path).await.json(200)["messages"].as_array().unwrap().len(), 2);
    node.stop().await;
}

#[tokio::test]
async fn invalid_sends_are_refused() {
    let node = Node::start().await;
    let (mina, eve) = (node.sign_up("mina").await, node.sign_up("eve").await);
    let group = mina.group("Notes", &[]).await;
    let path = format!("/v1/channels/{group}/messages");
    mina.post(&path, json!({})).await.invalid("content");
    mina.post(&path, json!({"content": ""})).await.invalid("content");
    mina.post(&path, json!({"content": 7})).await.invalid("content");
    let named = |name: String| json!({"content": "x", "client_message_id": name});
    mina.post(&path, named(String::new())).await.invalid("client_message_id");
    mina.post(&path, named("x".repeat(129))).await.invalid("client_message_id");
    mina.post(&path, named("x".repeat(128))).await.is(201);
    let full = "x".repeat(16 * 1024);
    mina.post(&path, json!({"content": full})).await.is(201);
    mina.post(&path, json!({"content": format!("{full}x")})).await.problem(413, "too_large");
    eve.post(&path, json!({"content": "x"})).await.problem(403, "not_a_member");
    eve.post("/v1/channels/1/messages", json!({"content": "x"})).await.problem(403, "not_a_member");
    node.post(&path, json!({"content": "x"})).await.problem(401, "unauthenticated");
    node.stop().await;
}

#[tokio::test]
async fn pages_go_forward_backward_and_around() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let group = mina.group("Notes", &[]).await;
    let mut ids = Vec::new();
    for number in 0..6 {
        ids.push(text(&mina.say(&group, &number.to_string()).await["message_id"]));
    }
    let read = async |query: &str| -> (Vec<String>, bool) {
        let path = format!("/v1/channels/{group}/messages{query}");
        let page: Value = mina.get(&path).await.json(200);
        let page_of = pluck(&page["messages"], "content").concat();
        (page_of.chars().map(String::from).collect(), page["has_more"].as_bool().unwrap())
    };
    let page_of = |digits: &str, more: bool| -> (Vec<String>, bool) {
        (digits.chars().map(String::from).collect(), more)
    };
    assert_eq!(read("").await, page_of("543210", false), "newest first");
    assert_eq!(read("?limit=2").await, page_of("54", true));
    assert_eq!(read("?after=0&limit=4").await, page_of("0123", true), "oldest first");
    assert_eq!(read(&format!("?after={}", ids[3])).await, page_of("45", false));
    assert_eq!(read(&format!("?before={}&limit=2", ids[4])).await, page_of("32", true));
    assert_eq!(read(&format!("?before={}", ids[0])).await, page_of("", false));
    assert_eq!(read(&format!("?around={}&limit=4", ids[3])).await, page_of("1234", true));
    let path = format!("/v1/channels/{group}/messages");
    mina.get(&format!("{path}?after=0&before=9")).await.invalid("after");
    mina.get(&format!("{path}?around=x")).await.invalid("around");
    mina.get(&format!("{path}?before=")).await.invalid("before");
    mina.get(&format!("{path}?limit=201")).await.invalid("limit");
    node.stop().await;
}

#[tokio::test]
async fn messages_survive_a_restart() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let group = mina.group("Notes", &[]).await;
    let before = mina.say(&group, "before").await;
    let node = node.restart().await;
    let mina = node.log_in("mina").await;
    let path = format!("/v1/channels/{group}/messages");
    assert_eq!(mina.get(&path).await.json(200)["messages"], json!([before]));
    let after = mina.say(&group, "after").await;
    let id = |message: &Value| text(&message["message_id"]).parse::<u64>().unwrap();
    assert!(id(&after) > id(&before));
    node.stop().await;
}

#[tokio::test]
async fn sends_are_rate_limited_unless_limits_are_off() {
    let node = Node::start_with(|config| {
        config.limits.rate_limits = true;
        config.limits.sends_per_second = 1;
    })
    .await;
    let mina = node.sign_up("mina").await;
    let group = mina.group("Notes", &[]).await;
    let path = format!("/v1/channels/{group}/messages");
    let mut replies = Vec::new();
    for _ in 0..15 {
        replies.push(mina.post(&path, json!({"content": "x"})).await);
    }
    let refused = replies.iter().find(|reply| reply.status == 429).expect("a limit");
    assert!(refused.problem(429, "rate_limited")["retry_after_ms"].as_u64().unwrap() > 0);
    node.stop().await;
}

#[tokio::test]
async fn a_page_ends_at_half_a_mebibyte_of_json_and_says_that_there_is_more() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let notes = mina.group("Notes", &[]).await;
    let mut ids = Vec::new();
    for _ in 0..9 {
        // Each of these bytes takes six in JSON.
        ids.push(text(&mina.say(&notes, &"\u{1}".repeat(16 * 1024)).await["message_id"]));
    }
    let path = format!("/v1/channels/{notes}/messages");
    let (mut after, mut read, mut pages) = ("0".to_owned(), Vec::new(), 0);
    loop {
        let reply = mina.get(&format!("{path}?after={after}&limit=200")).await;
        assert!(reply.text.len() <= 512 * 1024, "{} bytes", reply.text.len());
        let page = reply.json(200);
        read.extend(pluck(&page["messages"], "message_id").into_iter().map(str::to_owned));
        after = read.last().unwrap().clone();
        pages += 1;
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!((read, pages), (ids, 2));
    node.stop().await;
}
