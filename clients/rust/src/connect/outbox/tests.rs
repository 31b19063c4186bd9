//! What is said, under paused time and on sockets with nothing behind them.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout};

use super::*;
use crate::client::Client;
use crate::connect::{SendHandle, Sender};
use crate::token::Token;

const LUNCH: ChannelId = ChannelId::new(7);
const SUPPER: ChannelId = ChannelId::new(8);
const DEADLINE: Duration = Duration::from_secs(60);

/// An outbox at work, and the way it has.
struct Desk {
    sender: Sender,
    route: watch::Sender<Route>,
}

/// One socket after the other.
struct Way {
    socket: Socket,
    written: mpsc::Receiver<String>,
}

impl Desk {
    fn new() -> Self {
        let client = Client::builder("http://nowhere.example").build().unwrap();
        let user = r#"{"user_id":"1","username":"mina","created_at":"2026-01-01T00:00:00Z"}"#;
        let user = serde_json::from_str(user).unwrap();
        let account = Account::new(client, Token::new("t").unwrap(), user, None);
        let (jobs, taken) = mpsc::channel(64);
        let (route, watched) = watch::channel(Route::default());
        let places = Arc::new(Semaphore::new(64));
        let sender = Sender { jobs, places, deadline: DEADLINE };
        tokio::spawn(Outbox::new(account, Backoff::default(), taken, watched).run());
        Self { sender, route }
    }

    fn opens(&self) -> Way {
        let (socket, written) = Socket::to_nowhere();
        let session = Some(Arc::new(Session::of_nobody()));
        self.route.send_replace(Route { session, socket: Some(socket.clone()), ended: None });
        Way { socket, written }
    }

    fn send(&self, channel_id: ChannelId, content: &str) -> SendHandle {
        self.sender.send(channel_id, content)
    }
}

impl Way {
    /// The next command, with its id and what is in `field`.
    async fn next(&mut self, field: &str) -> (String, String) {
        let text = timeout(DEADLINE, self.written.recv()).await.expect("in time").unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let string = |field: &str| json[field].as_str().unwrap().to_owned();
        (string("id"), string(field))
    }

    async fn confirms(&mut self, content: &str, message_id: u64) {
        let (id, said) = self.next("content").await;
        assert_eq!(said, content);
        self.socket.reply(&format!(r#"{{"id":"{id}","message_id":"{message_id}"}}"#));
    }

    fn refuses(&self, id: &str, status: u16, code: &str, more: &str) {
        let problem = format!(r#"{{"code":"{code}","status":{status},"detail":"x"{more}}}"#);
        self.socket.reply(&format!(r#"{{"id":"{id}","error":{problem}}}"#));
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_does_not_fall_behind_what_was_said_later() {
    let desk = Desk::new();
    let mut way = desk.opens();
    let (first, second) = (desk.send(LUNCH, "first"), desk.send(LUNCH, "second"));
    let elsewhere = desk.send(SUPPER, "elsewhere");
    let (id, said) = way.next("content").await;
    assert_eq!((said.as_str(), id.as_str()), ("first", first.client_message_id()));
    way.confirms("elsewhere", 5).await;
    assert_eq!(elsewhere.await.unwrap(), MessageId::new(5), "channels do not wait for others");
    let refused = Instant::now();
    way.refuses(&id, 503, "unavailable", r#","retry_after_ms":5000"#);
    let (again, said) = way.next("client_message_id").await;
    assert_eq!((&again, &said), (&id, &id), "under the same name");
    assert!(refused.elapsed() >= Duration::from_secs(5), "the server's word is kept");
    way.socket.reply(&format!(r#"{{"id":"{again}","message_id":"1"}}"#));
    assert_eq!(first.await.unwrap(), MessageId::new(1));
    way.confirms("second", 2).await;
    assert_eq!(second.await.unwrap(), MessageId::new(2));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_not_repeated() {
    let desk = Desk::new();
    let mut way = desk.opens();
    let (first, second) = (desk.send(LUNCH, "first"), desk.send(LUNCH, "second"));
    let (id, _) = way.next("content").await;
    way.refuses(&id, 403, "blocked", "");
    assert_eq!(first.await.unwrap_err().code(), Some(&Code::Blocked));
    way.confirms("second", 2).await;
    second.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_socket_is_followed_by_the_next_under_the_same_name() {
    let desk = Desk::new();
    let mut way = desk.opens();
    let sent = desk.send(LUNCH, "first");
    let (id, _) = way.next("content").await;
    way.socket.lose();
    let mut way = desk.opens();
    let (again, _) = way.next("content").await;
    assert_eq!(again, id);
    way.socket.reply(&format!(r#"{{"id":"{id}","message_id":"1"}}"#));
    sent.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_send_with_or_without_a_way() {
    let desk = Desk::new();
    let begun = Instant::now();
    let error = desk.send(LUNCH, "no way").await.unwrap_err();
    assert!(matches!(error, Error::NotConfirmed), "{error}");
    assert_eq!(begun.elapsed().as_secs(), DEADLINE.as_secs());
    let mut way = desk.opens();
    let begun = Instant::now();
    let (silent, next) = (desk.send(LUNCH, "silence"), desk.send(LUNCH, "next"));
    let (_, said) = way.next("content").await;
    assert_eq!(said, "silence");
    assert!(matches!(silent.await, Err(Error::NotConfirmed)));
    assert_eq!(begun.elapsed().as_secs(), DEADLINE.as_secs());
    drop(next);
}

#[tokio::test(start_paused = true)]
async fn of_several_reads_the_highest_is_told_until_it_is_known() {
    let desk = Desk::new();
    desk.sender.read(LUNCH, MessageId::new(5));
    desk.sender.read(LUNCH, MessageId::new(9));
    desk.sender.read(LUNCH, MessageId::new(7));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut way = desk.opens();
    let (id, upto) = way.next("message_id").await;
    assert_eq!(upto, "9");
    way.refuses(&id, 503, "unavailable", "");
    let (id, upto) = way.next("message_id").await;
    assert_eq!(upto, "9");
    way.socket.reply(&format!(r#"{{"id":"{id}"}}"#));
    desk.sender.typing(LUNCH);
    let (_, kind) = way.next("type").await;
    assert_eq!(kind, "typing", "and no read again");
}

#[tokio::test(start_paused = true)]
async fn when_there_will_be_no_way_all_sends_end() {
    let desk = Desk::new();
    let sent = desk.send(LUNCH, "first");
    desk.route.send_replace(Route { ended: Some(Error::Closed), ..Route::default() });
    assert!(matches!(sent.await, Err(Error::Closed)));
    tokio::task::yield_now().await;
    assert!(matches!(desk.send(LUNCH, "second").await, Err(Error::Closed)));
}
