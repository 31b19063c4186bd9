//! Headers for browsers: which pages may use the node, and what a browser must not do with a response. And
//! the ids of requests, which travel in a header, too.

use serde_json::json;

use crate::line::{Line, get, poll, post, upgrade};
use crate::support::{Node, PASSWORD};

const PAGE: &str = "origin: https://chat.example.org\r\n";
const OTHER: &str = "origin: https://evil.example.org\r\n";
/// As the requests of these tests have it in `host`.
const OWN: &str = "origin: http://PABAL\r\n";

async fn start() -> Node {
    Node::start_with(|config| {
        let listed = "https://chat.example.org".to_owned();
        config.server.allowed_origins = vec![listed.try_into().unwrap()];
    })
    .await
}

fn preflight(path: &str, origin: &str) -> String {
    format!(
        "OPTIONS {path} HTTP/1.1\r\nhost: pabal\r\n{origin}access-control-request-method: POST\r\n\
         access-control-request-headers: authorization, content-type\r\n\r\n"
    )
}

#[tokio::test]
async fn pages_of_listed_origins_may_read_every_kind_of_response() {
    let node = start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let session = format!("/v1/sessions/{}", ears.id);
    let mut line = Line::open(&node).await;
    for (path, status) in [
        ("/v1/me".to_owned(), 200),
        ("/v1/nothing".to_owned(), 404),
        ("/openapi.json".to_owned(), 200),
        (format!("{session}/poll"), 200),
        (format!("{session}/poll?after=7"), 422),
        (format!("{session}/long-poll?wait_ms=1"), 200),
        ("/v1/sessions/0000000000000000.n1/poll".to_owned(), 410),
    ] {
        let path = path.as_str();
        let listed = line.ask(get(&ann, path, PAGE)).await;
        assert_eq!(listed.status, status, "{listed:?}");
        let allowed = listed.header("access-control-allow-origin");
        assert_eq!(allowed, "https://chat.example.org", "{path}");
        assert_eq!(listed.header("vary"), "origin", "{path}");
        // Pages of other origins get the same response, and their browser withholds it.
        for origin in [OTHER, OWN, "origin: null\r\n", ""] {
            let answer = line.ask(get(&ann, path, origin)).await;
            assert_eq!(answer.status, status, "{path} from {origin}");
            assert!(!answer.head.contains("access-control"), "{path} from {origin}");
        }
    }
    let exposed = line.ask(get(&ann, "/v1/me", PAGE)).await;
    assert_eq!(exposed.header("access-control-expose-headers"), "retry-after, x-request-id");
    // The head of a stream comes first, and has no length.
    let stream = node.http.get(format!("{}{session}/events", node.url)).bearer_auth(&ann.token);
    let stream = stream.header("origin", "https://chat.example.org").send().await.unwrap();
    let allowed = &stream.headers()["access-control-allow-origin"];
    assert_eq!(allowed, "https://chat.example.org");
    drop(stream);
    node.stop().await;
}

#[tokio::test]
async fn a_preflight_succeeds_for_listed_origins_only() {
    let node = start().await;
    let mut line = Line::open(&node).await;
    for path in ["/v1/login", "/v1/sessions", "/v1/sessions/x/poll", "/v1/sessions/x/commands"] {
        let answer = line.ask(preflight(path, PAGE)).await;
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "https://chat.example.org");
        let methods = answer.header("access-control-allow-methods");
        assert!(["get", "post", "put", "patch", "delete"].iter().all(|it| methods.contains(it)));
        let headers = answer.header("access-control-allow-headers");
        assert!(headers.contains("authorization") && headers.contains("content-type"));
        assert_eq!(answer.header("access-control-max-age"), "7200");
        let refused = line.ask(preflight(path, OTHER)).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (403, Some("forbidden")));
        assert!(!refused.head.contains("access-control"), "{}", refused.head);
    }
    node.stop().await;

    let node = Node::start_with(|config| {
        config.server.allowed_origins = vec!["*".to_owned().try_into().unwrap()];
    })
    .await;
    let mut line = Line::open(&node).await;
    let answer = line.ask(preflight("/v1/login", OTHER)).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, "*"));
    node.stop().await;
}

#[tokio::test]
async fn a_websocket_is_open_to_listed_pages_own_pages_and_clients_that_are_not_pages() {
    let public = |config: &mut pabal_gateway::config::Config| {
        let listed = "https://chat.example.org".to_owned();
        config.server.allowed_origins = vec![listed.try_into().unwrap()];
        config.server.public_url = Some("https://public.example.org".parse().unwrap());
    };
    let node = Node::start_with(public).await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    for path in ["/v1/websocket".to_owned(), format!("/v1/sessions/{}/websocket", ears.id)] {
        for (origin, status) in [
            (PAGE, 101),
            (OWN, 101),
            ("origin: https://public.example.org\r\n", 101),
            ("", 101),
            (OTHER, 403),
            ("origin: null\r\n", 403),
            ("origin: http://pabal:81\r\n", 403),
            ("origin: http://pabal.evil.example.org\r\n", 403),
        ] {
            let mut line = Line::open(&node).await;
            let request = upgrade(&ann, &path).replacen("\r\n", &format!("\r\n{origin}"), 1);
            let answer = line.ask(request).await;
            assert_eq!(answer.status, status, "{path} from {origin}");
            if status == 403 {
                assert_eq!(answer.body["code"], "forbidden");
            }
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn every_response_but_that_of_a_poll_has_an_id() {
    let node = start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let mut line = Line::open(&node).await;
    let given = "x-request-id: trace-7\r\n";
    for path in ["/v1/me", "/v1/nothing", "/healthz"] {
        assert_eq!(line.ask(get(&ann, path, given)).await.header("x-request-id"), "trace-7");
        let (first, second) =
            (line.ask(get(&ann, path, "")).await, line.ask(get(&ann, path, "")).await);
        assert_eq!(first.header("x-request-id").len(), 16, "{first:?}");
        assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
        let unfit = line.ask(get(&ann, path, "x-request-id: a b\"c\r\n")).await;
        assert_eq!(unfit.header("x-request-id").len(), 16, "{unfit:?}");
    }
    for query in ["poll", "long-poll?wait_ms=1"] {
        let path = format!("/v1/sessions/{}/{query}", ears.id);
        assert_eq!(line.ask(get(&ann, &path, given)).await.header("x-request-id"), "trace-7");
        // Twice: once served by the poll server, and once by hyper.
        let closing = format!("{given}connection: close\r\n");
        let mut old = Line::open(&node).await;
        assert_eq!(old.ask(get(&ann, &path, &closing)).await.header("x-request-id"), "trace-7");
    }
    let path = format!("/v1/sessions/{}/commands", ears.id);
    let answer = line.ask(post(&ann, &path, &json!({"commands": []}))).await;
    assert_eq!(answer.header("x-request-id").len(), 16);
    node.stop().await;
}

#[tokio::test]
async fn responses_restrict_what_browsers_do_with_them() {
    let node = start().await;
    let ann = node.sign_up("ann").await;
    for path in ["/v1/me", "/v1/nothing", "/v1/sessions/x/shoes"] {
        let answer = ann.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    let body = json!({"username": "ann", "password": PASSWORD});
    let log_in = node.post("/v1/login", body).await;
    assert_eq!(log_in.header("cache-control"), "no-store");
    for path in ["/", "/docs/"] {
        let page = node.get(path).await;
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(page.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(page.header("cross-origin-opener-policy"), "same-origin", "{path}");
        assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
    }
    node.stop().await;
}

#[tokio::test]
async fn the_response_to_a_poll_is_small() {
    let node = start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let mut line = Line::open(&node).await;
    let answer = line.ask(poll(&ears, &ann, "poll")).await;
    let names: Vec<_> = answer.head.lines().skip(1).filter_map(|it| it.split(':').next()).collect();
    assert_eq!(names, ["content-type", "content-length", "date"]);
    assert_eq!((answer.body, answer.bytes), (json!({"events": [], "next": "0"}), 132));
    node.stop().await;
}
