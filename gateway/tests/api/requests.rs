//! What holds for every request: paths, methods, bodies, tokens.

use reqwest::Method;
use serde_json::json;

use crate::support::{Node, PASSWORD, reply};

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let node = Node::start().await;
    node.get("/v1/nothing").await.problem(404, "not_found");
    node.get("/v1/users/1/shoes").await.problem(404, "not_found");
    node.get("//").await.problem(404, "not_found");
    let wrong = node.call(Method::DELETE, "/v1/users", None).await;
    wrong.problem(405, "method_not_allowed");
    let allowed = wrong.header("allow").to_owned();
    assert!(allowed.contains("POST") && allowed.contains("GET"), "{allowed}");
    node.call(Method::PUT, "/v1/sync", None).await.problem(405, "method_not_allowed");
    node.call(Method::POST, "/v1/sessions/x/poll", None).await.is(401);
    node.stop().await;
}

#[tokio::test]
async fn bodies_must_be_json_of_a_bounded_size() {
    let node = Node::start().await;
    let url = format!("{}/v1/login", node.url);
    let post = |kind: &'static str, body: String| {
        reply(node.http.post(&url).header("content-type", kind).body(body))
    };
    let right = json!({"username": "nobody", "password": PASSWORD}).to_string();
    post("application/json; charset=utf-8", right.clone()).await.problem(401, "unauthenticated");
    post("application/x-www-form-urlencoded", right.clone())
        .await
        .problem(415, "unsupported_media_type");
    post("text/plain", right.clone()).await.problem(415, "unsupported_media_type");
    reply(node.http.post(&url).body(right)).await.problem(401, "unauthenticated");
    post("application/json", "{".into()).await.invalid("body");
    post("application/json", "[]".into()).await.invalid("body");
    post("application/json", "{\"username\":\"\u{0}\"}".into()).await.invalid("body");
    reply(node.http.post(&url).header("content-type", "application/json").body(vec![b'"', 0xff]))
        .await
        .invalid("body");
    post("application/json", String::new()).await.invalid("username");
    let large = format!("{{\"username\":\"{}\"}}", "x".repeat(256 * 1024));
    post("application/json", large).await.problem(413, "too_large");
    node.stop().await;
}

#[tokio::test]
async fn a_token_counts_in_the_authorization_header_only() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let url = format!("{}/v1/me", node.url);
    let with = |value: String| reply(node.http.get(&url).header("authorization", value));
    with(format!("Bearer {}", mina.token)).await.is(200);
    with(format!("bearer  {}", mina.token)).await.is(200);
    let (token, url) = (&mina.token, &url);
    for value in [format!("Basic {token}"), token.clone(), "Bearer".into(), "Bearer x".into()] {
        with(value).await.problem(401, "unauthenticated");
    }
    reply(node.http.get(format!("{url}?token={token}"))).await.problem(401, "unauthenticated");
    node.stop().await;
}

#[tokio::test]
async fn a_token_expires_after_its_lifetime() {
    use std::sync::Arc;

    use pabal_core::memory::ManualClock;
    use pabal_core::model::{Device, DeviceId, Timestamp, TokenHash, UserId};
    use pabal_core::ports::{Access, Clock};

    // At the moment of expiry, as the directory states it, the token is no longer valid.
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_800_000_000_000)));
    let access = Access {
        token: TokenHash::of("t"),
        device: Device {
            device_id: DeviceId::new(1),
            user_id: UserId::new(1),
            name: String::new(),
        },
        expires_at: clock.now(),
    };
    let engine = crate::push::engine(clock.clone(), access).await;
    let refused = engine.authenticate(TokenHash::of("t")).await.unwrap_err();
    assert_eq!(refused.code.as_str(), "unauthenticated");
    clock.step_back(std::time::Duration::from_millis(1));
    engine.authenticate(TokenHash::of("t")).await.unwrap();
    engine.shutdown().await;
}

#[tokio::test]
async fn too_many_passwords_at_once_are_refused_with_a_retry() {
    let node = Node::start_with(|config| config.auth.waiting_hashes = 1).await;
    let mut attempts = tokio::task::JoinSet::new();
    for number in 0..24 {
        let (http, url) = (node.http.clone(), format!("{}/v1/users", node.url));
        attempts.spawn(async move {
            let body = json!({"username": format!("user{number}"), "password": PASSWORD});
            reply(http.post(url).json(&body)).await
        });
    }
    let replies = attempts.join_all().await;
    let put_off: Vec<_> = replies.iter().filter(|reply| reply.status == 503).collect();
    assert!(!put_off.is_empty() && put_off.len() < 24);
    for reply in put_off {
        assert!(reply.problem(503, "unavailable")["retry_after_ms"].as_u64().unwrap() > 0);
    }
    node.stop().await;
}
