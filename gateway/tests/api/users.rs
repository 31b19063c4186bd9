//! `/v1/users`.

use serde_json::json;

use crate::support::{Node, PASSWORD, pluck};

#[tokio::test]
async fn signing_up_logs_in() {
    let node = Node::start().await;
    let body = json!({"username": "Mina.Kim", "password": PASSWORD, "display_name": " 미나 "});
    let response = node.post("/v1/users", body).await.json(201);
    let user = &response["user"];
    assert_eq!(user["username"], "mina.kim");
    assert_eq!(user["display_name"], "미나");
    assert_eq!((&user["status_text"], &user["avatar_url"]), (&json!(""), &json!("")));
    assert!(user["user_id"].as_str().unwrap().parse::<u64>().is_ok());
    assert!(response["device_id"].as_str().unwrap().parse::<u64>().is_ok());
    assert_eq!(response["expires_at"].as_str().unwrap().len(), "2026-12-22T00:00:00.000Z".len());
    let token = response["token"].as_str().unwrap();
    assert!((22..=27).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_alphanumeric()));
    let me = node.http.get(format!("{}/v1/me", node.url)).bearer_auth(token);
    assert_eq!(crate::support::reply(me).await.json(200)["user"], *user);
    let without_name = json!({"username": "Jun", "password": PASSWORD});
    let response = node.post("/v1/users", without_name).await.json(201);
    assert_eq!(response["user"]["display_name"], "Jun");
    node.stop().await;
}

#[tokio::test]
async fn a_username_is_unique_in_its_normalised_form() {
    let node = Node::start().await;
    node.sign_up("미나").await;
    for same in ["미나", "\u{1106}\u{1175}\u{1102}\u{1161}"] {
        let body = json!({"username": same, "password": PASSWORD});
        node.post("/v1/users", body).await.problem(409, "username_taken");
    }
    let body = json!({"username": "MINA2", "password": PASSWORD});
    node.post("/v1/users", body.clone()).await.is(201);
    node.post("/v1/users", body).await.problem(409, "username_taken");
    node.stop().await;
}

#[tokio::test]
async fn an_invalid_sign_up_names_the_field() {
    let node = Node::start().await;
    let wrong = [
        (json!({"password": PASSWORD}), "username"),
        (json!({"username": "mina"}), "password"),
        (json!({"username": "m", "password": PASSWORD}), "username"),
        (json!({"username": "has space", "password": PASSWORD}), "username"),
        (json!({"username": 7, "password": PASSWORD}), "username"),
        (json!({"username": "mina", "password": "short"}), "password"),
        (json!({"username": "mina", "password": "x".repeat(257)}), "password"),
        (json!({"username": "mina", "password": PASSWORD, "display_name": ""}), "display_name"),
    ];
    for (body, field) in wrong {
        node.post("/v1/users", body).await.invalid(field);
    }
    node.stop().await;
}

#[tokio::test]
async fn profiles_need_a_token() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let path = format!("/v1/users/{}", jun.id);
    let response = mina.get(&path).await.json(200);
    assert_eq!(response["user"]["username"], "jun");
    assert!(response["user"].get("password_hash").is_none());
    mina.get("/v1/users/1").await.problem(404, "not_found");
    mina.get("/v1/users/unknown").await.problem(404, "not_found");
    node.get(&path).await.problem(401, "unauthenticated");
    node.stop().await;
}

#[tokio::test]
async fn users_are_found_by_name_or_prefix() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    for name in ["minari", "minho", "jun"] {
        node.sign_up(name).await;
    }
    let found = mina.get("/v1/users?username=MINA").await.json(200);
    assert_eq!(pluck(&found["users"], "username"), ["mina", "minari"]);
    assert_eq!(found["has_more"], false);
    let found = mina.get("/v1/users?username=min&limit=2").await.json(200);
    assert_eq!(pluck(&found["users"], "username"), ["mina", "minari"]);
    assert_eq!(found["has_more"], true);
    let none = mina.get("/v1/users?username=zz").await.json(200);
    assert_eq!(none["users"], json!([]));
    mina.get("/v1/users").await.invalid("username");
    mina.get("/v1/users?username=m&limit=0").await.invalid("limit");
    mina.get("/v1/users?username=m&limit=201").await.invalid("limit");
    mina.get("/v1/users?username=m&limit=many").await.invalid("limit");
    node.get("/v1/users?username=mina").await.problem(401, "unauthenticated");
    node.stop().await;
}

#[tokio::test]
async fn users_found_by_name_are_limited_by_rate() {
    let node = Node::start_with(|config| {
        config.limits.rate_limits = true;
        config.limits.users_found_per_user_per_minute = 5;
    })
    .await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    for name in ["mika", "miro", "miki"] {
        node.sign_up(name).await;
    }
    let found = mina.get("/v1/users?username=mi").await.json(200);
    assert_eq!(found["users"].as_array().unwrap().len(), 4);
    mina.get("/v1/users?username=mi").await.problem(429, "rate_limited");
    mina.get(&format!("/v1/users/{}", jun.id)).await.is(200);
    jun.get("/v1/users?username=mi&limit=2").await.is(200);
    node.stop().await;
}
