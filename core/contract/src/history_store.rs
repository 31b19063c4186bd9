//! What every [`HistoryStore`] must do: storing, positions and counts. Owns no adapter. Repeats are
//! in `repeats`, pages in `paging`, concurrent callers in `together`, restarts in `reopened`.

use std::sync::Arc;
use std::time::Duration;

use super::property::properties;
use pabal_core::model::{ChannelId, Message, MessageId, Partition, SendKey, Timestamp, UserId};
use pabal_core::ports::{Appended, HistoryStore, PageFrom, Unread};

mod repeats;
mod paging;
mod together;
mod reopened;

use paging::*;
use repeats::*;
use together::*;

pub use reopened::run_reopened;

type Store = Arc<dyn HistoryStore>;

/// Runs the suite. `fresh` creates an empty store that accepts partitions 0 to 3.
///
/// # Panics
/// If the adapter breaks the contract.
pub async fn run<A: HistoryStore>(fresh: impl AsyncFn() -> A) {
    let fresh = async || {
        let store: Store = Arc::new(fresh().await);
        store
    };
    properties! { fresh() =>
        an_empty_store_has_nothing
        a_message_is_returned_unchanged
        content_up_to_its_limit_is_returned_unchanged
        a_message_is_found_in_its_channel_only
        an_append_returns_an_outcome_for_each_message_in_order
        an_empty_append_changes_nothing
        a_repeated_append_returns_the_same_and_changes_nothing
        the_stored_position_is_the_last_id_of_its_partition
        the_stored_position_never_moves_back
        a_repeat_moves_the_stored_position
        a_repeat_within_a_batch_names_the_first
        a_repeat_in_a_later_batch_names_the_first
        a_repeat_is_not_stored
        only_the_same_send_is_a_repeat
        a_send_is_known_throughout_the_window
        find_sent_names_the_message_of_that_send_only
        heads_are_in_the_order_of_the_request
        unread_counts_later_messages_of_other_users
        unread_looks_at_a_limited_number_of_messages
        channels_with_adjacent_ids_are_separate
    }
    properties! { fresh() =>
        after_reads_oldest_first
        before_reads_newest_first
        newest_reads_newest_first
        around_reads_both_sides_oldest_first
        has_more_is_exact_at_the_borders
        an_empty_page_reports_whether_there_is_more
        pages_continue_across_long_gaps
        a_page_ends_at_its_limit_of_bytes
        random_histories_match_the_model
    }
    properties! { fresh() =>
        two_interleaved_owners_store_each_message_once
        two_concurrent_owners_store_each_message_once
        partitions_append_concurrently
        an_acknowledged_message_is_readable
        no_reader_sees_a_smaller_id_later
        a_cancelled_append_can_be_repeated
    }
}

const NO_ID: MessageId = MessageId::new(0);
const CHANNEL: ChannelId = ChannelId::new(7_000);
const ANN: UserId = UserId::new(1);
const BEN: UserId = UserId::new(2);

/// All ids of the suite are after this moment.
const BASE: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn partition(number: u16) -> Partition {
    Partition::new(number).expect("a partition")
}

/// The id of `partition` that is `ms` after the base.
fn id_in(number: u16, ms: u64) -> MessageId {
    MessageId::first_at(BASE.plus(Duration::from_millis(ms)), partition(number))
}

/// An id of partition 0, which most properties use.
fn id(ms: u64) -> MessageId {
    id_in(0, ms)
}

/// A message of `from` in `channel_id`, without a client_message_id.
fn new_message(channel_id: ChannelId, message_id: MessageId, from: UserId) -> Message {
    Message {
        message_id,
        channel_id,
        message_from: from,
        message_to: None,
        content: format!("{message_id} of {channel_id}").into(),
        client_message_id: None,
    }
}

/// The same message with a client_message_id.
fn named(name: &str, message: Message) -> Message {
    Message { client_message_id: Some(name.into()), ..message }
}

fn sent(name: &str, ms: u64) -> Message {
    named(name, new_message(CHANNEL, id(ms), ANN))
}

fn key(message: &Message) -> SendKey {
    message.send_key().expect("a named send")
}

async fn append(store: &Store, messages: &[Message]) -> Vec<Appended> {
    append_to(store, 0, messages).await
}

async fn append_to(store: &Store, number: u16, messages: &[Message]) -> Vec<Appended> {
    store.append(partition(number), messages.to_vec()).await.expect("an append")
}

async fn position(store: &Store, number: u16) -> MessageId {
    store.stored_position(partition(number)).await.expect("a position")
}

async fn get(store: &Store, message: &Message) -> Option<Message> {
    store.get(message.channel_id, message.message_id).await.expect("a message")
}

async fn head(store: &Store, channel_id: ChannelId) -> MessageId {
    store.heads(&[channel_id]).await.expect("heads")[0]
}

/// Every message of a channel, oldest first.
async fn all(store: &Store, channel_id: ChannelId) -> Vec<Message> {
    let page =
        store.page(channel_id, PageFrom::After(NO_ID), usize::MAX.into()).await.expect("a page");
    assert!(!page.has_more, "more than all");
    page.messages
}

async fn find(store: &Store, message: &Message) -> Option<MessageId> {
    store.find_sent(key(message)).await.expect("a look")
}

async fn unread(store: &Store, after: MessageId, reader: UserId, rows: usize) -> usize {
    store.count_unread(CHANNEL, after, reader, rows).await.expect("a count").messages
}

async fn an_empty_store_has_nothing(store: Store) {
    assert_eq!(position(&store, 0).await, NO_ID);
    assert_eq!(head(&store, CHANNEL).await, NO_ID);
    assert_eq!(all(&store, CHANNEL).await, []);
    for from in [PageFrom::Newest, PageFrom::Before(id(1)), PageFrom::Around(id(1))] {
        let page = store.page(CHANNEL, from, 10.into()).await.expect("a page");
        assert!(page.messages.is_empty() && !page.has_more, "{from:?}");
    }
    assert_eq!(get(&store, &sent("a", 1)).await, None);
    assert_eq!(find(&store, &sent("a", 1)).await, None);
    assert_eq!(unread(&store, NO_ID, ANN, 10).await, 0);
    assert_eq!(store.heads(&[]).await.expect("heads"), []);
}

async fn a_message_is_returned_unchanged(store: Store) {
    let mut messages = Vec::new();
    let texts =
        ["a", " ", "파발", "👩‍👩‍👧‍👦", "\u{0}\n\r\t\"\\", "\u{10ffff}\u{feff}\u{202e}", "{\"json\":1}"];
    for content in texts {
        for to in [None, Some(UserId::new(0)), Some(UserId::new(i64::MAX as u64))] {
            for name in [None, Some("n"), Some("이름 \u{0}"), Some("")] {
                let ms = messages.len() as u64;
                messages.push(Message {
                    content: content.into(),
                    message_to: to,
                    // A different client_message_id for each message, so that none is a repeat.
                    client_message_id: name.map(|name| format!("{name}{ms}").into()),
                    ..new_message(CHANNEL, id(ms), BEN)
                });
            }
        }
    }
    append(&store, &messages).await;
    assert_eq!(all(&store, CHANNEL).await, messages);
    for message in &messages {
        assert_eq!(get(&store, message).await.as_ref(), Some(message));
    }
}

async fn content_up_to_its_limit_is_returned_unchanged(store: Store) {
    const LIMIT: usize = 16 * 1_024;
    let contents = ["x".repeat(LIMIT), "\u{10ffff}".repeat(LIMIT / 4), "한".repeat(LIMIT / 3)];
    let messages: Vec<_> = (0..)
        .zip(contents)
        .map(|(ms, content)| Message {
            content: content.into(),
            ..new_message(CHANNEL, id(ms), ANN)
        })
        .collect();
    append(&store, &messages).await;
    assert!(all(&store, CHANNEL).await == messages, "large contents changed");
}

async fn a_message_is_found_in_its_channel_only(store: Store) {
    let message = new_message(CHANNEL, id(5), ANN);
    append(&store, std::slice::from_ref(&message)).await;
    assert_eq!(get(&store, &message).await, Some(message.clone()));
    assert_eq!(get(&store, &new_message(CHANNEL, id(4), ANN)).await, None);
    assert_eq!(get(&store, &new_message(CHANNEL, id(6), ANN)).await, None);
    assert_eq!(get(&store, &new_message(ChannelId::new(7_001), id(5), ANN)).await, None);
}

async fn an_append_returns_an_outcome_for_each_message_in_order(store: Store) {
    let batch = [sent("a", 1), new_message(CHANNEL, id(2), ANN), sent("a", 3), sent("b", 4)];
    let repeat = Appended::Repeat(id(1));
    let expected = [Appended::Stored, Appended::Stored, repeat, Appended::Stored];
    assert_eq!(append(&store, &batch).await, expected);
    let ids: Vec<_> = all(&store, CHANNEL).await.iter().map(|message| message.message_id).collect();
    assert_eq!(ids, [id(1), id(2), id(4)]);
}

async fn an_empty_append_changes_nothing(store: Store) {
    assert_eq!(append(&store, &[]).await, []);
    assert_eq!(position(&store, 0).await, NO_ID);
    append(&store, &[new_message(CHANNEL, id(1), ANN)]).await;
    assert_eq!(append(&store, &[]).await, []);
    assert_eq!(position(&store, 0).await, id(1));
}

async fn a_repeated_append_returns_the_same_and_changes_nothing(store: Store) {
    let earlier = [sent("a", 1), sent("b", 2)];
    let batch = [sent("c", 3), sent("a", 4), new_message(CHANNEL, id(5), BEN), sent("c", 6)];
    append(&store, &earlier).await;
    let first = append(&store, &batch).await;
    let (stored, position_then) = (all(&store, CHANNEL).await, position(&store, 0).await);
    for again in [&batch[..], &batch[1..], &batch[3..]] {
        assert_eq!(append(&store, again).await, first[batch.len() - again.len()..]);
    }
    assert_eq!(append(&store, &earlier).await, [Appended::Stored; 2]);
    // A stored message is never replaced, whatever a replay contains.
    let replayed = Message { content: "older".into(), ..batch[2].clone() };
    assert_eq!(append(&store, &[replayed]).await, [Appended::Stored]);
    assert_eq!(all(&store, CHANNEL).await, stored);
    assert_eq!(position(&store, 0).await, position_then);
}

async fn the_stored_position_is_the_last_id_of_its_partition(store: Store) {
    append_to(
        &store,
        1,
        &[new_message(CHANNEL, id_in(1, 1), ANN), new_message(CHANNEL, id_in(1, 8), ANN)],
    )
    .await;
    append_to(&store, 2, &[new_message(ChannelId::new(9), id_in(2, 3), ANN)]).await;
    assert_eq!(position(&store, 0).await, NO_ID);
    assert_eq!(position(&store, 1).await, id_in(1, 8));
    assert_eq!(position(&store, 2).await, id_in(2, 3));
    assert_eq!(position(&store, 3).await, NO_ID);
}

async fn the_stored_position_never_moves_back(store: Store) {
    let messages: Vec<_> = (1..=6).map(|ms| new_message(CHANNEL, id(ms), ANN)).collect();
    append(&store, &messages).await;
    for older in [&messages[..1], &messages[..5], &messages[2..4]] {
        append(&store, older).await;
        assert_eq!(position(&store, 0).await, id(6));
    }
}

async fn a_repeat_moves_the_stored_position(store: Store) {
    append(&store, &[sent("a", 1)]).await;
    assert_eq!(append(&store, &[sent("a", 2)]).await, [Appended::Repeat(id(1))]);
    assert_eq!(position(&store, 0).await, id(2), "a batch that consists of a repeat");
    append(&store, &[sent("b", 3), sent("a", 4)]).await;
    assert_eq!(position(&store, 0).await, id(4), "a repeat at the end of a batch");
}

async fn heads_are_in_the_order_of_the_request(store: Store) {
    let [one, two, none] = [10, 11, 12].map(ChannelId::new);
    append(
        &store,
        &[new_message(one, id(1), ANN), new_message(one, id(2), ANN), new_message(two, id(3), BEN)],
    )
    .await;
    let asked = [none, two, one, none, two];
    let heads = store.heads(&asked).await.expect("heads");
    assert_eq!(heads, [NO_ID, id(3), id(2), NO_ID, id(3)]);
    append(&store, &[new_message(one, id(4), BEN)]).await;
    assert_eq!(head(&store, one).await, id(4));
    assert_eq!(head(&store, two).await, id(3));
}

async fn unread_counts_later_messages_of_other_users(store: Store) {
    let of = |ms: u64| new_message(CHANNEL, id(ms), if ms.is_multiple_of(3) { BEN } else { ANN });
    let messages: Vec<_> = (1..=9).map(of).collect();
    append(&store, &messages).await;
    for after in 0..=10 {
        let later = || messages.iter().filter(move |message| message.message_id > id(after));
        for reader in [ANN, BEN, UserId::new(3)] {
            let expected = later().filter(|message| message.message_from != reader).count();
            assert_eq!(unread(&store, id(after), reader, 100).await, expected, "{after}");
        }
    }
    assert_eq!(unread(&store, NO_ID, ANN, 100).await, 3);
}

async fn unread_looks_at_a_limited_number_of_messages(store: Store) {
    // Ann's own messages are looked at too, although they are not counted for her.
    let of = |ms: u64| new_message(CHANNEL, id(ms), if ms > 10 { BEN } else { ANN });
    let messages: Vec<_> = (1..=20).map(of).collect();
    append(&store, &messages).await;
    let cases = [(0, 0, 0), (1, 1, 0), (10, 10, 0), (11, 10, 1), (19, 10, 9), (20, 10, 10)];
    for (rows, of_ann, of_ben) in cases {
        for (reader, messages) in [(BEN, of_ann), (ANN, of_ben)] {
            let unread = store.count_unread(CHANNEL, NO_ID, reader, rows).await.expect("a count");
            assert_eq!(unread, Unread { messages, at_least: rows < 20 }, "{rows} rows");
        }
    }
    for rows in [21, 5_000, usize::MAX] {
        let unread = store.count_unread(CHANNEL, NO_ID, ANN, rows).await.expect("a count");
        assert_eq!(unread, Unread { messages: 10, at_least: false });
    }
    let last = store.count_unread(CHANNEL, id(20), ANN, 0).await.expect("a count");
    assert_eq!(last, Unread::default(), "nothing lies above");
}

async fn channels_with_adjacent_ids_are_separate(store: Store) {
    // Ids that are adjacent as numbers or in their last byte, and both ends of the storable range.
    let raw = [0, 1, 254, 255, 256, 257, 65_535, 65_536, i64::MAX as u64 - 1, i64::MAX as u64];
    let channels = raw.map(ChannelId::new);
    let mut batch = Vec::new();
    for (ms, channel_id) in (1..).zip(channels.into_iter().chain(channels)) {
        batch.push(new_message(channel_id, id(ms), ANN));
    }
    append(&store, &batch).await;
    for channel_id in channels {
        let own: Vec<_> = batch.iter().filter(|m| m.channel_id == channel_id).cloned().collect();
        let newest: Vec<_> = own.iter().rev().cloned().collect();
        let page =
            async |from| store.page(channel_id, from, 50.into()).await.expect("a page").messages;
        assert_eq!(page(PageFrom::After(NO_ID)).await, own);
        assert_eq!(page(PageFrom::Newest).await, newest);
        assert_eq!(page(PageFrom::Before(MessageId::new(i64::MAX as u64))).await, newest);
        assert_eq!(page(PageFrom::Around(own[1].message_id)).await, own);
        assert_eq!(page(PageFrom::After(own[1].message_id)).await, []);
        assert_eq!(page(PageFrom::Before(own[0].message_id)).await, []);
        assert_eq!(head(&store, channel_id).await, own[1].message_id);
        let count = store.count_unread(channel_id, NO_ID, BEN, 50).await.expect("a count");
        assert_eq!(count, Unread { messages: 2, at_least: false });
    }
    for absent in [2, 253, 258, 65_537].map(ChannelId::new) {
        assert_eq!(all(&store, absent).await, []);
        assert_eq!(head(&store, absent).await, NO_ID);
    }
}
