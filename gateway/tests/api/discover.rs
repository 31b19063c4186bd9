//! `/v1/discover`.

use serde_json::{Value, json};

use crate::support::Node;

#[tokio::test]
async fn a_single_node_returns_the_url_that_the_client_used() {
    let node = Node::start_with(|config| {
        config.node.region = "seoul".into();
        config.node.latitude = Some(37.5665);
        config.node.longitude = Some(126.978);
        config.node.capacity = 500;
    })
    .await;
    let mina = node.sign_up("mina").await;
    let _ears = mina.listen().await;
    let response = node.get("/v1/discover?lat=35.1796&lon=129.0756").await.json(200);
    let found = &response["nodes"][0];
    assert_eq!(response["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(found["node"], "n1");
    assert_eq!(found["url"], node.url);
    let websocket = format!("{}/v1/websocket", node.url.replace("http:", "ws:"));
    assert_eq!(found["websocket_url"], websocket);
    assert_eq!((&found["region"], &found["capacity"]), (&json!("seoul"), &json!(500)));
    assert_eq!(found["load"], 1);
    let distance = found["distance_km"].as_f64().unwrap();
    assert!((320.0..330.0).contains(&distance), "{distance}");
    assert_eq!(node.get("/v1/discover").await.json(200)["nodes"][0]["distance_km"], Value::Null);
    let request = node.http.get(format!("{}/v1/discover", node.url)).header("host", "chat.local");
    let response = crate::support::reply(request).await.json(200);
    assert_eq!(response["nodes"][0]["url"], "http://chat.local");
    node.stop().await;
}

#[tokio::test]
async fn a_configured_url_overrides_the_host_that_the_client_used() {
    let node = Node::start_with(|config| {
        config.server.public_url = Some("https://chat.example.org".parse().unwrap());
    })
    .await;
    let found = node.get("/v1/discover").await.json(200)["nodes"][0].clone();
    assert_eq!(found["url"], "https://chat.example.org");
    assert_eq!(found["websocket_url"], "wss://chat.example.org/v1/websocket");
    let mina = node.sign_up("mina").await;
    let session = mina.post("/v1/sessions", json!({})).await.json(201);
    let url = session["transports"]["websocket"]["url"].as_str().unwrap();
    assert!(url.starts_with("wss://chat.example.org/v1/sessions/"), "{url}");
    node.stop().await;
}

#[tokio::test]
async fn advice_depends_on_rate_and_latency() {
    let node = Node::start().await;
    let advice = async |query: &str| {
        node.get(&format!("/v1/discover{query}")).await.json(200)["advice"].clone()
    };
    let transport = async |query: &str| advice(query).await["transport"].clone();
    assert_eq!(transport("").await, "websocket");
    assert_eq!(transport("?message_rate=0.01").await, "long_polling");
    let polling = advice("?message_rate=5&latency_ms=2000").await;
    assert_eq!(polling["transport"], "polling");
    assert_eq!(polling["poll_interval_ms"], 2_000);
    let why = polling["why"].as_str().unwrap();
    assert!(why.contains("websocket") && why.contains(|char: char| char.is_ascii_digit()), "{why}");
    for wrong in ["lat=91&lon=0", "lat=x&lon=0", "lat=nan&lon=0"] {
        node.get(&format!("/v1/discover?{wrong}")).await.invalid("lat");
    }
    node.get("/v1/discover?lat=1").await.invalid("lon");
    node.get("/v1/discover?message_rate=-1").await.invalid("message_rate");
    node.get("/v1/discover?latency_ms=inf").await.invalid("latency_ms");
    node.stop().await;
}

#[tokio::test]
async fn a_draining_node_is_not_listed() {
    let node = Node::start().await;
    node.drain().await;
    assert_eq!(node.get("/v1/discover").await.json(200)["nodes"], json!([]));
    node.stop().await;
}
