//! What every [`PushNotifier`] must do. Owns no adapter.

use std::sync::Arc;

use futures::future::join_all;

use super::property::{assert_waits, properties, result_of, run_property, start_and_cancel};
use pabal_core::model::{ChannelId, Message, MessageId, Timestamp, UserId};
use pabal_core::ports::{Notification, PushError, PushNotifier, PushPosition, QueuedNotification};

type Queue = Arc<dyn PushNotifier>;

/// Runs the suite. `fresh` creates an empty queue with exactly the given capacity.
///
/// # Panics
/// If the adapter breaks the contract.
pub async fn run<A: PushNotifier>(fresh: impl AsyncFn(usize) -> A) {
    let fresh = async |capacity| {
        let queue: Queue = Arc::new(fresh(capacity).await);
        queue
    };
    properties! { fresh(ROOMY) =>
        notifications_are_returned_in_order_and_unchanged
        reading_consumes_nothing
        a_read_starts_after_its_position_and_respects_its_limit
        a_read_waits_until_there_is_one
        every_waiting_reader_is_woken
        a_cancelled_read_loses_nothing
        an_empty_enqueue_changes_nothing
        only_confirmed_notifications_are_removed
        a_repeated_confirmation_changes_nothing
        a_read_waits_again_when_all_is_confirmed
        positions_rise_after_confirmations
        concurrent_enqueues_are_kept_once_each
        every_form_of_message_is_returned_unchanged
    }
    properties! { fresh(TIGHT) =>
        the_queue_is_full_at_capacity_until_confirmed
        confirming_twice_frees_capacity_once
        a_batch_above_the_capacity_is_refused_whole
    }
}

/// Runs the suite for durable adapters. `location` creates an empty location, `open` opens the
/// queue in it with the given capacity; dropping the queue closes it.
///
/// # Panics
/// If the adapter breaks the contract.
pub async fn run_reopened<P, A: PushNotifier>(
    location: impl AsyncFn() -> P,
    open: impl AsyncFn(&P, usize) -> A,
) {
    let open = async |location: &P, capacity| {
        let queue: Queue = Arc::new(open(location, capacity).await);
        queue
    };
    run_property("the_queue_is_unchanged_after_reopening", async {
        let location = location().await;
        the_queue_is_unchanged_after_reopening(async || open(&location, TIGHT).await).await;
    })
    .await;
    run_property("positions_rise_after_reopening_an_empty_queue", async {
        let location = location().await;
        positions_rise_after_reopening_an_empty_queue(async || open(&location, TIGHT).await).await;
    })
    .await;
}

const ROOMY: usize = 1_000;
const TIGHT: usize = 4;
const START: PushPosition = PushPosition(0);

fn notification(number: u64) -> Notification {
    Notification {
        user_id: UserId::new(100 + number),
        message: Message {
            message_id: MessageId::new(1_000 + number),
            channel_id: ChannelId::new(7),
            message_from: UserId::new(1),
            message_to: None,
            content: format!("notice {number}").into(),
            client_message_id: None,
        },
        queued_at: Timestamp::from_micros(1_790_000_000_000_000 + number),
    }
}

fn notifications(numbers: impl IntoIterator<Item = u64>) -> Vec<Notification> {
    numbers.into_iter().map(notification).collect()
}

async fn enqueue(queue: &Queue, numbers: impl IntoIterator<Item = u64>) {
    queue.enqueue(notifications(numbers)).await.expect("an enqueue");
}

async fn pending(queue: &Queue, after: PushPosition, limit: usize) -> Vec<QueuedNotification> {
    queue.pending(after, limit).await.expect("what is pending")
}

async fn confirm(queue: &Queue, entries: &[QueuedNotification]) {
    let positions: Vec<_> = entries.iter().map(|entry| entry.position).collect();
    queue.confirm(&positions).await.expect("a confirmation");
}

/// The numbers of the [`notification`]s in the queue, which must not be empty.
async fn held(queue: &Queue) -> Vec<u64> {
    numbers(&pending(queue, START, ROOMY).await)
}

fn numbers(entries: &[QueuedNotification]) -> Vec<u64> {
    assert!(entries.is_sorted_by(|one, next| one.position < next.position), "{entries:?}");
    let number = |entry: &QueuedNotification| entry.notification.user_id.get() - 100;
    entries.iter().map(number).collect()
}

async fn notifications_are_returned_in_order_and_unchanged(queue: Queue) {
    enqueue(&queue, 0..3).await;
    enqueue(&queue, [3]).await;
    let entries = pending(&queue, START, ROOMY).await;
    assert_eq!(numbers(&entries), [0, 1, 2, 3]);
    assert!(entries[0].position > START);
    let given: Vec<_> = entries.into_iter().map(|entry| entry.notification).collect();
    assert_eq!(given, notifications(0..4));
}

async fn reading_consumes_nothing(queue: Queue) {
    enqueue(&queue, 0..3).await;
    let first = pending(&queue, START, ROOMY).await;
    assert_eq!(pending(&queue, START, ROOMY).await, first);
    enqueue(&queue, [3]).await;
    let later = pending(&queue, START, ROOMY).await;
    assert_eq!(later[..3], first);
    assert_eq!(later.len(), 4);
}

async fn a_read_starts_after_its_position_and_respects_its_limit(queue: Queue) {
    enqueue(&queue, 0..5).await;
    let entries = pending(&queue, START, ROOMY).await;
    for (index, entry) in entries.iter().enumerate().take(4) {
        assert_eq!(pending(&queue, entry.position, ROOMY).await, entries[index + 1..]);
        assert_eq!(pending(&queue, entry.position, 1).await, entries[index + 1..index + 2]);
    }
    assert_eq!(pending(&queue, START, 2).await, entries[..2]);
    assert_eq!(pending(&queue, START, usize::MAX).await, entries);
}

async fn a_read_waits_until_there_is_one(queue: Queue) {
    let mut reader = tokio::spawn(reading(&queue, START));
    assert_waits(&mut reader).await;
    enqueue(&queue, 0..2).await;
    let read = result_of(reader).await;
    assert_eq!(numbers(&read), [0, 1]);
    let mut after_the_last = tokio::spawn(reading(&queue, read[1].position));
    assert_waits(&mut after_the_last).await;
    enqueue(&queue, [2]).await;
    assert_eq!(numbers(&result_of(after_the_last).await), [2]);
}

async fn every_waiting_reader_is_woken(queue: Queue) {
    let mut readers: Vec<_> = (0..3).map(|_| tokio::spawn(reading(&queue, START))).collect();
    for reader in &mut readers {
        assert_waits(reader).await;
    }
    enqueue(&queue, [0]).await;
    for reader in readers {
        assert_eq!(numbers(&result_of(reader).await), [0]);
    }
}

fn reading(
    queue: &Queue,
    after: PushPosition,
) -> impl Future<Output = Vec<QueuedNotification>> + use<> {
    let queue = Arc::clone(queue);
    async move { pending(&queue, after, ROOMY).await }
}

async fn a_cancelled_read_loses_nothing(queue: Queue) {
    start_and_cancel(queue.pending(START, ROOMY)).await;
    enqueue(&queue, 0..2).await;
    assert_eq!(held(&queue).await, [0, 1]);
}

async fn an_empty_enqueue_changes_nothing(queue: Queue) {
    enqueue(&queue, []).await;
    let mut reader = tokio::spawn(reading(&queue, START));
    assert_waits(&mut reader).await;
    enqueue(&queue, [0]).await;
    assert_eq!(numbers(&result_of(reader).await), [0]);
}

async fn only_confirmed_notifications_are_removed(queue: Queue) {
    enqueue(&queue, 0..6).await;
    let entries = pending(&queue, START, ROOMY).await;
    confirm(&queue, &entries[1..2]).await;
    confirm(&queue, &[entries[5].clone(), entries[3].clone()]).await;
    assert_eq!(held(&queue).await, [0, 2, 4]);
    confirm(&queue, &[]).await;
    assert_eq!(held(&queue).await, [0, 2, 4]);
}

async fn a_repeated_confirmation_changes_nothing(queue: Queue) {
    enqueue(&queue, 0..3).await;
    let entries = pending(&queue, START, ROOMY).await;
    for _ in 0..3 {
        confirm(&queue, &entries[..2]).await;
        assert_eq!(held(&queue).await, [2]);
    }
    queue
        .confirm(&[START, PushPosition(u64::MAX)])
        .await
        .expect("positions that were never assigned");
    assert_eq!(held(&queue).await, [2]);
}

async fn a_read_waits_again_when_all_is_confirmed(queue: Queue) {
    enqueue(&queue, 0..3).await;
    confirm(&queue, &pending(&queue, START, ROOMY).await).await;
    let mut reader = tokio::spawn(reading(&queue, START));
    assert_waits(&mut reader).await;
    enqueue(&queue, [3]).await;
    assert_eq!(numbers(&result_of(reader).await), [3]);
}

async fn positions_rise_after_confirmations(queue: Queue) {
    let mut last = START;
    for number in 0..5 {
        enqueue(&queue, [number]).await;
        let entries = pending(&queue, last, ROOMY).await;
        assert!(entries[0].position > last);
        last = entries[0].position;
        confirm(&queue, &entries).await;
    }
}

async fn concurrent_enqueues_are_kept_once_each(queue: Queue) {
    join_all((0..20).map(|caller| {
        let queue = Arc::clone(&queue);
        async move { enqueue(&queue, [2 * caller, 2 * caller + 1]).await }
    }))
    .await;
    let held = held(&queue).await;
    for pair in held.chunks(2) {
        assert_eq!(pair[1], pair[0] + 1, "a batch stays together: {held:?}");
    }
    let mut sorted = held;
    sorted.sort_unstable();
    assert_eq!(sorted, (0..40).collect::<Vec<_>>());
}

async fn every_form_of_message_is_returned_unchanged(queue: Queue) {
    let contents = ["파발 👩‍👩‍👧‍👦\u{0}".to_owned(), "x".repeat(16 * 1_024)];
    let mut given = Vec::new();
    for content in &contents {
        for (to, name) in [(None, Some("")), (Some(UserId::new(0)), None)] {
            let mut one = notification(given.len() as u64);
            one.message.content = content.as_str().into();
            one.message.message_to = to;
            one.message.client_message_id = name.map(Into::into);
            given.push(one);
        }
    }
    queue.enqueue(given.clone()).await.expect("an enqueue");
    let entries = pending(&queue, START, ROOMY).await;
    let read: Vec<_> = entries.into_iter().map(|entry| entry.notification).collect();
    assert!(read == given, "a notification changed");
}

async fn assert_full(queue: &Queue, numbers: impl IntoIterator<Item = u64>) {
    match queue.enqueue(notifications(numbers)).await {
        Err(error @ PushError::Full) => assert!(error.retryable()),
        other => panic!("should be full, but returned {other:?}"),
    }
}

async fn the_queue_is_full_at_capacity_until_confirmed(queue: Queue) {
    enqueue(&queue, 0..4).await;
    assert_full(&queue, [4]).await;
    let entries = pending(&queue, START, ROOMY).await;
    confirm(&queue, &entries[1..3]).await;
    enqueue(&queue, [5, 6]).await;
    assert_full(&queue, [7]).await;
    assert_eq!(held(&queue).await, [0, 3, 5, 6]);
}

async fn confirming_twice_frees_capacity_once(queue: Queue) {
    enqueue(&queue, 0..4).await;
    let first = pending(&queue, START, 1).await;
    confirm(&queue, &first).await;
    confirm(&queue, &first).await;
    confirm(&queue, &[first[0].clone(), first[0].clone()]).await;
    queue.confirm(&[PushPosition(u64::MAX)]).await.expect("a position that was never assigned");
    enqueue(&queue, [4]).await;
    assert_full(&queue, [5]).await;
}

async fn a_batch_above_the_capacity_is_refused_whole(queue: Queue) {
    enqueue(&queue, 0..2).await;
    assert_full(&queue, 2..5).await;
    assert_eq!(held(&queue).await, [0, 1]);
    enqueue(&queue, 2..4).await;
    assert_eq!(held(&queue).await, [0, 1, 2, 3]);
}

async fn the_queue_is_unchanged_after_reopening(open: impl AsyncFn() -> Queue) {
    let queue = open().await;
    enqueue(&queue, 0..4).await;
    let entries = pending(&queue, START, ROOMY).await;
    confirm(&queue, &entries[1..2]).await;
    drop(queue);
    let queue = open().await;
    let kept = pending(&queue, START, ROOMY).await;
    assert_eq!(kept, [&entries[..1], &entries[2..]].concat());
    enqueue(&queue, [4]).await;
    assert_full(&queue, [5]).await;
    assert_eq!(held(&queue).await, [0, 2, 3, 4]);
}

async fn positions_rise_after_reopening_an_empty_queue(open: impl AsyncFn() -> Queue) {
    let queue = open().await;
    enqueue(&queue, 0..3).await;
    let entries = pending(&queue, START, ROOMY).await;
    confirm(&queue, &entries).await;
    drop(queue);
    let queue = open().await;
    enqueue(&queue, [3]).await;
    let later = pending(&queue, entries[2].position, ROOMY).await;
    assert_eq!(numbers(&later), [3]);
}
