//! `/v1/me`.

use serde_json::json;

use crate::support::Node;

#[tokio::test]
async fn a_profile_is_changed_in_part() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let url = "https://example.org/mina.png";
    let change = json!({"status_text": "at lunch", "avatar_url": url, "unknown": [1]});
    let user = mina.patch("/v1/me", change).await.json(200)["user"].clone();
    assert_eq!(user["status_text"], "at lunch");
    assert_eq!(user["avatar_url"], url);
    assert_eq!(user["display_name"], "mina");
    let change = json!({"display_name": "Mina", "status_text": null});
    let user = mina.patch("/v1/me", change).await.json(200)["user"].clone();
    assert_eq!((&user["display_name"], &user["status_text"]), (&json!("Mina"), &json!("")));
    assert_eq!(user["avatar_url"], url);
    assert_eq!(mina.get("/v1/me").await.json(200)["user"], user);
    assert_eq!(mina.get(&format!("/v1/users/{}", mina.id)).await.json(200)["user"], user);
    node.stop().await;
}

#[tokio::test]
async fn an_invalid_profile_names_the_field() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let wrong = [
        ("display_name", json!("x".repeat(65))),
        ("display_name", json!("two\nlines")),
        ("display_name", json!(7)),
        ("status_text", json!("x".repeat(141))),
        ("avatar_url", json!("javascript:alert(1)")),
        ("avatar_url", json!("example.org/a.png")),
        ("avatar_url", json!(format!("https://example.org/{}", "x".repeat(2_048)))),
    ];
    for (field, value) in wrong {
        mina.patch("/v1/me", json!({ field: value })).await.invalid(field);
    }
    node.get("/v1/me").await.problem(401, "unauthenticated");
    node.stop().await;
}

#[tokio::test]
async fn settings_have_defaults_and_are_changed_in_part() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let path = "/v1/me/settings";
    let defaults = json!({
        "locale": "en", "notifications": "all", "share_presence": true, "share_read": true,
    });
    assert_eq!(mina.get(path).await.json(200)["settings"], defaults);
    let change = json!({"locale": "ko-KR", "notifications": "mentions"});
    let changed = json!({
        "locale": "ko-KR", "notifications": "mentions", "share_presence": true, "share_read": true,
    });
    assert_eq!(mina.patch(path, change).await.json(200)["settings"], changed);
    assert_eq!(mina.get(path).await.json(200)["settings"], changed);
    mina.patch(path, json!({"share_read": false, "notifications": "none"})).await.is(200);
    mina.patch(path, json!({"notifications": "sometimes"})).await.invalid("notifications");
    mina.patch(path, json!({"locale": "Korean, please"})).await.invalid("locale");
    mina.patch(path, json!({"share_read": "no"})).await.invalid("share_read");
    node.get(path).await.problem(401, "unauthenticated");
    node.stop().await;
}
