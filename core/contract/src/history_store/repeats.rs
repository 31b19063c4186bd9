//! When a send is a repeat, and that a repeat is not stored.

use super::{
    ANN, BEN, CHANNEL, NO_ID, Store, all, append, find, get, head, id, named, new_message, sent,
    unread,
};
use pabal_core::model::{ChannelId, Message};
use pabal_core::ports::{Appended, SEND_KEY_WINDOW};

pub(super) async fn a_repeat_within_a_batch_names_the_first(store: Store) {
    let batch = [sent("a", 1), sent("a", 2), sent("a", 3)];
    let repeat = Appended::Repeat(id(1));
    assert_eq!(append(&store, &batch).await, [Appended::Stored, repeat, repeat]);
    assert_eq!(all(&store, CHANNEL).await, batch[..1]);
}

pub(super) async fn a_repeat_in_a_later_batch_names_the_first(store: Store) {
    append(&store, &[sent("a", 1), sent("b", 2)]).await;
    for ms in 3..6 {
        let outcomes = append(&store, &[sent("b", 2 * ms), sent("a", 2 * ms + 1)]).await;
        assert_eq!(outcomes, [Appended::Repeat(id(2)), Appended::Repeat(id(1))]);
    }
}

pub(super) async fn a_repeat_is_not_stored(store: Store) {
    let (first, repeat) = (sent("a", 1), sent("a", 2));
    append(&store, &[first.clone(), repeat.clone()]).await;
    assert_eq!(get(&store, &repeat).await, None);
    assert_eq!(head(&store, CHANNEL).await, id(1));
    assert_eq!(unread(&store, NO_ID, BEN, 10).await, 1);
    assert_eq!(find(&store, &first).await, Some(id(1)));
}

pub(super) async fn only_the_same_send_is_a_repeat(store: Store) {
    let others = [
        named("a", new_message(CHANNEL, id(2), BEN)),
        named("a", new_message(ChannelId::new(7_001), id(3), ANN)),
        sent("A", 4),
        sent("a ", 5),
        sent("", 6),
        new_message(CHANNEL, id(7), ANN),
        new_message(CHANNEL, id(8), ANN),
    ];
    append(&store, &[sent("a", 1)]).await;
    assert_eq!(append(&store, &others).await, [Appended::Stored; 7]);
    // Another content with the same client_message_id is still a repeat.
    let reworded = Message { content: "other words".into(), ..sent("a", 9) };
    assert_eq!(append(&store, &[reworded]).await, [Appended::Repeat(id(1))]);
}

pub(super) async fn a_send_is_known_throughout_the_window(store: Store) {
    let window = u64::try_from(SEND_KEY_WINDOW.as_millis()).expect("a short window");
    append(&store, &[sent("a", 1)]).await;
    for ms in [window / 2, window, window + 1] {
        assert_eq!(append(&store, &[sent("a", ms)]).await, [Appended::Repeat(id(1))], "{ms}");
        assert_eq!(find(&store, &sent("a", ms)).await, Some(id(1)));
    }
}

pub(super) async fn find_sent_names_the_message_of_that_send_only(store: Store) {
    append(&store, &[sent("a", 1), new_message(CHANNEL, id(2), ANN), sent("b", 3)]).await;
    assert_eq!(find(&store, &sent("a", 9)).await, Some(id(1)));
    assert_eq!(find(&store, &sent("b", 9)).await, Some(id(3)));
    for unknown in [
        sent("c", 9),
        named("a", new_message(CHANNEL, id(9), BEN)),
        named("a", new_message(ChannelId::new(6_999), id(9), ANN)),
    ] {
        assert_eq!(find(&store, &unknown).await, None);
    }
}
