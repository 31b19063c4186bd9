//! Attacks by responses that the client does not take: pages, polls, catch-ups, synchronisations.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

use super::kind::Prepared;
use super::scene::Scene;
use crate::account::{Account, cursors_json};
use crate::http2::{END_HEADERS, END_STREAM, Frames, Http2, INITIAL_WINDOW_SIZE, get, kind};

/// How long responses are left alone before their connections close.
const UNREAD: Duration = Duration::from_secs(5);
/// The receive buffer of a client that does not read.
const SMALL: u32 = 4 * 1024;

/// A connection whose responses stay in the node.
async fn connect(scene: &Scene) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(SMALL).expect("a small buffer");
    socket.connect(scene.node.address().get()).await.expect("a connection")
}

/// Writes requests on one connection. The node may refuse some and close it.
async fn write_all(connection: &mut TcpStream, requests: &[u8]) {
    if let Err(error) = connection.write_all(requests).await {
        debug_assert!(error.kind() != std::io::ErrorKind::InvalidInput, "{error}");
    }
}

fn request(method: &str, path: &str, account: &Account, body: &str) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: pabal\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        account.token,
        body.len(),
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

fn page(prepared: &Prepared) -> String {
    format!("/v1/channels/{}/messages?limit=200", prepared.channel_id)
}

pub(super) async fn closed_windows(scene: &Scene, prepared: &Prepared) -> u64 {
    const STREAMS: u32 = 100;
    let settings = [(INITIAL_WINDOW_SIZE, 0)];
    let address = scene.node.address().get();
    let (mut http2, _unread): (Http2, Frames) =
        Http2::open(address, &settings, Some(SMALL)).await.expect("a connection");
    let block = get(&page(prepared), &scene.eve.token);
    for stream in 0..STREAMS {
        let flags = END_HEADERS | END_STREAM;
        // The node may close the connection at its limit.
        if http2.send(kind::HEADERS, flags, 2 * stream + 1, &block).await.is_err() {
            break;
        }
    }
    sleep(UNREAD).await;
    u64::from(STREAMS)
}

pub(super) async fn pipelined_pages(scene: &Scene, prepared: &Prepared) -> u64 {
    const EACH: usize = 20;
    const CONNECTIONS: usize = 6;
    let requests = request("GET", &page(prepared), &scene.eve, "").repeat(EACH);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = connect(scene).await;
        write_all(&mut connection, &requests).await;
        connections.push(connection);
    }
    sleep(UNREAD).await;
    (EACH * CONNECTIONS) as u64
}

pub(super) async fn unread_polls(scene: &Scene, prepared: &Prepared) -> u64 {
    const POLLS: usize = 300;
    let path = prepared.sessions[0].path("/poll?after=0&limit=200");
    let requests = request("GET", &path, &scene.eve, "");
    let mut connections = Vec::new();
    for _ in 0..POLLS {
        let mut connection = connect(scene).await;
        write_all(&mut connection, &requests).await;
        connections.push(connection);
    }
    sleep(UNREAD).await;
    POLLS as u64
}

pub(super) async fn abandoned_catch_ups(scene: &Scene, prepared: &Prepared) -> u64 {
    const CATCH_UPS: usize = 60;
    let cursors = BTreeMap::from([(prepared.channel_id, 0)]);
    let body = json!({ "channels": cursors_json(&cursors) }).to_string();
    let requests = request("POST", "/v1/sessions", &scene.eve, &body);
    let mut connections = Vec::new();
    for _ in 0..CATCH_UPS {
        connections.push(connect(scene).await);
    }
    // Together, so that the node has all of them before the first is done.
    join_all(connections.iter_mut().map(|it| write_all(it, &requests))).await;
    // The clients are gone: what they sent arrives, followed by the end of the connection.
    drop(connections);
    sleep(UNREAD).await;
    CATCH_UPS as u64
}

pub(super) async fn unread_syncs(scene: &Scene, prepared: &Prepared) -> u64 {
    const SYNCS: usize = 100;
    let cursors = BTreeMap::from([(prepared.channel_id, 0)]);
    let body = json!({ "channels": cursors_json(&cursors) }).to_string();
    let requests = request("POST", "/v1/sync", &scene.eve, &body);
    let mut connections = Vec::new();
    for _ in 0..SYNCS {
        let mut connection = connect(scene).await;
        write_all(&mut connection, &requests).await;
        connections.push(connection);
    }
    sleep(UNREAD).await;
    SYNCS as u64
}

/// Forty members of a group in which a full mailbox of messages is stored.
pub(super) async fn prepare_sessions(scene: &Scene) -> Prepared {
    const USERS: usize = 40;
    const MESSAGES: usize = 60;
    let address = scene.node.address();
    let mut users = Vec::new();
    for _ in 0..USERS {
        users.push(Account::sign_up(address, "member").await);
    }
    let channel_id = scene.mallory.group(&users.iter().collect::<Vec<_>>()).await;
    let content = "x".repeat(16 * 1024);
    let sends = (0..MESSAGES).map(|_| scene.mallory.say(channel_id, &content, None));
    stream::iter(sends).buffer_unordered(16).for_each(async |_| {}).await;
    Prepared { channel_id, users, sessions: Vec::new() }
}

pub(super) async fn unread_sessions(prepared: &Prepared) -> u64 {
    const EACH: usize = 16;
    let cursors = BTreeMap::from([(prepared.channel_id, 0)]);
    let users = prepared.users.iter().flat_map(|user| std::iter::repeat_n(user, EACH));
    let opened = stream::iter(users.map(|user| user.try_open(Some(&cursors))))
        .buffer_unordered(16)
        .collect::<Vec<_>>()
        .await;
    sleep(UNREAD).await;
    let sessions = opened.into_iter().filter_map(|it| it.ok()?.ok()).count();
    // The sessions end by themselves after their resume window, which is longer than the recovery.
    for user in &prepared.users {
        let everywhere = Some(json!({"everywhere": true}));
        user.call(http::Method::POST, "/v1/logout", everywhere.as_ref()).await.ok();
    }
    sessions as u64
}
