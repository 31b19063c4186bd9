//! Sends and their acknowledgements: one ledger for all senders of a scenario.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::account::Id;

/// One send, through all its repetitions.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The channel.
    pub channel_id: Id,
    /// The sender.
    pub from: Id,
    /// The text.
    pub content: String,
    /// The sender's name for it.
    pub client_message_id: String,
    /// When the first attempt began.
    pub begun: Instant,
    /// When it was acknowledged, and under which id.
    pub acknowledged: Option<(Instant, Id)>,
}

/// The ledger. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
    not_confirmed: Arc<AtomicU64>,
}

impl Ledger {
    /// A name for a send that no other send has.
    pub fn name(username: &str) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        format!("{username}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// Notes a send before its first attempt.
    pub fn begin(&self, channel_id: Id, from: Id, client_message_id: &str, content: &str) {
        let entry = Entry {
            channel_id,
            from,
            content: content.to_owned(),
            client_message_id: client_message_id.to_owned(),
            begun: Instant::now(),
            acknowledged: None,
        };
        let before = self.lock().insert(client_message_id.to_owned(), entry);
        assert!(before.is_none(), "a name was used twice: {client_message_id}");
    }

    /// Notes an acknowledgement.
    ///
    /// # Panics
    /// If the same send was acknowledged before under another id: that is a second message.
    pub fn acknowledge(&self, client_message_id: &str, message_id: Id) {
        let mut entries = self.lock();
        let entry = entries.get_mut(client_message_id).expect("it was begun");
        match entry.acknowledged {
            None => entry.acknowledged = Some((Instant::now(), message_id)),
            Some((_, before)) => {
                assert_eq!(before, message_id, "{client_message_id} was acknowledged as two");
            }
        }
    }

    /// Notes that a send failed with `not_confirmed`.
    pub fn not_confirmed(&self) {
        self.not_confirmed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many attempts failed with `not_confirmed`.
    pub fn count_not_confirmed(&self) -> u64 {
        self.not_confirmed.load(Ordering::Relaxed)
    }

    /// All entries.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().values().cloned().collect()
    }

    /// How many sends were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.lock().values().filter(|entry| entry.acknowledged.is_some()).count()
    }

    /// The highest acknowledged id of a channel; 0 if there is none.
    pub fn newest(&self, channel_id: Id) -> Id {
        let entries = self.lock();
        let ids = entries.values().filter(|entry| entry.channel_id == channel_id);
        ids.filter_map(|entry| entry.acknowledged.map(|(_, id)| id)).max().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
