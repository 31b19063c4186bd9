//! What a durable [`HistoryStore`] must still know after it was closed
//! and opened again. Crashes are the adapters' own tests.

use std::sync::Arc;

use super::{
    ANN, BEN, NOTHING, ROOM, Store, all, append, append_to, find, get, head, id, id_in, named,
    position, said, sent, unread,
};
use crate::property::ends;
use pabal_core::model::{ChannelId, Message, UserId};
use pabal_core::ports::{Appended, HistoryStore, PageFrom};

/// Runs the suite for durable adapters. `place` makes an empty place, `open` opens the store that
/// is kept there; dropping the store closes it.
///
/// # Panics
/// Where the adapter breaks the contract.
pub async fn run_reopened<P, A: HistoryStore>(
    place: impl AsyncFn() -> P,
    open: impl AsyncFn(&P) -> A,
) {
    let open = async |place: &P| {
        let store: Store = Arc::new(open(place).await);
        store
    };
    ends("everything_is_there_after_reopening", async {
        let place = place().await;
        everything_is_there_after_reopening(async || open(&place).await).await;
    })
    .await;
    ends("an_owner_goes_on_after_reopening", async {
        let place = place().await;
        an_owner_goes_on_after_reopening(async || open(&place).await).await;
    })
    .await;
}

async fn everything_is_there_after_reopening(open: impl AsyncFn() -> Store) {
    let mut messages: Vec<Message> = (1..=50).map(|ms| said(ROOM, id(ms), ANN)).collect();
    messages.push(named("이름", said(ROOM, id(60), BEN)));
    messages.push(Message { message_to: Some(UserId::new(9)), ..said(ROOM, id(61), BEN) });
    messages.push(Message { content: "긴 ".repeat(4_000).into(), ..said(ROOM, id(62), BEN) });
    let store = open().await;
    assert_eq!(all(&store, ROOM).await, [], "the place was not empty");
    append(&store, &messages).await;
    append_to(&store, 3, &[said(ChannelId::new(8), id_in(3, 7), ANN)]).await;
    let newest = store.page(ROOM, PageFrom::Newest, 10).await.expect("a page");
    drop(store);
    for _ in 0..2 {
        let store = open().await;
        assert_eq!(all(&store, ROOM).await, messages);
        assert_eq!(store.page(ROOM, PageFrom::Newest, 10).await.expect("a page"), newest);
        assert_eq!(get(&store, &messages[51]).await.as_ref(), Some(&messages[51]));
        assert_eq!(head(&store, ROOM).await, id(62));
        assert_eq!(position(&store, 0).await, id(62));
        assert_eq!(position(&store, 3).await, id_in(3, 7));
        assert_eq!(position(&store, 1).await, NOTHING);
        assert_eq!(find(&store, &messages[50]).await, Some(id(60)));
        assert_eq!(unread(&store, NOTHING, BEN, 100).await, 50);
    }
}

async fn an_owner_goes_on_after_reopening(open: impl AsyncFn() -> Store) {
    let batch = [sent("a", 1), sent("b", 2), sent("a", 3)];
    let answers = append(&open().await, &batch).await;
    assert_eq!(append(&open().await, &batch).await, answers, "the same batch again");
    let store = open().await;
    assert_eq!(append(&store, &[sent("b", 4)]).await, [Appended::Repeat(id(2))]);
    assert_eq!(append(&store, &[sent("c", 5)]).await, [Appended::Stored]);
    assert_eq!(position(&store, 0).await, id(5));
    drop(store);
    assert_eq!(all(&open().await, ROOM).await, [sent("a", 1), sent("b", 2), sent("c", 5)]);
}
