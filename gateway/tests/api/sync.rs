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
    let response = mina.post("/v1/sync?limit=2", held).await.json(200)["channels"].clone();
    let synced = &response[&notes];
    assert_eq!(pluck(&synced["messages"], "content"), ["1", "2"]);
    assert_eq!(synced["cur_max_message_id"], ids[2]);
    assert_eq!(synced["has_more"], true);
    assert_eq!(response[&lunch]["messages"], json!([head]));
    assert_eq!(response[&lunch]["cur_max_message_id"], head["message_id"]);
    assert!(response.get(&empty).is_none());
    let up_to_date = json!({"channels": {&notes: ids[3], &lunch: "0"}});
    let response = mina.post("/v1/sync", up_to_date).await.json(200)["channels"].clone();
    assert_eq!(response[&notes]["messages"], json!([]));
    assert_eq!(response[&notes]["cur_max_message_id"], ids[3]);
    assert_eq!(pluck(&response[&lunch]["messages"], "content"), ["first", "last"]);
    node.stop().await;
}

#[tokio::test]
async fn an_offline_device_gets_the_list_of_gone_channels() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let notes = mina.group("Notes", &[]).await;
    let [left, deleted, removed] = [
        mina.group("Left", &[&jun]).await,
        mina.group("Deleted", &[&jun]).await,
        jun.group("Removed", &[&mina]).await,
    ];
    for channel_id in [&notes, &left, &deleted, &removed] {
        mina.say(channel_id, "hello").await;
    }
    mina.delete(&format!("/v1/channels/{left}/members/{}", mina.id)).await.is(204);
    mina.delete(&format!("/v1/channels/{deleted}")).await.is(204);
    jun.delete(&format!("/v1/channels/{removed}/members/{}", mina.id)).await.is(204);
    let held = json!({"channels": {&notes: "0", &left: "0", &deleted: "0", &removed: "0"}});
    let response = mina.post("/v1/sync", held.clone()).await.json(200);
    assert_eq!(pluck(&response["channels"][&notes]["messages"], "content"), ["hello"]);
    assert_eq!(response["channels"].as_object().unwrap().len(), 1);
    let mut gone: Vec<_> = response["gone"].as_array().unwrap().iter().map(text).collect();
    let mut expected = [left, deleted, removed];
    gone.sort();
    expected.sort();
    assert_eq!(gone, expected);
    let session = mina.post("/v1/sessions", held).await.json(201);
    let path = format!("/v1/sessions/{}/poll?after=0", text(&session["session_id"]));
    let events = mina.get(&path).await.json(200)["events"].clone();
    let of = |kind: &str| -> Vec<_> {
        events.as_array().unwrap().iter().filter(|it| it["type"] == kind).cloned().collect()
    };
    assert_eq!(of("message").len(), 1);
    let mut removed_from: Vec<_> = of("member").iter().map(|it| text(&it["channel_id"])).collect();
    removed_from.sort();
    assert_eq!(removed_from, expected);
    node.stop().await;
}

#[tokio::test]
async fn invalid_syncs_are_refused() {
    let node = Node::start_with(|config| config.limits.channels_per_request = 2).await;
    let (mina, eve) = (node.sign_up("mina").await, node.sign_up("eve").await);
    let notes = mina.group("Notes", &[]).await;
    let foreign = eve.post("/v1/sync", json!({"channels": {&notes: "0"}})).await.json(200);
    assert_eq!(
        foreign,
        json!({"channels": {}, "gone": [notes]}),
        "none of its messages is returned"
    );
    let many = json!({"channels": {"1": "0", "2": "0", "3": "0"}});
    mina.post("/v1/sync", many).await.invalid("channels");
    mina.post("/v1/sync", json!({"channels": {"x": "0"}})).await.invalid("channels.x");
    mina.post("/v1/sync", json!({"channels": {"1": 0}})).await.invalid("channels.1");
    mina.post("/v1/sync?limit=500", json!({"channels": {}})).await.invalid("limit");
    assert_eq!(
        mina.post("/v1/sync", json!({})).await.json(200),
        json!({"channels": {}, "gone": []})
    );
    node.post("/v1/sync", json!({})).await.problem(401, "unauthenticated");
    node.stop().await;
}

/// The longest content, of which each byte takes six in JSON.
fn controls() -> String {
    "\u{1}".repeat(16 * 1024)
}

#[tokio::test]
async fn an_answer_that_does_not_fit_says_so_and_continues_after_its_last_channel() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let (mut held, mut expected) = (serde_json::Map::new(), Vec::new());
    for number in 0..9 {
        let channel = mina.group(&number.to_string(), &[]).await;
        // Named and unnamed channels alternate; the named ones have most of the messages.
        let messages = if number % 2 == 0 { 12 } else { 1 };
        for _ in 0..messages {
            mina.say(&channel, &controls()).await;
        }
        if number % 2 == 0 {
            held.insert(channel.clone(), json!("0"));
        }
        expected.push((channel, messages));
    }
    let (mut after, mut found) = (None::<String>, Vec::new());
    loop {
        let body = json!({"channels": held, "after": after});
        let reply = mina.post("/v1/sync", body).await;
        assert!(reply.text.len() < (4 << 20) + 128 * 1024, "{} bytes", reply.text.len());
        let answer = reply.json(200);
        for (channel, part) in answer["channels"].as_object().unwrap() {
            assert!(after.as_ref().is_none_or(|after| id(channel) > id(after)));
            let messages = part["messages"].as_array().unwrap().len();
            found.push((channel.clone(), messages, part["has_more"] == true));
        }
        if answer["has_more"] != true {
            assert!(answer.get("next").is_none());
            break;
        }
        after = Some(text(&answer["next"]));
        let last = found.iter().map(|(channel, ..)| channel).max_by_key(|channel| id(channel));
        assert_eq!(last, after.as_ref(), "the last channel of the answer");
    }
    found.sort_by_key(|(channel, ..)| id(channel));
    expected.sort_by_key(|(channel, _)| id(channel));
    let channels: Vec<_> = found.iter().map(|(channel, ..)| channel).collect();
    let wanted: Vec<_> = expected.iter().map(|(channel, _)| channel).collect();
    assert_eq!(channels, wanted, "each channel once");
    for ((_, messages, has_more), (_, wanted)) in found.iter().zip(&expected) {
        assert_eq!(messages < wanted, *has_more, "{messages} of {wanted}");
    }
    node.stop().await;
}

fn id(text: &str) -> u64 {
    text.parse().unwrap()
}
