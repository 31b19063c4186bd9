//! The chain over the batches of an embedded store. Each batch carries a row with a counter and the
//! checksum of everything before it, so a batch that is missing, changed or moved is noticed. Each
//! keyspace that a batch touches carries the counter too: a keyspace that lost rows is behind.
//!
//! ```text
//! keyspace positions, key ff:           version 1 · counter 8 · messages 8 · floor 8 · before 16 · link 16
//! keyspaces messages, sent, push, ff:   version 1 · counter 8
//! ```
//!
//! `link` covers `before` (the link of the previous batch), the numbers, and the keyspace, kind, key
//! and length of each row; the contents of rows are covered by the checksum that fjall writes after
//! each batch. All are seeded with the secret of the folder, so that no content of a message looks
//! like a batch.

use fjall::{Keyspace, OwnedWriteBatch, Readable, Snapshot, UserKey, UserValue};
use xxhash_rust::xxh3::Xxh3;

use super::database::{Database, ReadError};
use crate::mark::Payload;

/// The key of the rows of the chain, above every other key of its keyspace.
pub(super) const KEY: [u8; 1] = [0xff];
const VERSION: u8 = 1;
/// What a row of the chain looks like: longer than an id, so that no row of `sent` looks like it.
const COUNT_BYTES: usize = 9;
const ROW_BYTES: usize = 1 + 3 * 8 + 2 * size_of::<Link>();

/// A checksum of the chain.
pub(super) type Link = [u8; 16];

/// The kinds of rows in the journal of fjall.
pub(super) const VALUE: u8 = 0;
const TOMBSTONE: u8 = 1;

/// What the row of the chain says after a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChainRow {
    /// The number of batches, this one included.
    pub(super) counter: u64,
    /// The number of messages in all batches.
    pub(super) messages: u64,
    /// A sequence number of fjall just below that of the batch.
    pub(super) floor: u64,
    /// The link of the batch before.
    pub(super) before: Link,
    /// The link of this batch.
    pub(super) link: Link,
}

impl ChainRow {
    fn encode(&self) -> [u8; ROW_BYTES] {
        let mut row = [0; ROW_BYTES];
        row[0] = VERSION;
        row[1..9].copy_from_slice(&self.counter.to_be_bytes());
        row[9..17].copy_from_slice(&self.messages.to_be_bytes());
        row[17..25].copy_from_slice(&self.floor.to_be_bytes());
        row[25..41].copy_from_slice(&self.before);
        row[41..].copy_from_slice(&self.link);
        row
    }

    /// The row in these bytes, if they are one.
    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let row: &[u8; ROW_BYTES] = row.try_into().ok()?;
        let number = |at: usize| Some(u64::from_be_bytes(row[at..at + 8].try_into().ok()?));
        (row[0] == VERSION).then_some(())?;
        Some(Self {
            counter: number(1)?,
            messages: number(9)?,
            floor: number(17)?,
            before: row[25..41].try_into().ok()?,
            link: row[41..].try_into().ok()?,
        })
    }
}

fn encode_count(counter: u64) -> [u8; COUNT_BYTES] {
    let mut row = [VERSION; COUNT_BYTES];
    row[1..].copy_from_slice(&counter.to_be_bytes());
    row
}

fn decode_count(row: &[u8]) -> Option<u64> {
    let (version, counter) = row.split_first()?;
    let counter = counter.try_into().ok()?;
    (*version == VERSION).then(|| u64::from_be_bytes(counter))
}

/// How far a store was written: the last batch, and the last one that touched each keyspace. The
/// content of the mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// The number of batches.
    pub(super) counter: u64,
    /// The number of messages in them.
    pub(super) messages: u64,
    /// The last batch that touched `messages`, `sent` and `push`.
    pub(super) touched: [u64; 3],
    /// The link of the last batch.
    pub(super) link: Link,
}

impl Reached {
    pub(super) fn encode(&self) -> Payload {
        let mut payload = [0; 64];
        payload[..8].copy_from_slice(&self.counter.to_be_bytes());
        payload[8..16].copy_from_slice(&self.messages.to_be_bytes());
        for (number, touched) in self.touched.iter().enumerate() {
            payload[16 + 8 * number..24 + 8 * number].copy_from_slice(&touched.to_be_bytes());
        }
        payload[40..56].copy_from_slice(&self.link);
        payload
    }

    pub(super) fn decode(payload: &Payload) -> Self {
        let number = |at: usize| {
            payload[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let mut link = Link::default();
        link.copy_from_slice(&payload[40..56]);
        let touched = [number(16), number(24), number(32)];
        Self { counter: number(0), messages: number(8), touched, link }
    }

    /// What the rows of an open database say; all zero if no batch had a chain.
    pub(super) fn of(database: &Database) -> Result<Self, ReadError> {
        let durable = database.durable();
        let damaged = |name| ReadError::Damaged(format!("the chain in keyspace {name}"));
        let row = match durable.get(&database.positions, KEY)? {
            Some(row) => ChainRow::decode(&row).ok_or_else(|| damaged("positions"))?,
            None => ChainRow::default(),
        };
        let mut touched = [0; 3];
        for (touched, keyspace) in touched.iter_mut().zip(counted(database)) {
            if let Some(row) = durable.get(keyspace, KEY)? {
                *touched = decode_count(&row).ok_or_else(|| damaged(keyspace.name()))?;
            }
        }
        Ok(Self { counter: row.counter, messages: row.messages, touched, link: row.link })
    }

    /// The keyspaces that are behind `mark`, of which they lost rows.
    pub(super) fn behind(&self, mark: &Self) -> Vec<&'static str> {
        let all = [("positions", self.counter, mark.counter)];
        let touched = ["messages", "sent", "push"].into_iter().zip(self.touched).zip(mark.touched);
        let touched = touched.map(|((name, here), marked)| (name, here, marked));
        let behind = all.into_iter().chain(touched).filter(|(_, here, marked)| here < marked);
        behind.map(|(name, ..)| name).collect()
    }
}

/// The keyspaces other than `positions`, in the order of [`Reached::touched`].
fn counted(database: &Database) -> [&Keyspace; 3] {
    [&database.messages, &database.sent, &database.push]
}

/// The checksum of a batch, while its rows pass.
pub(super) struct Linker(Xxh3);

impl Linker {
    pub(super) fn new(secret: u64) -> Self {
        Self(Xxh3::with_seed(secret))
    }

    /// Adds a row, but for that of the chain.
    pub(super) fn row(&mut self, keyspace: u64, kind: u8, key: &[u8], value_bytes: usize) {
        let mut head = [0; 8 + 1 + 8 + 8];
        head[..8].copy_from_slice(&keyspace.to_be_bytes());
        head[8] = kind;
        head[9..17].copy_from_slice(&(key.len() as u64).to_be_bytes());
        head[17..].copy_from_slice(&(value_bytes as u64).to_be_bytes());
        self.0.update(&head);
        self.0.update(key);
    }

    /// The link of the batch, which has the numbers of `row`.
    pub(super) fn link(&mut self, row: &ChainRow) -> Link {
        for number in [row.counter, row.messages, row.floor] {
            self.0.update(&number.to_be_bytes());
        }
        self.0.update(&row.before);
        self.0.digest128().to_be_bytes()
    }
}

/// A batch that carries the chain.
pub(super) struct ChainedBatch<'a> {
    database: &'a Database,
    batch: OwnedWriteBatch,
    linker: Linker,
    reached: Reached,
}

impl<'a> ChainedBatch<'a> {
    /// The batch after `reached`.
    pub(super) fn after(reached: &Reached, database: &'a Database, batch: OwnedWriteBatch) -> Self {
        let linker = Linker::new(database.secret);
        Self { database, batch, linker, reached: *reached }
    }

    pub(super) fn insert(
        &mut self,
        keyspace: &Keyspace,
        key: impl Into<UserKey>,
        value: impl Into<UserValue>,
    ) {
        let (key, value) = (key.into(), value.into());
        self.count(keyspace);
        self.linker.row(keyspace.id(), VALUE, &key, value.len());
        self.batch.insert(keyspace, key, value);
    }

    pub(super) fn remove(&mut self, keyspace: &Keyspace, key: impl Into<UserKey>) {
        let key = key.into();
        self.count(keyspace);
        self.linker.row(keyspace.id(), TOMBSTONE, &key, 0);
        self.batch.remove(keyspace, key);
    }

    fn count(&mut self, keyspace: &Keyspace) {
        let next = self.reached.counter + 1;
        let id = keyspace.id();
        for (touched, counted) in self.reached.touched.iter_mut().zip(counted(self.database)) {
            if counted.id() == id {
                *touched = next;
            }
        }
        self.reached.messages += u64::from(id == self.database.messages.id());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Commits the batch with its rows of the chain, and returns how far the store is then written.
    pub(super) fn commit(mut self) -> fjall::Result<Reached> {
        let database = self.database;
        let mut row = ChainRow {
            counter: self.reached.counter + 1,
            messages: self.reached.messages,
            floor: self.batch_floor(),
            before: self.reached.link,
            link: Link::default(),
        };
        for (touched, keyspace) in self.reached.touched.into_iter().zip(counted(database)) {
            if touched == row.counter {
                let count = encode_count(row.counter);
                self.linker.row(keyspace.id(), VALUE, &KEY, count.len());
                self.batch.insert(keyspace, KEY, count);
            }
        }
        row.link = self.linker.link(&row);
        // Last in the batch: its link covers what comes before it.
        self.batch.insert(&database.positions, KEY, row.encode());
        self.batch.commit()?;
        let Reached { messages, touched, .. } = self.reached;
        Ok(Reached { counter: row.counter, messages, touched, link: row.link })
    }

    fn batch_floor(&self) -> u64 {
        let durable: &Snapshot = &self.database.durable();
        durable.seqno()
    }
}
