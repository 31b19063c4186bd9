//! Attacks by ordinary requests in great numbers, each of which costs the node more than the client.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::kind::Prepared;
use super::scene::Scene;
use crate::account::Account;
use crate::line::{Line, Transport};

/// How long commands are sent.
const COMMANDS: Duration = Duration::from_secs(10);
/// How long sign-ups are sent.
const SIGN_UPS: Duration = Duration::from_secs(5);
/// The commands of one request.
const BATCH: usize = 256;

/// A group with 150 sessions, of ten members with fifteen each.
pub(super) async fn prepare_group(scene: &Scene) -> Prepared {
    const MEMBERS: usize = 10;
    const SESSIONS: usize = 15;
    let mut users = Vec::new();
    for _ in 0..MEMBERS {
        users.push(Account::sign_up(scene.node.address(), "member").await);
    }
    let channel_id = scene.eve.group(&users.iter().collect::<Vec<_>>()).await;
    scene.eve.say(channel_id, "hello", None).await;
    let mut sessions = Vec::new();
    for user in &users {
        for _ in 0..SESSIONS {
            sessions.push(user.open(None).await);
        }
    }
    Prepared { channel_id, users, sessions }
}

/// Posts requests of commands again and again, several at a time. Refused commands count, too.
async fn post(scene: &Scene, command: &Value) -> u64 {
    const AT_A_TIME: usize = 8;
    let session = scene.eve.open(None).await;
    let path = session.path("/commands");
    let body = json!({ "commands": vec![command; BATCH] });
    let began = Instant::now();
    let posts = (0..AT_A_TIME).map(async |_| {
        let mut sent = 0;
        while began.elapsed() < COMMANDS {
            let response = scene.eve.call(Method::POST, &path, Some(&body)).await;
            assert!(response.is_ok(), "the node responds: {response:?}");
            sent += BATCH as u64;
        }
        sent
    });
    let sent = join_all(posts).await.into_iter().sum();
    scene.eve.close(&session).await;
    sent
}

/// Reads and confirms what the sessions of the group receive, over WebSockets, until it is dropped.
async fn listen(prepared: &Prepared) -> JoinSet<()> {
    let mut listeners = JoinSet::new();
    let each = prepared.sessions.len() / prepared.users.len();
    for (number, session) in prepared.sessions.iter().enumerate() {
        let user = &prepared.users[number / each];
        let line = Line::open(Transport::WebSocket, user, session, session.next).await;
        let (mut line, mut next) = (line.expect("a WebSocket"), session.next);
        listeners.spawn(async move {
            while let Ok(batch) = line.read(next, COMMANDS).await {
                next = batch.next;
                if let Some(socket) = line.socket() {
                    socket.ack(next).await;
                }
            }
        });
    }
    listeners
}

pub(super) async fn typing(scene: &Scene, prepared: &Prepared) -> u64 {
    let _listeners = listen(prepared).await;
    let channel_id = prepared.channel_id.to_string();
    post(scene, &json!({"id": "c", "type": "typing", "channel_id": channel_id})).await
}

pub(super) async fn read_marks(scene: &Scene, prepared: &Prepared) -> u64 {
    let newest = scene.eve.history(prepared.channel_id, 0).await;
    let newest = newest.last().expect("a message").message_id.to_string();
    let channel_id = prepared.channel_id.to_string();
    let command =
        json!({"id": "c", "type": "read", "channel_id": channel_id, "message_id": newest});
    let _listeners = listen(prepared).await;
    post(scene, &command).await
}

pub(super) async fn sign_ups(scene: &Scene) -> u64 {
    const ADDRESSES: u8 = 5;
    let began = Instant::now();
    let floods = (1..=ADDRESSES).map(|last| async move {
        let mut sent = 0_u64;
        while began.elapsed() < SIGN_UPS {
            sign_up(scene, Ipv4Addr::new(127, 0, 7, last), sent).await;
            sent += 1;
        }
        sent
    });
    join_all(floods).await.into_iter().sum()
}

/// One sign-up from this address, on a connection of its own. A refusal is a response, too.
async fn sign_up(scene: &Scene, from: Ipv4Addr, number: u64) {
    let username = format!("flood{}x{number}", from.octets()[3]);
    let body =
        json!({"username": username, "password": "correct horse battery staple"}).to_string();
    let request = format!(
        "POST /v1/users HTTP/1.1\r\nhost: pabal\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let mut stream = socket.connect(scene.node.address().get()).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    // The node may close a connection of an address that has too many.
    let _: std::io::Result<usize> = exchange.await;
}
