//! The OpenAPI document against the tables of the contract, and the pages for people.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::Node;

/// Every method and path in the tables of the contract.
const CONTRACT: &[(&str, &str)] = &[
    ("post", "/v1/users"),
    ("post", "/v1/login"),
    ("post", "/v1/logout"),
    ("get", "/v1/me"),
    ("patch", "/v1/me"),
    ("get", "/v1/me/settings"),
    ("patch", "/v1/me/settings"),
    ("put", "/v1/me/password"),
    ("get", "/v1/me/devices"),
    ("delete", "/v1/me/devices/{device_id}"),
    ("get", "/v1/users/{user_id}"),
    ("get", "/v1/users"),
    ("get", "/v1/me/friends"),
    ("put", "/v1/me/friends/{user_id}"),
    ("delete", "/v1/me/friends/{user_id}"),
    ("get", "/v1/me/blocks"),
    ("put", "/v1/me/blocks/{user_id}"),
    ("delete", "/v1/me/blocks/{user_id}"),
    ("put", "/v1/direct/{user_id}"),
    ("post", "/v1/channels"),
    ("get", "/v1/channels"),
    ("get", "/v1/channels/{channel_id}"),
    ("patch", "/v1/channels/{channel_id}"),
    ("delete", "/v1/channels/{channel_id}"),
    ("get", "/v1/channels/{channel_id}/members"),
    ("put", "/v1/channels/{channel_id}/members/{user_id}"),
    ("delete", "/v1/channels/{channel_id}/members/{user_id}"),
    ("post", "/v1/channels/{channel_id}/messages"),
    ("get", "/v1/channels/{channel_id}/messages"),
    ("post", "/v1/sync"),
    ("get", "/v1/discover"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("post", "/v1/sessions"),
    ("delete", "/v1/sessions/{session_id}"),
    ("get", "/v1/sessions/{session_id}/poll"),
    ("get", "/v1/sessions/{session_id}/long-poll"),
    ("get", "/v1/sessions/{session_id}/websocket"),
    ("get", "/v1/sessions/{session_id}/events"),
    ("post", "/v1/sessions/{session_id}/commands"),
    ("get", "/v1/websocket"),
];

fn pointers(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get("$ref") {
                found.insert(target.clone());
            }
            fields.values().for_each(|value| pointers(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| pointers(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_covers_the_contract_and_has_no_dangling_reference() {
    let node = Node::start().await;
    let document = node.get("/openapi.json").await.json(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            described.insert((method.clone(), path.clone()));
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty(), "{method} {path} has no summary");
            let problem = "/responses/default/content/application~1problem+json/schema/$ref";
            assert_eq!(
                operation.pointer(problem).and_then(Value::as_str),
                Some("#/components/schemas/Problem"),
                "{method} {path}"
            );
        }
    }
    let owned = |(method, path): &(&str, &str)| ((*method).to_owned(), (*path).to_owned());
    let expected: BTreeSet<_> = CONTRACT.iter().map(owned).collect();
    assert_eq!(described, expected);
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let mut targets = BTreeSet::new();
    pointers(&document, &mut targets);
    for target in targets {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target} does not exist");
    }
    node.stop().await;
}

#[tokio::test]
async fn operations_that_need_a_token_declare_and_require_it() {
    let node = Node::start().await;
    let document = node.get("/openapi.json").await.json(200);
    for (method, path) in CONTRACT {
        let operation = &document["paths"][path][method];
        let open = operation["security"] == serde_json::json!([{}]);
        assert_eq!(operation["responses"].get("401").is_some(), !open || *path == "/v1/login");
        let method = method.to_uppercase().parse().unwrap();
        let concrete = path.replace("{user_id}", "1").replace("{channel_id}", "1");
        let concrete = concrete.replace("{session_id}", "0000000000000000.n1");
        let reply = node.call(method, &concrete, None).await;
        if open {
            assert_ne!(reply.status, 401, "{path}");
        } else {
            reply.problem(401, "unauthenticated");
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn a_message_is_described_as_it_is_sent() {
    let node = Node::start().await;
    let document = node.get("/openapi.json").await.json(200);
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let direct = mina.direct(&jun).await;
    let body = serde_json::json!({"content": "x", "client_message_id": "m"});
    let path = format!("/v1/channels/{direct}/messages");
    let response = mina.post(&path, body).await.json(201);
    let channel = mina.get(&format!("/v1/channels/{direct}")).await.json(200);
    let user = mina.get("/v1/me").await.json(200);
    let settings = mina.get("/v1/me/settings").await.json(200);
    let seen = [
        ("Message", &response["message"]),
        ("Channel", &channel["channel"]),
        ("User", &user["user"]),
        ("Settings", &settings["settings"]),
    ];
    for (schema, value) in seen {
        let properties = &document["components"]["schemas"][schema]["properties"];
        // Only there when a count stopped.
        let rare = |name: &String| name == "unread_at_least";
        let names = |value: &Value| -> BTreeSet<String> {
            value.as_object().unwrap().keys().filter(|name| !rare(name)).cloned().collect()
        };
        assert_eq!(names(properties), names(value), "{schema}");
    }
    node.stop().await;
}

#[tokio::test]
async fn the_pages_load_nothing_from_other_hosts() {
    let node = Node::start().await;
    let landing = node.get("/").await;
    landing.is(200);
    assert!(landing.text.contains(&format!("{}/v1/users", node.url)));
    let docs = node.get("/docs/").await;
    docs.is(200);
    let script = node.get("/docs/swagger-initializer.js").await;
    script.is(200);
    assert!(script.text.contains("/openapi.json"), "{}", script.text);
    for page in [&landing, &docs] {
        assert!(page.header("content-security-policy").starts_with("default-src 'self'"));
        assert!(page.header("content-type").starts_with("text/html"));
        for source in ["src=\"http", "href=\"http", "url(http"] {
            assert!(!page.text.contains(source));
        }
    }
    for part in docs.text.split("src=\"").skip(1) {
        let name = part.split('"').next().unwrap().trim_start_matches("./");
        node.get(&format!("/docs/{name}")).await.is(200);
    }
    node.stop().await;
}
