//! A system under load that uses the log as an engine does: senders repeat until their message is
//! stored; owners store and trim. It checks every id and, at the end, that each message is stored
//! once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pabal_core::memory::{MemoryHistoryStore, SystemClock};
use pabal_core::model::{ChannelId, Draft, MessageId, Partition, SendKey, Timestamp, UserId};
use pabal_core::ports::*;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Far longer than the deadline of a call, 2 s.
pub(crate) const CALL_BOUND: Duration = Duration::from_secs(20);
const PARTITIONS: u16 = 6;
const SENDERS: u64 = 18;

/// The system clock, which can be set back.
#[derive(Debug, Default)]
pub(crate) struct SetBack {
    micros: AtomicU64,
}

impl SetBack {
    pub(crate) fn by(&self, span: Duration) {
        self.micros.store(span.as_micros() as u64, Ordering::SeqCst);
    }
}

impl Clock for SetBack {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().as_micros() - self.micros.load(Ordering::SeqCst);
        Timestamp::from_micros(now)
    }
}

pub(crate) struct Load {
    shared: Arc<Shared>,
    owners: Vec<JoinHandle<()>>,
    senders: Vec<JoinHandle<u64>>,
}

struct Shared {
    log: Arc<dyn MessageLog>,
    history: MemoryHistoryStore,
    /// The highest id that this node has seen, by partition.
    floors: Vec<AtomicU64>,
    /// The send of each assigned id.
    assigned: Mutex<HashMap<MessageId, String>>,
    acknowledged: AtomicUsize,
    refused: AtomicUsize,
    stop: AtomicBool,
}

impl Load {
    pub(crate) fn start(log: Arc<dyn MessageLog>) -> Self {
        let shared = Arc::new(Shared {
            log,
            history: MemoryHistoryStore::new(),
            floors: (0..PARTITIONS).map(|_| AtomicU64::default()).collect(),
            assigned: Mutex::default(),
            acknowledged: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let owner = |partition| tokio::spawn(own(Arc::clone(&shared), partition));
        let owners = Partition::all(PARTITIONS).map(owner).collect();
        let sender = |number| tokio::spawn(send(Arc::clone(&shared), number));
        let senders = (0..SENDERS).map(sender).collect();
        Self { shared, owners, senders }
    }

    /// Waits until `count` more messages are stored.
    pub(crate) async fn wait_for(&self, count: usize) {
        let goal = self.shared.acknowledged.load(Ordering::SeqCst) + count;
        pabal_servers::until("the load continues", async || {
            // A task that ended has panicked.
            assert!(!self.owners.iter().any(JoinHandle::is_finished), "an owner ended");
            assert!(!self.senders.iter().any(JoinHandle::is_finished), "a sender ended");
            (self.shared.acknowledged.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
    }

    /// Waits until `count` more calls have failed.
    pub(crate) async fn wait_for_failures(&self, count: usize) {
        let goal = self.refused() + count;
        pabal_servers::until("calls fail", async || (self.refused() >= goal).then_some(())).await;
    }

    pub(crate) fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// Stops the load and checks the stored messages.
    pub(crate) async fn end(self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut sent = Vec::new();
        for (sender, task) in self.senders.into_iter().enumerate() {
            let count = task.await.expect("a sender");
            sent.extend((0..count).map(|number| name(sender as u64, number)));
        }
        for owner in self.owners {
            owner.abort();
        }
        let mut stored = Vec::new();
        for channel in 0..u64::from(PARTITIONS) {
            let channel_id = ChannelId::new(channel);
            let page = self.shared.history.page(
                channel_id,
                PageFrom::After(MessageId::new(0)),
                (1 << 20).into(),
            );
            for message in page.await.expect("a page").messages {
                stored.push(message.content.to_string());
            }
        }
        sent.sort_unstable();
        stored.sort_unstable();
        assert_eq!(stored.len(), sent.len(), "messages are lost or duplicated");
        assert!(stored == sent, "the stored messages differ from the sent ones");
    }
}

fn name(sender: u64, number: u64) -> String {
    format!("{sender}-{number}")
}

async fn own(shared: Arc<Shared>, partition: Partition) {
    let Shared { log, history, .. } = &*shared;
    loop {
        // A simplified owner: it starts at the stored position instead of the first entry.
        let stored = history.stored_position(partition).await.expect("a position");
        let attempt = async {
            log.trim(partition, stored).await?;
            log.read(partition, stored, 64).await
        };
        let entries = match attempt.await {
            Ok(entries) => entries,
            Err(error) => {
                assert!(error.retryable(), "{error}");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let messages: Vec<_> = entries.into_iter().map(|entry| entry.message).collect();
        assert!(messages.is_sorted_by(|one, next| one.message_id < next.message_id));
        assert!(messages[0].message_id > stored, "a stored message was read again");
        history.append(partition, messages).await.expect("appends");
    }
}

async fn send(shared: Arc<Shared>, sender: u64) -> u64 {
    let partition = Partition::new((sender % u64::from(PARTITIONS)) as u16).expect("a partition");
    let mut number = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        let name = name(sender, number);
        while !send_once(&shared, partition, sender, &name).await {}
        shared.acknowledged.fetch_add(1, Ordering::SeqCst);
        number += 1;
    }
    number
}

/// Sends a message once. Returns whether it is stored.
async fn send_once(shared: &Shared, partition: Partition, sender: u64, name: &str) -> bool {
    let Shared { log, history, floors, assigned, refused, .. } = shared;
    let floor = &floors[usize::from(partition.get())];
    let draft = Draft {
        channel_id: ChannelId::new(u64::from(partition.get())),
        message_from: UserId::new(sender),
        message_to: None,
        content: name.into(),
        client_message_id: Some(name.into()),
    };
    let key: SendKey = draft.send_key().expect("has a name");
    let node = "a".parse().expect("a name");
    let origin = Origin { node, accepted_at: SystemClock.now(), trace: Trace::default() };
    let stored = history.stored_position(partition).await.expect("a position");
    // The contract requires the caller to pass what it knows to be stored: the log may have lost
    // it.
    let passed_floor = MessageId::new(floor.load(Ordering::SeqCst)).max(stored);
    let call = log.append(partition, passed_floor, draft, origin);
    let id = match timeout(CALL_BOUND, call).await.expect("the call ends within its deadline") {
        Ok(Sequenced::New(id)) => {
            assert!(
                id > passed_floor,
                "{id} was assigned for the floor {passed_floor}, {stored} is stored"
            );
            let before = assigned.lock().expect("no panic").insert(id, name.to_owned());
            assert_eq!(before, None, "{id} was assigned twice, now for {name}");
            id
        }
        Ok(Sequenced::Repeat(id)) => id,
        Err(error) => {
            assert!(error.retryable(), "{error}");
            refused.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_millis(20)).await;
            return false;
        }
    };
    floor.fetch_max(id.get(), Ordering::SeqCst);
    // A log may lose unacknowledged messages; then the message is sent again.
    for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 256] {
        if history.find_sent(key.clone()).await.expect("a look-up").is_some() {
            return true;
        }
        sleep(Duration::from_millis(pause)).await;
    }
    false
}
