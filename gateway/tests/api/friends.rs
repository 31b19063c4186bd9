//! `/v1/me/friends`.

use serde_json::json;

use crate::support::{Node, pluck};

#[tokio::test]
async fn users_who_asked_each_other_are_friends() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let (to_jun, to_mina) =
        (format!("/v1/me/friends/{}", jun.id), format!("/v1/me/friends/{}", mina.id));
    let state = |response: &serde_json::Value| response["friend"]["state"].clone();
    assert_eq!(state(&mina.put(&to_jun).await.json(200)), "requested");
    assert_eq!(state(&mina.put(&to_jun).await.json(200)), "requested", "idempotent");
    let seen = jun.get("/v1/me/friends").await.json(200);
    assert_eq!(seen["friends"][0]["user_id"], mina.id);
    assert_eq!(seen["friends"][0]["state"], "received");
    assert_eq!(state(&jun.put(&to_mina).await.json(200)), "friends");
    let seen = mina.get("/v1/me/friends").await.json(200);
    assert_eq!(seen["friends"][0]["state"], "friends");
    assert_eq!(seen["has_more"], false);
    mina.delete(&to_jun).await.is(204);
    mina.delete(&to_jun).await.is(204);
    assert_eq!(jun.get("/v1/me/friends").await.json(200)["friends"], json!([]));
    node.stop().await;
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    mina.put("/v1/me/friends/1").await.problem(404, "not_found");
    mina.put("/v1/me/friends/x").await.problem(404, "not_found");
    mina.put(&format!("/v1/me/friends/{}", mina.id)).await.invalid("user_id");
    jun.put(&format!("/v1/me/blocks/{}", mina.id)).await.is(204);
    mina.put(&format!("/v1/me/friends/{}", jun.id)).await.problem(403, "blocked");
    jun.put(&format!("/v1/me/friends/{}", mina.id)).await.problem(403, "blocked");
    node.get("/v1/me/friends").await.problem(401, "unauthenticated");
    node.stop().await;
}

#[tokio::test]
async fn friends_see_presence_if_it_is_shared() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let online = async || {
        let response = mina.get("/v1/me/friends").await.json(200);
        response["friends"][0]["online"].clone()
    };
    mina.put(&format!("/v1/me/friends/{}", jun.id)).await.is(200);
    let mut ears = mina.listen().await;
    let _jun_is_here = jun.listen().await;
    assert_eq!(online().await, false, "only one of them has asked");
    jun.put(&format!("/v1/me/friends/{}", mina.id)).await.is(200);
    assert_eq!(online().await, true);
    let laptop = node.log_in("jun").await;
    jun.post("/v1/logout", json!({})).await.is(204);
    let events = ears.hear_all().await;
    let left = json!({"type": "presence", "user_id": jun.id, "online": false});
    assert!(events.contains(&left), "{events:?}");
    let _jun_is_here = laptop.listen().await;
    laptop.patch("/v1/me/settings", json!({"share_presence": false})).await.is(200);
    assert_eq!(online().await, false);
    node.stop().await;
}

#[tokio::test]
async fn friends_are_listed_in_pages() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let mut others = Vec::new();
    for number in 0..3 {
        let other = node.sign_up(&format!("friend{number}")).await;
        mina.put(&format!("/v1/me/friends/{}", other.id)).await.is(200);
        others.push(other.id);
    }
    others.sort_by_key(|id| id.parse::<u64>().unwrap());
    let page = mina.get("/v1/me/friends?limit=2").await.json(200);
    assert_eq!(pluck(&page["friends"], "user_id"), others[..2]);
    assert_eq!(page["has_more"], true);
    let rest = mina.get(&format!("/v1/me/friends?limit=2&after={}", others[1])).await.json(200);
    assert_eq!(pluck(&rest["friends"], "user_id"), others[2..]);
    assert_eq!(rest["has_more"], false);
    mina.get("/v1/me/friends?after=last").await.invalid("after");
    node.stop().await;
}
