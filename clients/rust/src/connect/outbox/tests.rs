//! Sends under paused time, on sockets without a connection.

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::*;
use crate::client::Client;
use crate::connect::line::Socket;
use crate::connect::sender::{SendHandle, Sender};
use crate::token::Token;

const LUNCH: ChannelId = ChannelId::new(7);
const SUPPER: ChannelId = ChannelId::new(8);
const DEADLINE: Duration = Duration::from_secs(60);

/// A running outbox and its route.
struct Scene {
    sender: Sender,
    route: watch::Sender<Route>,
}

/// The socket of a line, and the frames that were written to it.
struct OpenLine {
    socket: Socket,
    written: mpsc::Receiver<String>,
}

impl Scene {
    fn new() -> Self {
        let client = Client::builder("http://detached.example").build().unwrap();
        let user = r#"{"user_id":"1","username":"mina","created_at":"2026-01-01T00:00:00Z"}"#;
        let user = serde_json::from_str(user).unwrap();
        let account = Account::new(client, Token::new("t").unwrap(), user, None);
        let (sender, jobs) = Sender::new(64, DEADLINE);
        let (route, watched) = watch::channel(Route::default());
        tokio::spawn(Outbox::new(account, (Backoff::default(), false), jobs, watched).run());
        Self { sender, route }
    }

    fn open_line(&self) -> OpenLine {
        let (socket, written) = Socket::unconnected();
        let session = Some(Arc::new(Session::detached()));
        self.route.send_replace(Route {
            session,
            token: None,
            socket: Some(socket.clone()),
            ended: None,
        });
        OpenLine { socket, written }
    }

    fn send(&self, channel_id: ChannelId, content: &str) -> SendHandle {
        self.sender.send(channel_id, content)
    }
}

impl OpenLine {
    /// The next command, with its id and what is in `field`.
    async fn next(&mut self, field: &str) -> (String, String) {
        let text = timeout(DEADLINE, self.written.recv()).await.expect("in time").unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let string = |field: &str| json[field].as_str().unwrap().to_owned();
        (string("id"), string(field))
    }

    async fn confirm(&mut self, content: &str, message_id: u64) {
        let (id, said) = self.next("content").await;
        assert_eq!(said, content);
        self.socket.reply(&format!(r#"{{"id":"{id}","message_id":"{message_id}"}}"#));
    }

    fn refuse(&self, id: &str, status: u16, code: &str, more: &str) {
        let problem = format!(r#"{{"code":"{code}","status":{status},"detail":"x"{more}}}"#);
        self.socket.reply(&format!(r#"{{"id":"{id}","error":{problem}}}"#));
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_takes_effect_before_later_sends() {
    let scene = Scene::new();
    let mut line = scene.open_line();
    let (first, second) = (scene.send(LUNCH, "first"), scene.send(LUNCH, "second"));
    let elsewhere = scene.send(SUPPER, "elsewhere");
    let (id, said) = line.next("content").await;
    assert_eq!((said.as_str(), id.as_str()), ("first", first.client_message_id()));
    line.confirm("elsewhere", 5).await;
    assert_eq!(elsewhere.await.unwrap(), MessageId::new(5), "channels do not wait for each other");
    let refused = Instant::now();
    line.refuse(&id, 503, "unavailable", r#","retry_after_ms":5000"#);
    let (again, said) = line.next("client_message_id").await;
    assert_eq!((&again, &said), (&id, &id), "under the same name");
    assert!(refused.elapsed() >= Duration::from_secs(5), "the wait that the server named is kept");
    line.socket.reply(&format!(r#"{{"id":"{again}","message_id":"1"}}"#));
    assert_eq!(first.await.unwrap(), MessageId::new(1));
    line.confirm("second", 2).await;
    assert_eq!(second.await.unwrap(), MessageId::new(2));
}

#[tokio::test(start_paused = true)]
async fn a_permanent_refusal_is_not_repeated() {
    let scene = Scene::new();
    let mut line = scene.open_line();
    let (first, second) = (scene.send(LUNCH, "first"), scene.send(LUNCH, "second"));
    let (id, _) = line.next("content").await;
    line.refuse(&id, 403, "blocked", "");
    assert_eq!(first.await.unwrap_err().code(), Some(&Code::Blocked));
    line.confirm("second", 2).await;
    second.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_send_is_repeated_under_the_same_name_after_its_socket_is_lost() {
    let scene = Scene::new();
    let mut line = scene.open_line();
    let sent = scene.send(LUNCH, "first");
    let (id, _) = line.next("content").await;
    line.socket.lose();
    let mut line = scene.open_line();
    let (again, _) = line.next("content").await;
    assert_eq!(again, id);
    line.socket.reply(&format!(r#"{{"id":"{id}","message_id":"1"}}"#));
    sent.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_send_with_and_without_a_route() {
    let scene = Scene::new();
    let begun = Instant::now();
    let error = scene.send(LUNCH, "no route").await.unwrap_err();
    assert!(matches!(error, Error::NotConfirmed), "{error}");
    assert_eq!(begun.elapsed().as_secs(), DEADLINE.as_secs());
    let mut line = scene.open_line();
    let begun = Instant::now();
    let (silent, next) = (scene.send(LUNCH, "silence"), scene.send(LUNCH, "next"));
    let (_, said) = line.next("content").await;
    assert_eq!(said, "silence");
    assert!(matches!(silent.await, Err(Error::NotConfirmed)));
    assert_eq!(begun.elapsed().as_secs(), DEADLINE.as_secs());
    drop(next);
}

#[tokio::test(start_paused = true)]
async fn the_highest_of_several_read_positions_is_repeated_until_it_is_confirmed() {
    let scene = Scene::new();
    scene.sender.read(LUNCH, MessageId::new(5));
    scene.sender.read(LUNCH, MessageId::new(9));
    scene.sender.read(LUNCH, MessageId::new(7));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut line = scene.open_line();
    let (id, upto) = line.next("message_id").await;
    assert_eq!(upto, "9");
    line.refuse(&id, 503, "unavailable", "");
    let (id, upto) = line.next("message_id").await;
    assert_eq!(upto, "9");
    line.socket.reply(&format!(r#"{{"id":"{id}"}}"#));
    scene.sender.typing(LUNCH);
    let (_, kind) = line.next("type").await;
    assert_eq!(kind, "typing", "the read position is not repeated");
}

#[tokio::test(start_paused = true)]
async fn every_send_fails_when_the_connection_ends() {
    let scene = Scene::new();
    let sent = scene.send(LUNCH, "first");
    scene.route.send_replace(Route { ended: Some(Error::Closed), ..Route::default() });
    assert!(matches!(sent.await, Err(Error::Closed)));
    tokio::task::yield_now().await;
    assert!(matches!(scene.send(LUNCH, "second").await, Err(Error::Closed)));
}
