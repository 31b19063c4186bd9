//! A node on real servers: the node itself stores nothing, and an error of a server is one line
//! that names the setting.

use std::path::Path;

use pabal_servers::{Cassandra, Postgres, Redis, started};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::{SOON, captured, end, pabal, ready, signal};

const LISTEN: [&str; 3] = ["--listen", "127.0.0.1:0", "--no-rate-limits"];

/// Sends a request, and returns the body of the response.
async fn call(url: &str, token: Option<&str>, body: Option<Value>) -> Value {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = match body {
        Some(body) => {
            http.post(url).header("content-type", "application/json").body(body.to_string())
        }
        None => http.get(url),
    };
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = timeout(SOON, request.send()).await.unwrap().unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert!(status.is_success(), "{url}: {status} {text}");
    serde_json::from_str(&text).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Runs a command of the program until it ends.
async fn command(arguments: &[&str], directory: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pabal"));
    command.args(arguments).env("PABAL_STORAGE_DIRECTORY", directory);
    captured(&mut command);
    end(command.spawn().unwrap()).await
}

#[tokio::test]
async fn a_node_on_servers_stores_nothing_itself() {
    let redis = started!(Redis::start());
    let postgres = started!(Postgres::start());
    let cassandra = started!(Cassandra::start());
    let (queue, directory) = (redis.url(), postgres.database().await);
    let history = cassandra.keyspace();
    let stores = ["--queue", &queue, "--history", &history, "--directory", &directory];
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("none");
    let arguments = [&LISTEN[..], &stores].concat();

    let (code, _, err) = end(pabal(&data, &arguments).spawn().unwrap()).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("storage.") && err.contains("pabal migrate"), "{err}");
    let (code, out, err) = command(&["migrate", "--history", &history], &directory).await;
    assert_eq!(code, Some(0), "{out}{err}");

    let (mut token, mut messages, mut sent) = (String::new(), String::new(), Vec::new());
    // All data is there after each restart.
    for round in 0..2 {
        let (child, url) = ready(&mut pabal(&data, &arguments)).await;
        if round == 0 {
            let user = json!({"username": "mina", "password": "correct horse"});
            token = text(&call(&format!("{url}/v1/users"), None, Some(user)).await["token"]);
            let group = json!({"name": "stations", "members": []});
            let made = call(&format!("{url}/v1/channels"), Some(&token), Some(group)).await;
            messages = format!("/v1/channels/{}/messages", text(&made["channel"]["channel_id"]));
        }
        for number in 0..3 {
            let content = format!("{round}.{number}");
            let body = json!({"content": content});
            let reply = call(&format!("{url}{messages}"), Some(&token), Some(body)).await;
            sent.push((text(&reply["message"]["message_id"]), content));
        }
        let page = call(&format!("{url}{messages}?after=0"), Some(&token), None).await;
        let read: Vec<_> = page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| (text(&message["message_id"]), text(&message["content"])))
            .collect();
        assert_eq!(read, sent);
        signal(&child, "-TERM");
        let (code, _, err) = end(child).await;
        assert_eq!(code, Some(0), "{err}");
    }
    assert!(!data.exists(), "no data folder is created");
    // Each server refuses another number of partitions.
    for stores in [&stores[..2], &stores[2..4]] {
        let mut changed = pabal(&data, &[&LISTEN[..], stores].concat());
        changed.env("PABAL_STORAGE_PARTITIONS", "8");
        let (code, _, err) = end(changed.spawn().unwrap()).await;
        assert_eq!(code, Some(1), "{err}");
        let reason = "was created for 16 partitions and cannot be used with 8";
        assert!(err.contains("pabal: storage.partitions: ") && err.contains(reason), "{err}");
    }
    let (code, out, err) = command(&["user", "list"], &directory).await;
    assert!(code == Some(0) && out.starts_with("mina\t"), "{out}{err}");
}

/// Starts the program with an unusable setting, and returns the line on standard error.
async fn refused(data: &Path, flag: &str, url: &str) -> String {
    let arguments = [&LISTEN[..], &[flag, url]].concat();
    let (code, out, err) = end(pabal(data, &arguments).spawn().unwrap()).await;
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    let line = err.lines().filter(|line| line.starts_with("pabal: ")).collect::<Vec<_>>();
    assert_eq!(line.len(), 1, "{err}");
    assert!(!err.contains("secret"), "{err}");
    line[0].to_owned()
}

#[tokio::test]
async fn an_unreachable_server_is_one_line_that_names_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("none");
    let port = pabal_servers::spare_ports(1)[0];
    for (flag, url) in [
        ("--queue", format!("redis://:secret@127.0.0.1:{port}")),
        ("--history", format!("cassandra://pabal:secret@127.0.0.1:{port}/pabal")),
        ("--directory", format!("postgres://pabal:secret@127.0.0.1:{port}/pabal")),
    ] {
        let key = flag.replace("--", "storage.");
        let line = refused(&data, flag, &url).await;
        assert!(line.starts_with(&format!("pabal: {key}: ")), "{line}");
        assert!(line.contains(&port.to_string()), "{line}");
        let line = refused(&data, flag, "ftp://secret").await;
        assert!(line.contains(&key), "{line}");
    }
    assert!(!data.exists());
}

#[tokio::test]
async fn a_wrong_user_or_password_is_one_line_that_names_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("none");
    let redis = started!(Redis::start_with(&[("requirepass", "right")]));
    for credentials in ["", ":secret@", "ann:secret@", "ann:right@"] {
        let url = format!("redis://{credentials}127.0.0.1:{}", redis.port());
        let line = refused(&data, "--queue", &url).await;
        assert!(line.starts_with("pabal: storage.queue: Redis at 127.0.0.1:"), "{line}");
        assert!(line.contains("refuses the user or the password"), "{line}");
    }
    let cassandra = started!(Cassandra::start_with("authenticator: PasswordAuthenticator"));
    let at = |credentials: &str| cassandra.keyspace().replace("://", &format!("://{credentials}"));
    for credentials in ["", "cassandra:secret@", "ann:secret@"] {
        let line = refused(&data, "--history", &at(credentials)).await;
        assert!(line.starts_with("pabal: storage.history: 127.0.0.1:"), "{line}");
        assert!(line.contains("refuses: ") && line.to_lowercase().contains("auth"), "{line}");
    }
    // Cassandra creates its first user some time after it accepts connections.
    pabal_servers::until("the right password is accepted", async || {
        let mut migrate = Command::new(env!("CARGO_BIN_EXE_pabal"));
        captured(migrate.args(["migrate", "--history", &at("cassandra:cassandra@")]));
        (end(migrate.spawn().unwrap()).await.0 == Some(0)).then_some(())
    })
    .await;
    assert!(!data.exists());
}
