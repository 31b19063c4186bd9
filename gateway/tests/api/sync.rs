//! `/v1/sync`.

use serde_json::json;

use crate::support::{Node, pluck, text};

#[tokio::test]
async fn named_channels_come_from_their_cursor_and_others_with_their_head() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let (notes, lunch) = (mina.group("Notes", &[]).await, mina.group("Lunch", &[&jun]).await);
    let empty = mina.group("Empty", &[]).await;
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(text(&mina.say(&notes, &number.to_string()).await["message_id"]));
    }
    mina.say(&lunch, "first").await;
    let head = mina.say(&lunch, "last").await;
    let held = json!({"channels": {&notes: ids[0]}});
    let answer = mina.post("/v1/sync?limit=2", held).await.json(200)["channels"].clone();
    let beyond = &answer[&notes];
    assert_eq!(pluck(&beyond["messages"], "content"), ["1", "2"]);
    assert_eq!(beyond["cur_max_message_id"], ids[2]);
    assert_eq!(beyond["has_more"], true);
    assert_eq!(answer[&lunch]["messages"], json!([head]));
    assert_eq!(answer[&lunch]["cur_max_message_id"], head["message_id"]);
    assert!(answer.get(&empty).is_none());
    let up_to_date = json!({"channels": {&notes: ids[3], &lunch: "0"}});
    let answer = mina.post("/v1/sync", up_to_date).await.json(200)["channels"].clone();
    assert_eq!(answer[&notes]["messages"], json!([]));
    assert_eq!(answer[&notes]["cur_max_message_id"], ids[3]);
    assert_eq!(pluck(&answer[&lunch]["messages"], "content"), ["first", "last"]);
    node.stop().await;
}

#[tokio::test]
async fn what_cannot_be_synchronised() {
    let node = Node::start_with(|config| config.limits.channels_per_request = 2).await;
    let (mina, eve) = (node.sign_up("mina").await, node.sign_up("eve").await);
    let notes = mina.group("Notes", &[]).await;
    eve.post("/v1/sync", json!({"channels": {notes: "0"}})).await.problem(403, "not_a_member");
    let many = json!({"channels": {"1": "0", "2": "0", "3": "0"}});
    mina.post("/v1/sync", many).await.invalid("channels");
    mina.post("/v1/sync", json!({"channels": {"x": "0"}})).await.invalid("channels.x");
    mina.post("/v1/sync", json!({"channels": {"1": 0}})).await.invalid("channels.1");
    mina.post("/v1/sync?limit=500", json!({"channels": {}})).await.invalid("limit");
    assert_eq!(mina.post("/v1/sync", json!({})).await.json(200), json!({"channels": {}}));
    node.post("/v1/sync", json!({})).await.problem(401, "unauthenticated");
    node.stop().await;
}
