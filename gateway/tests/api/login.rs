//! `/v1/login` and `/v1/logout`.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::line::Line;
use crate::support::{Node, PASSWORD, pluck, reply};

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
async fn a_request_whose_token_ends_before_its_body_has_come_changes_nothing() {
    let node = Node::start().await;
    let (mina, laptop) = (node.sign_up("mina").await, node.log_in("mina").await);
    let group = mina.group("Notes", &[]).await;
    let ears = mina.listen().await;
    let send = json!({"commands": [{"type": "send", "channel_id": group, "content": "late"}]});
    let requests = [
        (format!("/v1/channels/{group}/messages"), json!({"content": "late"}).to_string()),
        (format!("/v1/sessions/{}/commands", ears.id), send.to_string()),
    ];
    let mut lines = Vec::new();
    for (path, body) in &requests {
        let mut line = Line::open(&node).await;
        let (token, length) = (&mina.token, body.len());
        line.write(format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             content-length: {length}\r\n\r\n{}",
            &body[..10]
        ))
        .await;
        lines.push((line, &body[10..]));
    }
    // As long as the server needs to have looked the token up, and to look it up again.
    tokio::time::sleep(Duration::from_millis(300)).await;
    mina.post("/v1/logout", json!({})).await.is(204);
    for (mut line, rest) in lines {
        line.write(rest).await;
        let answer = line.read().await.unwrap();
        assert_eq!((answer.status, &answer.body["code"]), (401, &json!("unauthenticated")));
    }
    let path = format!("/v1/channels/{group}/messages");
    let history = laptop.get(&path).await.json(200);
    assert_eq!(history["messages"], json!([]));
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

/// A log-in from an address of the loopback network.
async fn attempt_from(node: &Node, last: u8, body: &Value) -> u16 {
    let http = reqwest::Client::builder().no_proxy().local_address(IpAddr::from([127, 0, 0, last]));
    let request = http.build().unwrap().post(format!("{}/v1/login", node.url)).json(body);
    reply(request).await.status.as_u16()
}

#[tokio::test]
async fn wrong_passwords_from_elsewhere_lock_no_owner_out_and_more_addresses_give_no_more() {
    let node = Node::start_with(|config| {
        config.limits.rate_limits = true;
        config.auth.attempts_per_username_per_minute = 3;
    })
    .await;
    node.sign_up("mina").await;
    let body = |password: &str| json!({"username": "mina", "password": password});
    let (right, wrong) = (body(PASSWORD), body("wrong password"));
    let mut statuses = Vec::new();
    for last in 2..10 {
        statuses.push(attempt_from(&node, last, &wrong).await);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429, 429, 429, 429]);
    // The owner, where the sign-up came from. Right passwords do not count.
    for _ in 0..10 {
        assert_eq!(attempt_from(&node, 1, &right).await, 200);
    }
    for expected in [401, 401, 401, 429] {
        assert_eq!(attempt_from(&node, 1, &wrong).await, expected);
    }
    node.stop().await;
}

#[tokio::test]
async fn a_device_with_a_token_keeps_its_id_and_others_get_a_new_one() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let log_in = async |token: Option<&str>, device_id: &str| {
        let body = json!({
            "username": "mina", "password": PASSWORD, "device_id": device_id, "device_name": "phone",
        });
        let url = format!("{}/v1/login", node.url);
        let response = crate::support::send(&node.http, Method::POST, url, token, Some(body)).await;
        node.person(&response.json(200))
    };
    let again = log_in(Some(&mina.token), &mina.device_id).await;
    assert_eq!(again.device_id, mina.device_id);
    assert_ne!(again.token, mina.token);
    for person in [&mina, &again] {
        person.get("/v1/me").await.is(200);
    }
    let devices = mina.get("/v1/me/devices").await.json(200);
    assert_eq!(pluck(&devices["devices"], "name"), ["phone"]);
    // The next token replaces the one that was not shown.
    let third = log_in(Some(&again.token), &mina.device_id).await;
    mina.get("/v1/me").await.problem(401, "unauthenticated");
    for (token, device_id) in [
        (None, &mina.device_id),
        (Some("unknown"), &mina.device_id),
        (Some(mina.token.as_str()), &mina.device_id),
        (Some(jun.token.as_str()), &mina.device_id),
        (Some(jun.token.as_str()), &jun.device_id),
        (Some(third.token.as_str()), &jun.device_id),
    ] {
        let other = log_in(token, device_id).await;
        assert!(other.device_id != mina.device_id && other.device_id != jun.device_id);
    }
    for person in [&again, &third, &jun] {
        person.get("/v1/me").await.is(200);
    }
    node.stop().await;
}

#[tokio::test]
async fn the_body_of_a_log_out_may_be_empty_or_say_everywhere() {
    let node = Node::start().await;
    let phone = node.sign_up("mina").await;
    let (laptop, tablet) = (node.log_in("mina").await, node.log_in("mina").await);
    let url = format!("{}/v1/logout", node.url);
    // As clients may send it that know no body.
    let request =
        node.http.post(url).bearer_auth(&tablet.token).header("content-type", "text/plain");
    reply(request).await.is(204);
    phone.post("/v1/logout", json!({"everywhere": 1})).await.problem(422, "invalid");
    laptop.get("/v1/me").await.is(200);
    phone.post("/v1/logout", json!({"everywhere": true})).await.is(204);
    for person in [&phone, &laptop, &tablet] {
        person.get("/v1/me").await.problem(401, "unauthenticated");
    }
    node.log_in("mina").await;
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
