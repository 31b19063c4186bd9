//! A node on real servers: what it keeps is theirs, and what is wrong with one is a line that names
//! the setting.

use std::path::Path;

use pabal_servers::{Cassandra, Postgres, Redis, started};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::{SOON, end, heard, pabal, ready, signal};

const LISTEN: [&str; 3] = ["--listen", "127.0.0.1:0", "--no-rate-limits"];

/// A request with a body, and its answer.
async fn ask(url: &str, token: Option<&str>, body: Option<Value>) -> Value {
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
    let answer = timeout(SOON, request.send()).await.unwrap().unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{url}: {status} {text}");
    serde_json::from_str(&text).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Runs a command of the program to its end.
async fn command(arguments: &[&str], directory: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pabal"));
    command.args(arguments).env("PABAL_STORAGE_DIRECTORY", directory);
    heard(&mut command);
    end(command.spawn().unwrap()).await
}

#[tokio::test]
async fn a_node_on_servers_keeps_nothing_of_its_own() {
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

    let (mut token, mut messages, mut said) = (String::new(), String::new(), Vec::new());
    // Everything is there after each restart.
    for round in 0..2 {
        let (child, url) = ready(&mut pabal(&data, &arguments)).await;
        if round == 0 {
            let user = json!({"username": "mina", "password": "correct horse"});
            token = text(&ask(&format!("{url}/v1/users"), None, Some(user)).await["token"]);
            let group = json!({"name": "stations", "members": []});
            let made = ask(&format!("{url}/v1/channels"), Some(&token), Some(group)).await;
            messages = format!("/v1/channels/{}/messages", text(&made["channel"]["channel_id"]));
        }
        for number in 0..3 {
            let content = format!("{round}.{number}");
            let body = json!({"content": content});
            let sent = ask(&format!("{url}{messages}"), Some(&token), Some(body)).await;
            said.push((text(&sent["message"]["message_id"]), content));
        }
        let page = ask(&format!("{url}{messages}?after=0"), Some(&token), None).await;
        let read: Vec<_> = page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| (text(&message["message_id"]), text(&message["content"])))
            .collect();
        assert_eq!(read, said);
        signal(&child, "-TERM");
        let (code, _, err) = end(child).await;
        assert_eq!(code, Some(0), "{err}");
    }
    assert!(!data.exists(), "nothing is left to keep in a folder");
    // By each of the servers, as long as it has what it had.
    for stores in [&stores[..2], &stores[2..4]] {
        let mut begun_anew = pabal(&data, &[&LISTEN[..], stores].concat());
        begun_anew.env("PABAL_STORAGE_PARTITIONS", "8");
        let (code, _, err) = end(begun_anew.spawn().unwrap()).await;
        assert_eq!(code, Some(1), "{err}");
        let said = "was begun with 16 partitions and cannot be used with 8";
        assert!(err.contains("pabal: storage.partitions: ") && err.contains(said), "{err}");
    }
    let (code, out, err) = command(&["user", "list"], &directory).await;
    assert!(code == Some(0) && out.starts_with("mina\t"), "{out}{err}");
}

/// Starts with a setting that cannot be used; the one line.
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
async fn what_is_wrong_with_a_server_is_one_line_that_names_the_setting() {
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
    // It makes its first user some time after it answers.
    pabal_servers::until("the right password is taken", async || {
        let mut migrate = Command::new(env!("CARGO_BIN_EXE_pabal"));
        heard(migrate.args(["migrate", "--history", &at("cassandra:cassandra@")]));
        (end(migrate.spawn().unwrap()).await.0 == Some(0)).then_some(())
    })
    .await;
    assert!(!data.exists());
}
