//! What a durable [`HistoryStore`] must keep when it is closed and opened again. Crashes are tested
//! by the adapters.

use std::sync::Arc;

use super::{
    ANN, BEN, CHANNEL, NO_ID, Store, all, append, append_to, find, get, head, id, id_in, named,
    new_message, position, sent, unread,
};
use crate::property::run_property;
use pabal_core::model::{ChannelId, Message, UserId};
use pabal_core::ports::{Appended, HistoryStore, PageFrom};

/// Runs the suite for durable adapters. `location` creates an empty location, `open` opens the
/// store in it; dropping the store closes it.
///
/// # Panics
/// If the adapter breaks the contract.
pub async fn run_reopened<P, A: HistoryStore>(
    location: impl AsyncFn() -> P,
    open: impl AsyncFn(&P) -> A,
) {
    let open = async |location: &P| {
        let store: Store = Arc::new(open(location).await);
        store
    };
    run_property("everything_is_kept_after_reopening", async {
        let location = location().await;
        everything_is_kept_after_reopening(async || open(&location).await).await;
    })
    .await;
    run_property("an_owner_continues_after_reopening", async {
        let location = location().await;
        an_owner_continues_after_reopening(async || open(&location).await).await;
    })
    .await;
}

async fn everything_is_kept_after_reopening(open: impl AsyncFn() -> Store) {
    let mut messages: Vec<Message> = (1..=50).map(|ms| new_message(CHANNEL, id(ms), ANN)).collect();
    messages.push(named("이름", new_message(CHANNEL, id(60), BEN)));
    messages
        .push(Message { message_to: Some(UserId::new(9)), ..new_message(CHANNEL, id(61), BEN) });
    messages
        .push(Message {
            content: "긴 ".repeat(4_000).into(), ..new_message(CHANNEL, id(62), BEN)
        });
    let store = open().await;
    assert_eq!(all(&store, CHANNEL).await, [], "the location was not empty");
    append(&store, &messages).await;
    append_to(&store, 3, &[new_message(ChannelId::new(8), id_in(3, 7), ANN)]).await;
    let newest = store.page(CHANNEL, PageFrom::Newest, 10.into()).await.expect("a page");
    drop(store);
    for _ in 0..2 {
        let store = open().await;
        assert_eq!(all(&store, CHANNEL).await, messages);
        assert_eq!(store.page(CHANNEL, PageFrom::Newest, 10.into()).await.expect("a page"), newest);
        assert_eq!(get(&store, &messages[51]).await.as_ref(), Some(&messages[51]));
        assert_eq!(head(&store, CHANNEL).await, id(62));
        assert_eq!(position(&store, 0).await, id(62));
        assert_eq!(position(&store, 3).await, id_in(3, 7));
        assert_eq!(position(&store, 1).await, NO_ID);
        assert_eq!(find(&store, &messages[50]).await, Some(id(60)));
        assert_eq!(unread(&store, NO_ID, BEN, 100).await, 50);
    }
}

async fn an_owner_continues_after_reopening(open: impl AsyncFn() -> Store) {
    let batch = [sent("a", 1), sent("b", 2), sent("a", 3)];
    let outcomes = append(&open().await, &batch).await;
    assert_eq!(append(&open().await, &batch).await, outcomes, "the same batch again");
    let store = open().await;
    assert_eq!(append(&store, &[sent("b", 4)]).await, [Appended::Repeat(id(2))]);
    assert_eq!(append(&store, &[sent("c", 5)]).await, [Appended::Stored]);
    assert_eq!(position(&store, 0).await, id(5));
    drop(store);
    assert_eq!(all(&open().await, CHANNEL).await, [sent("a", 1), sent("b", 2), sent("c", 5)]);
}
