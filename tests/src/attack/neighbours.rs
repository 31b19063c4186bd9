//! Two users whom no attack concerns: one sends to the other, over WebSockets, from a thread of their own. What they
//! notice of an attack is the time from a send to its arrival.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::account::{Account, Id, Session};
use crate::address::Address;
use crate::line::{Handshake, Line, WebSocket};

/// The pause between two messages.
const PAUSE: Duration = Duration::from_millis(10);
/// A message that takes longer counts as this long.
const LONGEST: Duration = Duration::from_secs(30);

/// The times from send to arrival.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// The time within which this share of the messages arrived; zero without messages.
    pub fn quantile(&self, share: f64) -> Duration {
        let at = ((self.0.len() as f64 * share) as usize).min(self.0.len().saturating_sub(1));
        self.0.get(at).copied().unwrap_or_default()
    }

    /// How many messages arrived.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// The two users.
#[derive(Debug)]
pub(super) struct Neighbours {
    sender: Account,
    receiver: Account,
    channel_id: Id,
}

impl Neighbours {
    pub(super) async fn meet(address: &Address) -> Self {
        let sender = Account::sign_up(address, "carl").await;
        let receiver = Account::sign_up(address, "dora").await;
        let channel_id = sender.direct(&receiver).await;
        Self { sender, receiver, channel_id }
    }

    /// Runs `during` while the two talk, and returns what they noticed.
    pub(super) async fn measure<T>(&self, during: impl Future<Output = T>) -> (T, Latencies) {
        let over = Arc::new(AtomicBool::new(false));
        let talk = {
            let (over, address) = (Arc::clone(&over), self.sender.address().clone());
            let (sender, receiver) = (self.sender.via(&address), self.receiver.via(&address));
            let channel_id = self.channel_id;
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(talk(sender, receiver, channel_id, &over))
            })
        };
        let result = during.await;
        over.store(true, Ordering::Relaxed);
        let latencies = tokio::task::spawn_blocking(move || talk.join());
        let latencies = latencies.await.expect("the thread is waited for");
        (result, latencies.expect("the neighbours could talk"))
    }
}

async fn talk(sender: Account, receiver: Account, channel_id: Id, over: &AtomicBool) -> Latencies {
    let (mut sending, mut receiving) = (End::open(&sender).await, End::open(&receiver).await);
    let send = [json!({"type": "send", "channel_id": channel_id.to_string(), "content": "hi"})];
    let socket = sending.line.socket().expect("a WebSocket");
    let mut latencies = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        // The sender's own session receives the message, too.
        let own = sending.receive();
        let arrival = async {
            receiving.receive().await;
            began.elapsed()
        };
        let (replies, (), latency) = tokio::join!(socket.commands(&send, LONGEST), own, arrival);
        assert!(replies.is_some(), "the neighbour's send has a reply");
        latencies.push(latency);
        sleep(PAUSE).await;
    }
    receiver.close(&receiving.session).await;
    sender.close(&sending.session).await;
    latencies.sort_unstable();
    Latencies(latencies)
}

/// A user's end of the conversation.
struct End {
    line: Line,
    session: Session,
    next: Id,
}

impl End {
    async fn open(account: &Account) -> Self {
        let opened = WebSocket::open_session(account, Handshake::to("/v1/websocket")).await;
        let (socket, session) = opened.expect("a neighbour's WebSocket");
        Self { line: Line::WebSocket(socket), next: session.next, session }
    }

    /// Receives a batch and confirms it.
    async fn receive(&mut self) {
        match self.line.read(self.next, LONGEST).await {
            Ok(batch) => self.next = batch.next,
            Err(error) => panic!("the neighbour's connection ended: {error}"),
        }
        if let Some(socket) = self.line.socket() {
            socket.ack(self.next).await;
        }
    }
}
