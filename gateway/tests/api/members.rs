//! `/v1/channels/{channel_id}/members`.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{Node, Person, Reply, pluck, text};

async fn give(caller: &Person, group: &str, user: &Person, role: Option<&str>) -> Reply {
    let path = format!("/v1/channels/{group}/members/{}", user.id);
    let body = role.map(|role| json!({"role": role}));
    caller.call(Method::PUT, &path, body).await
}

async fn remove(caller: &Person, group: &str, user: &Person) -> Reply {
    caller.delete(&format!("/v1/channels/{group}/members/{}", user.id)).await
}

async fn roles(caller: &Person, group: &str) -> Vec<(String, String)> {
    let path = format!("/v1/channels/{group}/members");
    let members = caller.get(&path).await.json(200)["members"].clone();
    let role = |member: &Value| (text(&member["user_id"]), text(&member["role"]));
    members.as_array().unwrap().iter().map(role).collect()
}

fn has(roles: &[(String, String)], user: &Person, role: &str) -> bool {
    roles.contains(&(user.id.clone(), role.to_owned()))
}

#[tokio::test]
async fn a_new_member_gets_all_later_events() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let group = mina.group("Lunch", &[]).await;
    mina.say(&group, "before").await;
    let (mut mina_ears, mut jun_ears) = (mina.listen().await, jun.listen().await);
    let response = give(&mina, &group, &jun, None).await.json(201);
    assert_eq!(response["member"], json!({"user_id": jun.id, "role": "member"}));
    let message = mina.say(&group, "after").await;
    let came = json!({
        "type": "member", "channel_id": group, "user_id": jun.id, "joined": true, "role": "member",
    });
    let sent = json!({"type": "message", "message": message});
    let added = json!({
        "type": "channel", "action": "added", "channel_id": group, "kind": "group",
        "name": "Lunch",
    });
    assert_eq!(jun_ears.hear_all().await, [added, came.clone(), sent.clone()]);
    assert_eq!(mina_ears.hear_all().await, [came, sent]);
    give(&mina, &group, &jun, None).await.is(200);
    assert_eq!(mina_ears.hear_all().await, Vec::<Value>::new(), "no further event");
    node.stop().await;
}

#[tokio::test]
async fn adding_members_and_giving_roles_need_permission() {
    let node = Node::start().await;
    let (owner, admin) = (node.sign_up("owner").await, node.sign_up("admin").await);
    let (member, new) = (node.sign_up("member").await, node.sign_up("new").await);
    let group = owner.group("Lunch", &[&admin, &member]).await;
    assert_eq!(
        give(&owner, &group, &admin, Some("admin")).await.json(200)["member"]["role"],
        "admin"
    );
    give(&member, &group, &new, None).await.problem(403, "forbidden");
    give(&new, &group, &new, None).await.problem(403, "not_a_member");
    give(&admin, &group, &new, Some("admin")).await.problem(403, "forbidden");
    give(&admin, &group, &new, Some("member")).await.is(201);
    give(&admin, &group, &new, Some("member")).await.is(200);
    give(&admin, &group, &member, Some("owner")).await.problem(403, "forbidden");
    give(&admin, &group, &admin, Some("member")).await.problem(403, "forbidden");
    give(&admin, &group, &owner, Some("member")).await.problem(403, "forbidden");
    give(&owner, &group, &admin, Some("king")).await.invalid("role");
    let last = give(&owner, &group, &owner, Some("member")).await.json(200);
    assert_eq!(last["member"]["role"], "owner", "the last owner stays");
    give(&owner, &group, &admin, Some("owner")).await.is(200);
    assert_eq!(
        give(&owner, &group, &owner, Some("member")).await.json(200)["member"]["role"],
        "member"
    );
    let roles = roles(&new, &group).await;
    assert!(has(&roles, &admin, "owner") && has(&roles, &owner, "member"), "{roles:?}");
    let unknown = format!("/v1/channels/{group}/members/1");
    admin.put(&unknown).await.problem(404, "not_found");
    node.stop().await;
}

#[tokio::test]
async fn removing_members_needs_a_higher_role() {
    let node = Node::start().await;
    let (owner, admin) = (node.sign_up("owner").await, node.sign_up("admin").await);
    let (other, member) = (node.sign_up("other").await, node.sign_up("member").await);
    let group = owner.group("Lunch", &[&admin, &other, &member]).await;
    for admin in [&admin, &other] {
        give(&owner, &group, admin, Some("admin")).await.is(200);
    }
    remove(&member, &group, &admin).await.problem(403, "forbidden");
    remove(&admin, &group, &other).await.problem(403, "forbidden");
    remove(&admin, &group, &owner).await.problem(403, "forbidden");
    remove(&admin, &group, &member).await.is(204);
    remove(&admin, &group, &member).await.problem(404, "not_found");
    remove(&owner, &group, &other).await.is(204);
    remove(&member, &group, &member).await.problem(403, "not_a_member");
    node.stop().await;
}

/// Repeats a call until it is refused, as a client does that tries to be faster than another one.
fn insist(
    caller: &Person,
    group: &str,
    user: &Person,
    role: Option<&'static str>,
) -> JoinHandle<()> {
    let (caller, user, group) = (caller.clone(), user.clone(), group.to_owned());
    tokio::spawn(
        async move { while give(&caller, &group, &user, role).await.status.is_success() {} },
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_admin_who_insists_is_not_back_after_the_removal() {
    let node = Node::start().await;
    let (owner, admin) = (node.sign_up("owner").await, node.sign_up("admin").await);
    let group = owner.group("Lunch", &[]).await;
    for round in 0..30 {
        give(&owner, &group, &admin, Some("admin")).await.is(201);
        let insisting: Vec<_> = (0..4).map(|_| insist(&admin, &group, &admin, None)).collect();
        remove(&owner, &group, &admin).await.is(204);
        for task in insisting {
            task.await.unwrap();
        }
        assert_eq!(roles(&owner, &group).await.len(), 1, "round {round}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_owner_who_insists_does_not_keep_the_role() {
    let node = Node::start().await;
    let (owner, rival) = (node.sign_up("owner").await, node.sign_up("rival").await);
    let group = owner.group("Lunch", &[&rival]).await;
    for round in 0..30 {
        give(&owner, &group, &rival, Some("owner")).await.is(200);
        let insist = || insist(&rival, &group, &rival, Some("owner"));
        let insisting: Vec<_> = (0..4).map(|_| insist()).collect();
        let response = give(&owner, &group, &rival, Some("member")).await.json(200);
        assert_eq!(response["member"]["role"], "member");
        for task in insisting {
            task.await.unwrap();
        }
        assert!(has(&roles(&owner, &group).await, &rival, "member"), "round {round}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_removed_member_gets_the_event_and_no_later_ones() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let group = mina.group("Lunch", &[&jun]).await;
    jun.say(&group, "hello").await;
    let (mut mina_ears, mut jun_ears) = (mina.listen().await, jun.listen().await);
    remove(&mina, &group, &jun).await.is(204);
    let path = format!("/v1/channels/{group}/messages");
    jun.post(&path, json!({"content": "wait"})).await.problem(403, "not_a_member");
    jun.get(&path).await.problem(403, "not_a_member");
    mina.say(&group, "alone").await;
    let left = json!({
        "type": "member", "channel_id": group, "user_id": jun.id, "joined": false, "role": null,
    });
    assert_eq!(jun_ears.hear_all().await, std::slice::from_ref(&left));
    let events = mina_ears.hear_all().await;
    assert_eq!((&events[0], &events[1]["type"]), (&left, &json!("message")));
    node.stop().await;
}

#[tokio::test]
async fn a_group_always_has_an_owner_and_ends_with_its_last_member() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let group = mina.group("Lunch", &[&jun]).await;
    let mut ears = jun.listen().await;
    remove(&mina, &group, &mina).await.is(204);
    let heir = json!({
        "type": "member", "channel_id": group, "user_id": jun.id, "joined": true, "role": "owner",
    });
    assert!(ears.hear_all().await.contains(&heir));
    assert!(has(&roles(&jun, &group).await, &jun, "owner"));
    remove(&jun, &group, &jun).await.is(204);
    jun.get(&format!("/v1/channels/{group}")).await.problem(403, "not_a_member");
    assert_eq!(jun.get("/v1/channels").await.json(200)["channels"], json!([]));
    node.stop().await;
}

#[tokio::test]
async fn members_of_direct_channels_cannot_change() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let eve = node.sign_up("eve").await;
    let direct = mina.direct(&jun).await;
    give(&mina, &direct, &eve, None).await.problem(403, "forbidden");
    remove(&mina, &direct, &jun).await.problem(403, "forbidden");
    remove(&mina, &direct, &mina).await.problem(403, "forbidden");
    assert_eq!(roles(&jun, &direct).await.len(), 2);
    node.stop().await;
}

#[tokio::test]
async fn a_full_group_accepts_no_member() {
    let node = Node::start_with(|config| config.limits.group_members = 2).await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let eve = node.sign_up("eve").await;
    let group = mina.group("Lunch", &[&jun]).await;
    give(&mina, &group, &eve, None).await.invalid("members");
    node.stop().await;
}

#[tokio::test]
async fn members_are_listed_in_pages_to_members() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let group = mina.group("Lunch", &[&jun]).await;
    let path = format!("/v1/channels/{group}/members");
    let mut ids = [mina.id.clone(), jun.id.clone()];
    ids.sort_by_key(|id| id.parse::<u64>().unwrap());
    let page = mina.get(&format!("{path}?limit=1")).await.json(200);
    assert_eq!(pluck(&page["members"], "user_id"), ids[..1]);
    assert_eq!(page["has_more"], true);
    let rest = mina.get(&format!("{path}?limit=1&after={}", ids[0])).await.json(200);
    assert_eq!(pluck(&rest["members"], "user_id"), ids[1..]);
    assert_eq!(rest["has_more"], false);
    let eve = node.sign_up("eve").await;
    eve.get(&path).await.problem(403, "not_a_member");
    node.get(&path).await.problem(401, "unauthenticated");
    node.stop().await;
}

#[tokio::test]
async fn strangers_put_a_user_into_a_limited_number_of_groups() {
    let node = Node::start_with(|config| config.limits.groups_by_strangers = 2).await;
    let (victim, friend) = (node.sign_up("victim").await, node.sign_up("friend").await);
    let (one, two) = (node.sign_up("one").await, node.sign_up("two").await);
    one.group("First", &[&victim]).await;
    let second = two.group("Second", &[&friend]).await;
    give(&two, &second, &victim, None).await.is(201);
    let third = one.group("Third", &[]).await;
    give(&one, &third, &victim, None).await.problem(403, "forbidden");
    let body = json!({"name": "Fourth", "members": [victim.id, friend.id]});
    two.post("/v1/channels", body).await.problem(403, "forbidden");
    let held = victim.get("/v1/channels").await.json(200);
    assert_eq!(held["channels"].as_array().unwrap().len(), 2);
    for (from, to) in [(&friend, &victim), (&victim, &friend)] {
        from.put(&format!("/v1/me/friends/{}", to.id)).await.is(200);
    }
    friend.group("Friends", &[&victim]).await;
    victim.group("Own", &[]).await;
    two.direct(&victim).await;
    remove(&victim, &second, &victim).await.is(204);
    give(&one, &third, &victim, None).await.is(201);
    node.stop().await;
}

#[tokio::test]
async fn added_members_and_new_groups_are_limited_by_rate() {
    let node = Node::start_with(|config| {
        config.limits.rate_limits = true;
        config.limits.groups_per_user_per_hour = 3;
        config.limits.additions_per_user_per_hour = 4;
    })
    .await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let (eve, ann) = (node.sign_up("eve").await, node.sign_up("ann").await);
    let group = mina.group("Lunch", &[&jun, &eve]).await;
    give(&mina, &group, &ann, None).await.is(201);
    let body = json!({"name": "Tea", "members": [jun.id, eve.id]});
    let refused = mina.post("/v1/channels", body.clone()).await;
    refused.problem(429, "rate_limited");
    mina.group("Tea", &[&jun]).await;
    give(&mina, &group, &jun, None).await.problem(429, "rate_limited");
    mina.post("/v1/channels", json!({"name": "None"})).await.problem(429, "rate_limited");
    jun.post("/v1/channels", body).await.is(201);
    node.stop().await;
}
