//! Attacks by ordinary requests in great numbers, each of which costs the node more than the client.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::Instant;

use super::kind::Prepared;
use super::scene::Scene;
use crate::account::Account;

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

/// Posts a request of commands again and again. Refused commands count, too.
async fn post(scene: &Scene, command: &Value) -> u64 {
    let session = scene.eve.open(None).await;
    let body = json!({ "commands": vec![command; BATCH] });
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < COMMANDS {
        let response = scene.eve.call(Method::POST, &session.path("/commands"), Some(&body)).await;
        assert!(response.is_ok(), "the node responds: {response:?}");
        sent += BATCH as u64;
    }
    scene.eve.close(&session).await;
    sent
}

pub(super) async fn typing(scene: &Scene, prepared: &Prepared) -> u64 {
    let channel_id = prepared.channel_id.to_string();
    post(scene, &json!({"id": "c", "type": "typing", "channel_id": channel_id})).await
}

pub(super) async fn read_marks(scene: &Scene, prepared: &Prepared) -> u64 {
    let newest = scene.eve.history(prepared.channel_id, 0).await;
    let newest = newest.last().expect("a message").message_id.to_string();
    let channel_id = prepared.channel_id.to_string();
    let command =
        json!({"id": "c", "type": "read", "channel_id": channel_id, "message_id": newest});
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
