//! `/v1/me/blocks`.

use serde_json::json;

use crate::support::{Node, pluck};

#[tokio::test]
async fn a_block_stops_direct_messages_at_once() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let direct = mina.direct(&jun).await;
    let path = format!("/v1/channels/{direct}/messages");
    let block = format!("/v1/me/blocks/{}", jun.id);
    let hello = json!({"content": "hello"});
    jun.post(&path, hello.clone()).await.is(201);
    for _ in 0..3 {
        mina.put(&block).await.is(204);
        jun.post(&path, hello.clone()).await.problem(403, "blocked");
        mina.post(&path, hello.clone()).await.is(201);
        mina.delete(&block).await.is(204);
        jun.post(&path, hello.clone()).await.is(201);
    }
    node.stop().await;
}

#[tokio::test]
async fn a_block_does_not_affect_groups() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let group = mina.group("Lunch", &[&jun]).await;
    mina.put(&format!("/v1/me/blocks/{}", jun.id)).await.is(204);
    jun.say(&group, "still here").await;
    node.stop().await;
}

#[tokio::test]
async fn only_the_blocking_user_sees_a_block() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let block = format!("/v1/me/blocks/{}", jun.id);
    mina.put(&block).await.is(204);
    mina.put(&block).await.is(204);
    let mine = mina.get("/v1/me/blocks").await.json(200);
    assert_eq!(pluck(&mine["blocks"], "user_id"), [&jun.id]);
    assert_eq!(mine["has_more"], false);
    assert_eq!(jun.get("/v1/me/blocks").await.json(200)["blocks"], json!([]));
    mina.delete(&block).await.is(204);
    mina.delete(&block).await.is(204);
    assert_eq!(mina.get("/v1/me/blocks").await.json(200)["blocks"], json!([]));
    mina.put("/v1/me/blocks/1").await.problem(404, "not_found");
    mina.put(&format!("/v1/me/blocks/{}", mina.id)).await.invalid("user_id");
    node.get("/v1/me/blocks").await.problem(401, "unauthenticated");
    node.stop().await;
}
