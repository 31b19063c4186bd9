//! `/healthz`, `/readyz`, `/metrics`.

use serde_json::json;

use crate::support::Node;

#[tokio::test]
async fn a_node_is_alive_and_ready_until_it_drains() {
    let node = Node::start().await;
    assert_eq!(node.get("/healthz").await.json(200), json!({"status": "ok"}));
    assert_eq!(node.get("/readyz").await.json(200), json!({"status": "ok"}));
    let mina = node.sign_up("mina").await;
    let group = mina.group("Notes", &[]).await;
    node.drain().await;
    node.get("/healthz").await.is(200);
    node.get("/readyz").await.problem(503, "draining");
    mina.post("/v1/sessions", json!({})).await.problem(503, "draining");
    let path = format!("/v1/channels/{group}/messages");
    mina.post(&path, json!({"content": "late"})).await.problem(503, "draining");
    mina.get(&path).await.is(200);
    node.stop().await;
}

#[tokio::test]
async fn metrics_say_what_happened_with_units_and_help() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let group = mina.group("Notes", &[]).await;
    let mut ears = mina.listen().await;
    mina.say(&group, "counted").await;
    assert_eq!(ears.hear().await.len(), 1);
    mina.get("/v1/users/1").await.is(404);
    let page = node.get("/metrics").await;
    assert!(page.header("content-type").starts_with("application/openmetrics-text"));
    let lines: Vec<&str> = page.text.lines().collect();
    let has = |line: &str| assert!(lines.contains(&line), "{line} is not in\n{}", page.text);
    has("pabal_sessions 1");
    has("pabal_messages_stored_total 1");
    has("pabal_sessions_opened_total 1");
    has(r#"pabal_transport_requests_total{transport="long_polling"} 1"#);
    has(r#"pabal_transport_events_delivered_total{transport="long_polling"} 1"#);
    has(r#"pabal_transport_attached{transport="websocket"} 0"#);
    has(r#"pabal_delivery_latency_seconds_count{transport="long_polling"} 1"#);
    has(r#"pabal_delivery_latency_seconds_bucket{le="+Inf",transport="long_polling"} 1"#);
    has("# TYPE pabal_delivery_latency_seconds histogram");
    has("# TYPE process_resident_memory_bytes gauge");
    has("# TYPE process_cpu_seconds counter");
    has(concat!(r#"pabal_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#));
    let api = |line: &&&str| line.starts_with("pabal_api_requests_total{");
    let of = |path: &str, status: &str| {
        let found = lines.iter().filter(api).find(|line| {
            line.contains(&format!(r#"path="{path}""#)) && line.contains(&format!("\"{status}\""))
        });
        assert!(found.is_some(), "{path} {status}");
    };
    of("/v1/users", "201");
    of("/v1/users/{user_id}", "404");
    of("/v1/channels/{channel_id}/messages", "201");
    assert!(page.text.trim_end().ends_with("# EOF"));
    for line in lines.iter().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(page.text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    node.stop().await;
}

#[tokio::test]
async fn the_administration_listener_serves_only_health_and_metrics() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let node = Node::start_with(|config| config.server.admin_listen = Some(port)).await;
    let get = async |path: &str| {
        crate::support::reply(node.http.get(format!("http://{port}{path}"))).await
    };
    for path in ["/healthz", "/readyz", "/metrics"] {
        get(path).await.is(200);
    }
    get("/v1/discover").await.problem(404, "not_found");
    get("/v1/sessions").await.problem(404, "not_found");
    node.stop().await;
}
