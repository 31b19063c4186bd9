//! `/healthz`, `/readyz`, `/metrics`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::certificate::Certificate;
use crate::line::Line;
use crate::support::{Node, Person};
use crate::tls;

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

/// Repeats a send until its status is `status`.
async fn send_until(mina: &Person, path: &str, status: u16) {
    let tries = async {
        while mina.post(path, json!({"content": "again"})).await.status != status {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), tries).await.expect("the status changes");
}

#[tokio::test]
async fn a_node_whose_files_are_gone_refuses_changes_and_goes_on_reading() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let group = mina.group("Notes", &[]).await;
    let path = format!("/v1/channels/{group}/messages");
    mina.post(&path, json!({"content": "first"})).await.is(201);
    let aside = node.data().with_extension("aside");
    for part in ["", "history/fjall", "directory.sqlite"] {
        let part = if part.is_empty() { node.data() } else { node.data().join(part) };
        std::fs::rename(&part, &aside).unwrap();
        send_until(&mina, &path, 503).await;
        node.get("/readyz").await.problem(503, "unavailable");
        mina.post("/v1/channels", json!({"name": "More"})).await.problem(503, "unavailable");
        mina.get(&path).await.is(200);
        mina.get("/v1/me").await.is(200);
        std::fs::rename(&aside, &part).unwrap();
        send_until(&mina, &path, 201).await;
        node.get("/readyz").await.is(200);
    }
    node.stop().await;
}

#[tokio::test]
async fn metrics_have_values_units_and_help() {
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
    let has = |line: &str| assert!(lines.contains(&line), "{line} is missing in\n{}", page.text);
    has("pabal_sessions 1");
    has("pabal_clock_ahead_seconds 0");
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

/// The names of all series on a metrics page, from its `# TYPE` lines, which also name series without a
/// value.
fn series(page: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let ends: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[""],
        };
        names.extend(ends.iter().map(|end| format!("{name}{end}")));
    }
    names
}

/// All strings under the key `name`, at any depth.
fn texts<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| texts(value, name, found)),
        Value::Object(object) => {
            for (key, value) in object {
                if key == name
                    && let Some(text) = value.as_str()
                {
                    found.push(text);
                }
                texts(value, name, found);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_dashboard_queries_exactly_the_metrics_of_a_node() {
    // A node with TLS has one more metric.
    let (certificate, trust) = Certificate::new();
    let node = tls::start_with(&certificate, |_| {}).await;
    tls::sign_up(&node, &mut Line::open_tls(&node, &trust).await, "mina").await;
    let page = tls::metrics(&node, &trust).await;
    node.stop().await;
    let series = series(&page);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/grafana/pabal.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut queries = Vec::new();
    texts(&dashboard, "expr", &mut queries);
    texts(&dashboard, "query", &mut queries);
    let mut queried = BTreeSet::new();
    for query in &queries {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let of_ours = |word: &&str| word.starts_with("pabal_") || word.starts_with("process_");
        queried.extend(words.filter(of_ours).map(str::to_owned));
    }
    assert!(queries.len() > 20, "{} queries", queries.len());
    let missing: Vec<_> = queried.difference(&series).collect();
    assert_eq!(missing, [] as [&String; 0], "the node has no such metric: {series:#?}");
    // The dashboard needs no sums and counts of histograms, and no deprecated names.
    let shown = |name: &&String| {
        !name.ends_with("_sum") && !name.ends_with("_count") && *name != DEPRECATED_FORWARDED
    };
    let unseen: Vec<_> = series.difference(&queried).filter(shown).collect();
    assert_eq!(unseen, [] as [&String; 0], "the dashboard does not show it");
}

/// The former name of `pabal_requests_forwarded_total`, reported for one more release.
const DEPRECATED_FORWARDED: &str = "pabal_requests_passed_on_total";

#[tokio::test]
async fn a_renamed_metric_is_reported_under_both_names() {
    let node = Node::start().await;
    let page = node.get("/metrics").await;
    for name in ["pabal_requests_forwarded_total", DEPRECATED_FORWARDED] {
        assert!(page.text.lines().any(|line| line == format!("{name} 0")), "{name}: {}", page.text);
    }
    node.stop().await;
}
