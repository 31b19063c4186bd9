//! What concurrent callers may see of each other: two owners of a partition, concurrent appends,
//! reads during appends, a cancelled call.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{join, join_all};

use super::{
    ANN, BEN, CHANNEL, NO_ID, Store, all, append, append_to, get, head, id, id_in, named,
    new_message, partition, position, sent,
};
use crate::property::result_of;
use pabal_core::model::{ChannelId, Message, MessageId};
use pabal_core::ports::{Appended, PageFrom};

/// The log entries that both owners read: every third one repeats the send before it.
fn entries(count: u64) -> (Vec<Message>, Vec<Appended>) {
    let (mut entries, mut expected) = (Vec::new(), Vec::new());
    for ms in 1..=count {
        let repeat = ms.is_multiple_of(3);
        entries.push(sent(&format!("send {}", if repeat { ms - 1 } else { ms }), ms));
        expected.push(if repeat { Appended::Repeat(id(ms - 1)) } else { Appended::Stored });
    }
    (entries, expected)
}

async fn assert_stored_once(store: &Store, entries: &[Message], expected: &[Appended]) {
    let stored = entries.iter().zip(expected).filter(|(_, outcome)| **outcome == Appended::Stored);
    let stored: Vec<_> = stored.map(|(entry, _)| entry.clone()).collect();
    assert_eq!(all(store, CHANNEL).await, stored);
    let last = entries.last().expect("entries").message_id;
    assert_eq!(position(store, 0).await, last);
}

pub(super) async fn two_interleaved_owners_store_each_message_once(store: Store) {
    let (entries, expected) = entries(30);
    // The old owner lags, catches up and overtakes, each in batches of its own size.
    for range in [0..7, 0..4, 4..15, 7..9, 9..11, 11..30, 15..16, 16..30, 0..30] {
        let outcomes = append(&store, &entries[range.clone()]).await;
        assert_eq!(outcomes, expected[range.clone()], "{range:?}");
    }
    assert_stored_once(&store, &entries, &expected).await;
}

pub(super) async fn two_concurrent_owners_store_each_message_once(store: Store) {
    let (entries, expected) = entries(60);
    let owner = async |size: usize| {
        let mut outcomes = Vec::new();
        for batch in entries.chunks(size) {
            outcomes.extend(append(&store, batch).await);
        }
        outcomes
    };
    let (one, two) = join(owner(4), owner(7)).await;
    assert_eq!(one, expected);
    assert_eq!(two, expected);
    assert_stored_once(&store, &entries, &expected).await;
}

pub(super) async fn partitions_append_concurrently(store: Store) {
    let channel = |number: u16| ChannelId::new(u64::from(number));
    join_all((0..4).map(|number| {
        let store = Arc::clone(&store);
        async move {
            for ms in 1..=10 {
                let message = new_message(channel(number), id_in(number, ms), ANN);
                assert_eq!(append_to(&store, number, &[message]).await, [Appended::Stored]);
            }
        }
    }))
    .await;
    for number in 0..4 {
        let ids: Vec<_> = all(&store, channel(number)).await.iter().map(|m| m.message_id).collect();
        assert_eq!(ids, (1..=10).map(|ms| id_in(number, ms)).collect::<Vec<_>>());
        assert_eq!(position(&store, number).await, id_in(number, 10));
    }
}

pub(super) async fn an_acknowledged_message_is_readable(store: Store) {
    for ms in 1..=20 {
        let message = named(&format!("send {ms}"), new_message(CHANNEL, id(ms), BEN));
        append(&store, std::slice::from_ref(&message)).await;
        assert_eq!(head(&store, CHANNEL).await, id(ms));
        assert_eq!(position(&store, 0).await, id(ms));
        assert_eq!(get(&store, &message).await, Some(message));
    }
}

/// Invariant I2 at the history store: a reader that continues from the highest id it holds, in
/// either direction of paging, misses no message.
pub(super) async fn no_reader_sees_a_smaller_id_later(store: Store) {
    const BATCHES: u64 = 40;
    const BATCH: u64 = 25;
    let done = Arc::new(AtomicBool::new(false));
    let follower = tokio::spawn(follow(Arc::clone(&store), Arc::clone(&done)));
    let watcher = tokio::spawn(watch_newest(Arc::clone(&store), Arc::clone(&done)));
    for batch in 0..BATCHES {
        let ids = (1..=BATCH).map(|ms| id(batch * BATCH + ms));
        let messages: Vec<_> = ids.map(|id| new_message(CHANNEL, id, ANN)).collect();
        append(&store, &messages).await;
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::SeqCst);
    let expected: Vec<_> = (1..=BATCHES * BATCH).map(id).collect();
    assert_eq!(result_of(follower).await, expected);
    result_of(watcher).await;
}

async fn follow(store: Store, done: Arc<AtomicBool>) -> Vec<MessageId> {
    let mut seen: Vec<MessageId> = Vec::new();
    loop {
        // Loaded before the read, so that the last read starts after the last append.
        let last_round = done.load(Ordering::SeqCst);
        let after = seen.last().copied().unwrap_or(NO_ID);
        let page = store.page(CHANNEL, PageFrom::After(after), 1_000.into()).await.expect("a page");
        seen.extend(page.messages.iter().map(|message| message.message_id));
        if last_round {
            return seen;
        }
        tokio::task::yield_now().await;
    }
}

/// A page of the newest messages has no gap: an id that appears between two known ids came too
/// late.
async fn watch_newest(store: Store, done: Arc<AtomicBool>) {
    let mut known = BTreeSet::new();
    while !done.load(Ordering::SeqCst) {
        let page = store.page(CHANNEL, PageFrom::Newest, 1_000.into()).await.expect("a page");
        let ids: BTreeSet<_> = page.messages.iter().map(|message| message.message_id).collect();
        let highest_known = known.last().copied().unwrap_or(NO_ID);
        let late = ids.difference(&known).find(|id| **id < highest_known);
        assert_eq!(late, None, "below {highest_known}");
        known.extend(ids);
        tokio::task::yield_now().await;
    }
}

pub(super) async fn a_cancelled_append_can_be_repeated(store: Store) {
    let (entries, expected) = entries(12);
    for polls in 0..3 {
        let mut call = store.append(partition(0), entries.clone());
        for _ in 0..polls {
            if futures::poll!(call.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(append(&store, &entries).await, expected);
    assert_stored_once(&store, &entries, &expected).await;
}
