//! `/v1/me/devices` and `/v1/me/password`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Node, PASSWORD, pluck};

fn passwords(old: &str, new: &str) -> Option<Value> {
    Some(json!({"old": old, "new": new}))
}

const NEW: &str = "battery staple";

#[tokio::test]
async fn devices_are_listed_in_pages_with_the_current_one() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    node.sign_up("jun").await;
    let body = json!({"username": "mina", "password": PASSWORD, "device_name": "phone"});
    let phone = node.post("/v1/login", body).await.json(200);
    let phone = node.person(&phone);
    let page = phone.get("/v1/me/devices").await.json(200);
    assert_eq!(pluck(&page["devices"], "device_id"), [&mina.device_id, &phone.device_id]);
    assert_eq!(pluck(&page["devices"], "name"), ["", "phone"]);
    let current = [0, 1].map(|index| page["devices"][index]["current"].as_bool().unwrap());
    assert_eq!(current, [false, true]);
    assert!(page["devices"][0]["expires_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(page["has_more"], false);
    let first = phone.get("/v1/me/devices?limit=1").await.json(200);
    assert_eq!(pluck(&first["devices"], "device_id"), [&mina.device_id]);
    assert_eq!(first["has_more"], true);
    let path = format!("/v1/me/devices?after={}", mina.device_id);
    let second = phone.get(&path).await.json(200);
    assert_eq!(pluck(&second["devices"], "device_id"), [&phone.device_id]);
    node.get("/v1/me/devices").await.problem(401, "unauthenticated");
    node.stop().await;
}

#[tokio::test]
async fn a_device_is_logged_out_by_its_user_only() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let phone = node.log_in("mina").await;
    let path = format!("/v1/me/devices/{}", phone.device_id);
    jun.delete(&path).await.problem(404, "not_found");
    phone.get("/v1/me").await.is(200);
    mina.delete(&path).await.is(204);
    phone.get("/v1/me").await.problem(401, "unauthenticated");
    mina.delete(&path).await.problem(404, "not_found");
    mina.delete("/v1/me/devices/none").await.problem(404, "not_found");
    // One's own, too.
    mina.delete(&format!("/v1/me/devices/{}", mina.device_id)).await.is(204);
    mina.get("/v1/me").await.problem(401, "unauthenticated");
    jun.get("/v1/me").await.is(200);
    node.stop().await;
}

#[tokio::test]
async fn a_new_password_needs_the_old_one_and_ends_other_tokens() {
    let node = Node::start().await;
    let (mina, phone) = (node.sign_up("mina").await, node.log_in("mina").await);
    let put = async |body| mina.call(Method::PUT, "/v1/me/password", body).await;
    put(passwords("wrong password", NEW)).await.problem(403, "forbidden");
    put(passwords(PASSWORD, "short")).await.invalid("new");
    put(Some(json!({"old": PASSWORD}))).await.invalid("new");
    phone.get("/v1/me").await.is(200);
    put(passwords(PASSWORD, NEW)).await.is(204);
    mina.get("/v1/me").await.is(200);
    phone.get("/v1/me").await.problem(401, "unauthenticated");
    let log_in = |password: &str| json!({"username": "mina", "password": password});
    node.post("/v1/login", log_in(PASSWORD)).await.problem(401, "unauthenticated");
    node.post("/v1/login", log_in(NEW)).await.is(200);
    put(passwords(PASSWORD, "one more password")).await.problem(403, "forbidden");
    node.stop().await;
}

#[tokio::test]
async fn guesses_of_the_old_password_are_limited() {
    let node = Node::start_with(|config| {
        config.limits.rate_limits = true;
        config.auth.attempts_per_username_per_minute = 2;
    })
    .await;
    let mina = node.sign_up("mina").await;
    let guess = async || {
        let body = passwords("wrong password", NEW);
        mina.call(Method::PUT, "/v1/me/password", body).await
    };
    for _ in 0..2 {
        guess().await.problem(403, "forbidden");
    }
    guess().await.problem(429, "rate_limited");
    node.stop().await;
}
