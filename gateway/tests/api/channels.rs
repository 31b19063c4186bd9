//! `/v1/channels` and `/v1/direct`.

use serde_json::{Value, json};

use crate::support::{Node, pluck, text};

#[tokio::test]
async fn two_users_have_one_direct_channel() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let mut ears = jun.listen().await;
    let made = mina.put(&format!("/v1/direct/{}", jun.id)).await.json(201)["channel"].clone();
    assert_eq!((&made["kind"], &made["name"]), (&json!("direct"), &Value::Null));
    assert_eq!(made["peer_user_id"], jun.id);
    assert_eq!((&made["last_message_id"], &made["unread"]), (&json!("0"), &json!(0)));
    let again = jun.put(&format!("/v1/direct/{}", mina.id)).await.json(200)["channel"].clone();
    assert_eq!(again["channel_id"], made["channel_id"]);
    assert_eq!(again["peer_user_id"], mina.id);
    let added = json!({
        "type": "channel", "action": "added", "channel_id": made["channel_id"],
        "kind": "direct", "name": null,
    });
    assert!(ears.hear_all().await.contains(&added));
    mina.put("/v1/direct/1").await.problem(404, "not_found");
    mina.put(&format!("/v1/direct/{}", mina.id)).await.invalid("user_id");
    node.stop().await;
}

#[tokio::test]
async fn the_first_message_of_a_new_channel_reaches_open_sessions() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let mut ears = jun.listen().await;
    for direct in [true, false] {
        let channel = match direct {
            true => mina.direct(&jun).await,
            false => mina.group("Lunch", &[&jun]).await,
        };
        let message = mina.say(&channel, "first").await;
        let events = ears.hear_all().await;
        let kinds: Vec<_> = events.iter().map(|event| text(&event["type"])).collect();
        assert_eq!(kinds, ["channel", "message"]);
        assert_eq!(events[1]["message"], message);
    }
    node.stop().await;
}

#[tokio::test]
async fn the_creator_of_a_group_is_its_owner() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let body = json!({"name": " Lunch ", "members": [jun.id, jun.id, mina.id]});
    let group = mina.post("/v1/channels", body).await.json(201)["channel"].clone();
    assert_eq!((&group["kind"], &group["name"]), (&json!("group"), &json!("Lunch")));
    assert_eq!(group["role"], "owner");
    assert!(group.get("peer_user_id").is_none());
    let path = format!("/v1/channels/{}", text(&group["channel_id"]));
    assert_eq!(jun.get(&path).await.json(200)["channel"]["role"], "member");
    let alone = mina.post("/v1/channels", json!({"name": "Alone"})).await;
    alone.json(201);
    node.stop().await;
}

#[tokio::test]
async fn an_invalid_group_names_the_field() {
    let node = Node::start_with(|config| config.limits.group_members = 3).await;
    let mina = node.sign_up("mina").await;
    let wrong = [
        (json!({"members": []}), "name"),
        (json!({"name": "", "members": []}), "name"),
        (json!({"name": "x".repeat(101), "members": []}), "name"),
        (json!({"name": "Lunch", "members": ["1", 2]}), "members[1]"),
        (json!({"name": "Lunch", "members": "1"}), "members"),
        (json!({"name": "Lunch", "members": ["1", "2", "3"]}), "members"),
    ];
    for (body, field) in wrong {
        mina.post("/v1/channels", body).await.invalid(field);
    }
    let unknown = json!({"name": "Lunch", "members": ["1"]});
    mina.post("/v1/channels", unknown).await.problem(404, "not_found");
    assert_eq!(mina.get("/v1/channels").await.json(200)["channels"], json!([]));
    node.stop().await;
}

#[tokio::test]
async fn the_list_has_unread_counts() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let (direct, group) = (mina.direct(&jun).await, mina.group("Lunch", &[&jun]).await);
    let first = mina.say(&group, "one").await;
    let second = mina.say(&group, "two").await;
    jun.say(&group, "mine").await;
    let of = async |id: &str| {
        let list = jun.get("/v1/channels").await.json(200);
        let mut channels = list["channels"].as_array().unwrap().iter();
        channels.find(|channel| channel["channel_id"] == *id).unwrap().clone()
    };
    let seen = of(&group).await;
    assert_eq!((&seen["unread"], &seen["read_up_to"]), (&json!(2), &json!("0")));
    assert_ne!(seen["last_message_id"], second["message_id"]);
    assert_eq!(of(&direct).await["last_message_id"], "0");
    let ears = jun.listen().await;
    let read = json!({"commands": [
        {"id": "r", "type": "read", "channel_id": group, "message_id": first["message_id"]},
    ]});
    let path = format!("/v1/sessions/{}/commands", ears.id);
    jun.post(&path, read).await.json(200);
    let seen = of(&group).await;
    assert_eq!((&seen["unread"], &seen["read_up_to"]), (&json!(1), &first["message_id"]));
    node.stop().await;
}

#[tokio::test]
async fn channels_are_listed_in_pages() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let mut groups = Vec::new();
    for number in 0..3 {
        groups.push(mina.group(&format!("Group {number}"), &[]).await);
    }
    groups.sort_by_key(|id| id.parse::<u64>().unwrap());
    let page = mina.get("/v1/channels?limit=2").await.json(200);
    assert_eq!(pluck(&page["channels"], "channel_id"), groups[..2]);
    assert_eq!(page["has_more"], true);
    let rest = mina.get(&format!("/v1/channels?after={}", groups[1])).await.json(200);
    assert_eq!(pluck(&rest["channels"], "channel_id"), groups[2..]);
    mina.get("/v1/channels?limit=0").await.invalid("limit");
    mina.get("/v1/channels?after=-1").await.invalid("after");
    node.get("/v1/channels").await.problem(401, "unauthenticated");
    node.stop().await;
}

#[tokio::test]
async fn admins_rename_and_all_members_get_the_event() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let group = mina.group("Lunch", &[&jun]).await;
    let path = format!("/v1/channels/{group}");
    let mut ears = jun.listen().await;
    let rename = json!({"name": "Dinner"});
    jun.patch(&path, rename.clone()).await.problem(403, "forbidden");
    let renamed = mina.patch(&path, rename.clone()).await.json(200);
    assert_eq!(renamed["channel"]["name"], "Dinner");
    let event = json!({
        "type": "channel", "action": "renamed", "channel_id": group, "kind": "group",
        "name": "Dinner",
    });
    assert_eq!(ears.hear_all().await, [event]);
    let admin = json!({"role": "admin"});
    let member = format!("{path}/members/{}", jun.id);
    mina.call(reqwest::Method::PUT, &member, Some(admin)).await.is(200);
    jun.patch(&path, json!({"name": "Supper"})).await.is(200);
    mina.patch(&path, json!({"name": ""})).await.invalid("name");
    assert_eq!(mina.patch(&path, json!({})).await.json(200)["channel"]["name"], "Supper");
    node.stop().await;
}

#[tokio::test]
async fn a_deleted_group_cannot_be_read_or_sent_to() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let group = mina.group("Lunch", &[&jun]).await;
    let path = format!("/v1/channels/{group}");
    jun.say(&group, "hello").await;
    let mut ears = jun.listen().await;
    jun.delete(&path).await.problem(403, "forbidden");
    mina.delete(&path).await.is(204);
    let event = json!({
        "type": "channel", "action": "deleted", "channel_id": group, "kind": "group",
        "name": "Lunch",
    });
    assert_eq!(ears.hear_all().await, [event]);
    let messages = format!("{path}/messages");
    jun.post(&messages, json!({"content": "?"})).await.problem(403, "not_a_member");
    jun.get(&messages).await.problem(403, "not_a_member");
    mina.get(&path).await.problem(403, "not_a_member");
    mina.delete(&path).await.problem(403, "not_a_member");
    node.stop().await;
}

#[tokio::test]
async fn non_members_are_refused_and_direct_channels_cannot_be_changed() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let eve = node.sign_up("eve").await;
    let (group, direct) = (mina.group("Lunch", &[&jun]).await, mina.direct(&jun).await);
    for id in [group.as_str(), direct.as_str(), "1"] {
        let path = format!("/v1/channels/{id}");
        eve.get(&path).await.problem(403, "not_a_member");
        eve.patch(&path, json!({"name": "Mine"})).await.problem(403, "not_a_member");
        eve.delete(&path).await.problem(403, "not_a_member");
    }
    eve.get("/v1/channels/lunch").await.problem(404, "not_found");
    let path = format!("/v1/channels/{direct}");
    mina.patch(&path, json!({"name": "Us"})).await.problem(403, "forbidden");
    mina.delete(&path).await.problem(403, "forbidden");
    node.stop().await;
}
