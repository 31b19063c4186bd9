//! Delivery of notifications to a webhook, and a node without a webhook.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use pabal_core::engine::{Engine, EngineConfig, Limits};
use pabal_core::memory::{
    MemoryDirectory, MemoryHistoryStore, MemoryInterest, MemoryMessageLog, MemoryNodeInbox,
    MemoryNodeRegistry, MemoryPresence,
};
use pabal_core::model::{Timestamp, User};
use pabal_core::ports::{Access, Clock, Ports};
use pabal_gateway::push::NoPush;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::support::Node;

/// An engine on in-memory ports, with one user who has `access`.
pub(crate) async fn engine(clock: Arc<dyn Clock>, access: Access) -> Engine {
    use pabal_core::ports::Directory as _;
    let directory = MemoryDirectory::default();
    let user = User {
        user_id: access.device.user_id,
        username: "mina".into(),
        display_name: "Mina".into(),
        status_text: String::new(),
        avatar_url: String::new(),
        created_at: Timestamp::default(),
    };
    directory.sign_up(user, String::new(), access).await.unwrap();
    let ports = Ports {
        log: Arc::new(MemoryMessageLog::new(Arc::clone(&clock), 16)),
        inbox: Arc::new(MemoryNodeInbox::new(16)),
        history: Arc::new(MemoryHistoryStore::new()),
        presence: Arc::new(MemoryPresence::new()),
        interest: Arc::new(MemoryInterest::new()),
        directory: Arc::new(directory),
        push: Arc::new(NoPush),
        registry: Arc::new(MemoryNodeRegistry::new()),
        clock,
    };
    let config =
        EngineConfig { node: "n1".parse().unwrap(), partitions: 1, limits: Limits::default() };
    Engine::start(config, ports).await.unwrap()
}

/// A webhook that responds with these statuses in turn, and then with 204.
struct WebhookServer {
    url: String,
    posts: mpsc::Receiver<(Option<String>, Value)>,
    server: tokio::task::JoinHandle<()>,
}

type Shared = (mpsc::Sender<(Option<String>, Value)>, Arc<std::sync::Mutex<Vec<u16>>>);

impl WebhookServer {
    async fn responding(statuses: &[u16]) -> Self {
        let (sender, posts) = mpsc::channel(16);
        let statuses = statuses.iter().rev().copied().collect();
        let shared: Shared = (sender, Arc::new(std::sync::Mutex::new(statuses)));
        let take = async |State((sender, statuses)): State<Shared>,
                          headers: http::HeaderMap,
                          body: axum::Json<Value>| {
            let token = headers.get("authorization");
            let token = token.map(|value| value.to_str().unwrap().to_owned());
            sender.send((token, body.0)).await.unwrap();
            let status = statuses.lock().unwrap().pop().unwrap_or(204);
            http::StatusCode::from_u16(status).unwrap()
        };
        let router = Router::new().route("/push", post(take)).with_state(shared);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/push", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { serve(listener, router).await });
        Self { url, posts, server }
    }

    async fn next(&mut self) -> Option<(Option<String>, Value)> {
        let wait = Duration::from_millis(1_500);
        tokio::time::timeout(wait, self.posts.recv()).await.ok().flatten()
    }
}

impl Drop for WebhookServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: tokio::net::TcpListener, router: Router) {
    use hyper_util::rt::TokioIo;
    use tower::ServiceExt;
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let router = router.clone();
        let service = hyper::service::service_fn(move |post| router.clone().oneshot(post));
        connections.spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn node(webhook: &WebhookServer) -> Node {
    let url = webhook.url.clone();
    Node::start_with(|config| {
        config.push.webhook_url = Some(url);
        config.push.webhook_token = Some("secret".into());
        config.push.first_retry_ms = 10;
        config.push.longest_retry_ms = 50;
    })
    .await
}

#[tokio::test]
async fn a_notification_is_posted_until_it_is_accepted() {
    let mut webhook = WebhookServer::responding(&[500, 429]).await;
    let node = node(&webhook).await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let direct = mina.direct(&jun).await;
    let message = mina.say(&direct, "are you there?").await;
    for attempt in 0..3 {
        let (token, body) = webhook.next().await.unwrap_or_else(|| panic!("try {attempt}"));
        assert_eq!(token.as_deref(), Some("Bearer secret"));
        assert_eq!(body["user_id"], jun.id);
        assert_eq!(body["message"], message);
        assert!(body["queued_at"].is_string());
    }
    assert!(webhook.next().await.is_none(), "the webhook accepted it");
    let _ears = jun.listen().await;
    mina.say(&direct, "there you are").await;
    assert!(webhook.next().await.is_none(), "the user is connected");
    node.stop().await;
}

#[tokio::test]
async fn a_rejected_notification_is_not_repeated() {
    let mut webhook = WebhookServer::responding(&[400]).await;
    let node = node(&webhook).await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let direct = mina.direct(&jun).await;
    mina.say(&direct, "first").await;
    assert!(webhook.next().await.is_some());
    assert!(webhook.next().await.is_none());
    mina.say(&direct, "second").await;
    assert_eq!(webhook.next().await.unwrap().1["message"]["content"], "second");
    node.stop().await;
}

#[tokio::test]
async fn an_unaccepted_notification_is_posted_after_a_restart() {
    let mut webhook = WebhookServer::responding(&[503; 1_000]).await;
    let first = node(&webhook).await;
    let (mina, jun) = (first.sign_up("mina").await, first.sign_up("jun").await);
    let direct = mina.direct(&jun).await;
    mina.say(&direct, "hold on").await;
    assert!(webhook.next().await.is_some());
    let folder = first.stop().await;
    let mut recovered = WebhookServer::responding(&[]).await;
    let url = recovered.url.clone();
    let second = Node::start_in(folder, |config| config.push.webhook_url = Some(url)).await;
    let (token, body) = recovered.next().await.expect("a repeated post");
    assert_eq!((token, &body["message"]["content"]), (None, &Value::from("hold on")));
    second.stop().await;
}

#[tokio::test]
async fn without_a_webhook_no_notification_is_queued() {
    let node = Node::start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let direct = mina.direct(&jun).await;
    mina.say(&direct, "not queued").await;
    let folder = node.stop().await;
    let mut webhook = WebhookServer::responding(&[]).await;
    let url = webhook.url.clone();
    let node = Node::start_in(folder, |config| config.push.webhook_url = Some(url)).await;
    assert!(webhook.next().await.is_none());
    node.stop().await;
}
