//! `/v1/login` and `/v1/logout`.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Node, PASSWORD};

#[tokio::test]
async fn every_log_in_creates_a_device() {
    let node = Node::start().await;
    let first = node.sign_up("mina").await;
    let body = json!({"username": "MINA", "password": PASSWORD, "device_name": "phone"});
    let response = node.post("/v1/login", body).await.json(200);
    assert_eq!(response["user"]["user_id"], first.id);
    assert_ne!(response["token"], first.token);
    for field in ["device_id", "expires_at", "token"] {
        assert!(response[field].is_string(), "{field}");
    }
    first.get("/v1/me").await.is(200);
    node.stop().await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_indistinguishable() {
    let node = Node::start().await;
    node.sign_up("mina").await;
    let verified = async || {
        let page = node.get("/metrics").await.text;
        let value = page.lines().find_map(|it| it.strip_prefix("pabal_passwords_verified_total "));
        value.unwrap().parse::<u64>().unwrap()
    };
    let attempt = async |username: &str, password: &str| {
        let before = verified().await;
        let body = json!({"username": username, "password": password});
        let reply = node.post("/v1/login", body).await;
        reply.problem(401, "unauthenticated");
        (reply.text, verified().await - before)
    };
    // Both cost one verification, which takes almost all of the time.
    let (wrong, wrong_cost) = attempt("mina", "wrong password").await;
    let (unknown, unknown_cost) = attempt("unknown", "wrong password").await;
    assert_eq!(wrong, unknown);
    assert_eq!((wrong_cost, unknown_cost), (1, 1));
    attempt("not a name", "wrong password").await;
    attempt("mina", "").await;
    node.post("/v1/login", json!({"username": "mina"})).await.invalid("password");
    let body = json!({"username": "mina", "password": PASSWORD, "device_name": "x".repeat(65)});
    node.post("/v1/login", body).await.invalid("device_name");
    node.stop().await;
}

#[tokio::test]
async fn logging_out_ends_the_token_and_its_sessions_only() {
    let node = Node::start().await;
    let phone = node.sign_up("mina").await;
    let laptop = node.log_in("mina").await;
    let (phone_ears, mut laptop_ears) = (phone.listen().await, laptop.listen().await);
    let path = format!("/v1/sessions/{}/long-poll?after=0&wait_ms=10000", phone_ears.id);
    let parked = {
        let (phone, path) = (phone.clone(), path.clone());
        tokio::spawn(async move { phone.get(&path).await })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    phone.call(reqwest::Method::POST, "/v1/logout", None).await.is(204);
    // A waiting request ends at once, not at its deadline.
    assert!(!parked.await.unwrap().status.is_success());
    assert!(begun.elapsed() < Duration::from_secs(5));
    phone.get("/v1/me").await.problem(401, "unauthenticated");
    phone.get(&path).await.problem(401, "unauthenticated");
    phone.post("/v1/sessions", json!({})).await.problem(401, "unauthenticated");
    phone.post("/v1/logout", json!({})).await.problem(401, "unauthenticated");
    laptop.get("/v1/me").await.is(200);
    laptop_ears.hear().await;
    node.stop().await;
}

#[tokio::test]
async fn log_ins_for_a_username_are_rate_limited() {
    let node = Node::start_with(|config| {
        config.limits.rate_limits = true;
        config.auth.attempts_per_username_per_minute = 2;
    })
    .await;
    node.sign_up("mina").await;
    let body = json!({"username": "mina", "password": "wrong password"});
    for _ in 0..2 {
        node.post("/v1/login", body.clone()).await.problem(401, "unauthenticated");
    }
    let refused = node.post("/v1/login", body).await;
    let problem = refused.problem(429, "rate_limited");
    assert!(problem["retry_after_ms"].as_u64().unwrap() > 1_000);
    node.stop().await;
}

#[tokio::test]
async fn tokens_survive_a_restart_and_expire() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let node = node.restart().await;
    let url = format!("{}/v1/me", node.url);
    let response = crate::support::reply(node.http.get(url).bearer_auth(&mina.token)).await;
    assert_eq!(response.json(200)["user"]["user_id"], mina.id);
    node.stop().await;
}

#[tokio::test]
async fn log_ins_from_an_address_are_rate_limited() {
    let node = Node::start_with(|config| {
        config.limits.rate_limits = true;
        config.auth.attempts_per_address_per_second = 1;
    })
    .await;
    let mut refused = 0;
    for number in 0..40 {
        // An attempt counts even if its password is refused without a verification.
        let body = json!({"username": format!("unknown{number}"), "password": "x"});
        let reply = node.post("/v1/login", body).await;
        if reply.status == 429 {
            reply.problem(429, "rate_limited");
            refused += 1;
        }
    }
    assert!((1..=10).contains(&refused), "{refused}");
    node.stop().await;
}
