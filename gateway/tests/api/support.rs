//! A node in this process, its users, and their events. The only expectation here is the form of problem
//! responses.

use std::sync::Arc;
use std::time::Duration;

use pabal_gateway::app::App;
use pabal_gateway::config::{Config, ServeFlags};
use pabal_gateway::server::{Listeners, Server};
use pabal_gateway::tls::Tls;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const GRACE: Duration = Duration::from_secs(5);
pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) struct Node {
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    pub(crate) tls: Option<Arc<Tls>>,
    app: App,
    server: Server,
    folder: tempfile::TempDir,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, change).await
    }

    pub(crate) async fn start_on(folder: tempfile::TempDir) -> Self {
        Self::start_in(folder, |_| {}).await
    }

    /// The address of the listener for clients.
    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) async fn start_in(
        folder: tempfile::TempDir,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let flags = ServeFlags {
            listen: Some("127.0.0.1:0".parse().unwrap()),
            data: Some(folder.path().join("data")),
            no_rate_limits: true,
            ..ServeFlags::default()
        };
        let mut config = Config::load(&flags, []).unwrap();
        // Fewer tasks and files, because tests run in parallel.
        config.storage.partitions = 4;
        change(&mut config);
        let listeners = Listeners::bind(&config.server).unwrap();
        let (address, tls) = (listeners.address().unwrap(), listeners.tls());
        let app = App::build(&config, address, tls.clone()).await.unwrap();
        let server = Server::start(listeners, app.services(), &config);
        let url = format!("http://{address}");
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url, http, tls, app, server, folder }
    }

    /// Stops the node, and starts another one on the same folder.
    pub(crate) async fn restart(self) -> Self {
        Self::start_on(self.stop().await).await
    }

    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.server.close();
        self.app.drain(GRACE).await;
        self.server.finish(GRACE).await;
        self.app.shutdown(GRACE).await;
        self.folder
    }

    /// Drains the node, which continues to respond.
    pub(crate) async fn drain(&self) {
        self.app.drain(GRACE).await;
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        send(&self.http, method, format!("{}{path}", self.url), None, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn sign_up(&self, username: &str) -> Person {
        let body = json!({"username": username, "password": PASSWORD});
        let response = self.post("/v1/users", body).await.json(201);
        self.person(&response)
    }

    pub(crate) async fn log_in(&self, username: &str) -> Person {
        let body = json!({"username": username, "password": PASSWORD});
        let response = self.post("/v1/login", body).await.json(200);
        self.person(&response)
    }

    /// The user of a response to a sign-up or log-in.
    pub(crate) fn person(&self, response: &Value) -> Person {
        Person {
            id: text(&response["user"]["user_id"]),
            token: text(&response["token"]),
            device_id: text(&response["device_id"]),
            url: self.url.clone(),
            http: self.http.clone(),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) device_id: String,
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
}

impl Person {
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let url = format!("{}{path}", self.url);
        send(&self.http, method, url, Some(&self.token), body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str) -> Reply {
        self.call(Method::PUT, path, None).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Reply {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.call(Method::DELETE, path, None).await
    }

    pub(crate) async fn direct(&self, other: &Person) -> String {
        let response = self.put(&format!("/v1/direct/{}", other.id)).await;
        assert!(response.status.is_success(), "{response:?}");
        text(&response.body["channel"]["channel_id"])
    }

    pub(crate) async fn group(&self, name: &str, members: &[&Person]) -> String {
        let members: Vec<_> = members.iter().map(|member| &member.id).collect();
        let body = json!({"name": name, "members": members});
        let response = self.post("/v1/channels", body).await.json(201);
        text(&response["channel"]["channel_id"])
    }

    pub(crate) async fn say(&self, channel_id: &str, content: &str) -> Value {
        let body = json!({"content": content});
        let path = format!("/v1/channels/{channel_id}/messages");
        self.post(&path, body).await.json(201)["message"].clone()
    }

    /// Opens a session without catch-up.
    pub(crate) async fn listen(&self) -> Ears {
        let response = self.post("/v1/sessions", json!({})).await.json(201);
        Ears {
            person: self.clone(),
            id: text(&response["session_id"]),
            next: text(&response["next"]),
        }
    }
}

/// A session, read by long polling.
pub(crate) struct Ears {
    person: Person,
    pub(crate) id: String,
    next: String,
}

impl Ears {
    /// The next events, or none if no event arrives within 400 ms.
    pub(crate) async fn hear(&mut self) -> Vec<Value> {
        let Self { id, next, .. } = self;
        let path = format!("/v1/sessions/{id}/long-poll?after={next}&wait_ms=400");
        let batch = self.person.get(&path).await.json(200);
        self.next = text(&batch["next"]);
        batch["events"].as_array().unwrap().clone()
    }

    /// All events until no event arrives within 400 ms.
    pub(crate) async fn hear_all(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let mut events = self.hear().await;
            if events.is_empty() {
                return all;
            }
            all.append(&mut events);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
    }

    /// The body of a JSON response with this status.
    #[track_caller]
    pub(crate) fn json(self, status: u16) -> Value {
        self.is(status);
        assert_eq!(self.header("content-type"), "application/json");
        self.body
    }

    /// Asserts a problem with this status and code, in the form of all problems.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> &Value {
        self.is(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = &self.body;
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("urn:pabal:problem:{code}"));
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        if status == 401 {
            assert_eq!(self.header("www-authenticate"), "Bearer");
        }
        let wait = problem["retry_after_ms"].as_u64();
        assert_eq!(wait.is_some(), status == 429 || status == 503, "{problem}");
        let seconds = wait.map(|wait| wait.div_ceil(1_000).max(1).to_string());
        assert_eq!(self.header("retry-after"), seconds.unwrap_or_default());
        problem
    }

    /// Asserts a 422 that names `field`.
    #[track_caller]
    pub(crate) fn invalid(&self, field: &str) {
        let problem = self.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
        assert!(problem["errors"][0]["detail"].is_string());
    }
}

pub(crate) async fn send(
    http: &reqwest::Client,
    method: Method,
    url: String,
    token: Option<&str>,
    body: Option<Value>,
) -> Reply {
    let mut request = http.request(method, url).timeout(Duration::from_secs(20));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    reply(request).await
}

pub(crate) async fn reply(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Reply { status, headers, text, body }
}

#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}")).to_owned()
}

/// The values of one field of a list of objects.
#[track_caller]
pub(crate) fn pluck<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    let list = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    list.iter().map(|entry| entry[field].as_str().unwrap()).collect()
}
