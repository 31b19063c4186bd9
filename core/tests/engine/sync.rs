//! Pages and synchronisations end at their limit of bytes, and read little more than they return.

use pabal_core::engine::{Engine, Synced};
use pabal_core::model::{ChannelId, Message, MessageId, UserId};
use pabal_core::ports::PageFrom;
use pabal_core::protocol::{Cursors, MessageView};

use crate::harness::{World, send_hello, settle, text};

/// The content of a message that takes 6 KB of JSON.
const CONTROLS: usize = 1_000;

async fn send_controls(engine: &Engine, from: UserId, channel_id: ChannelId) -> MessageId {
    let send = text(channel_id, &"\u{1}".repeat(CONTROLS));
    engine.submit(from, send).await.expect("is stored").message.message_id
}

/// The bytes of JSON that messages take.
fn json_bytes<'a>(messages: impl IntoIterator<Item = &'a Message>) -> usize {
    let bytes = |message| serde_json::to_vec(&MessageView::from(message)).expect("json").len();
    messages.into_iter().map(bytes).sum()
}

#[tokio::test(start_paused = true)]
async fn a_page_ends_at_its_limit_of_json_and_reads_no_more() {
    let world = World::with(|limits| limits.page_bytes = 20_000);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut sent = Vec::new();
    for _ in 0..10 {
        sent.push(send_controls(&engine, ann, group).await);
    }
    let before = world.history.messages_read();
    let page = engine.page(ann, group, PageFrom::After(MessageId::new(0)), 200).await;
    let page = page.expect("reads");
    assert!(json_bytes(&page.messages) <= 20_000, "{} bytes", json_bytes(&page.messages));
    assert_eq!((page.messages.len(), page.has_more), (3, true));
    assert_eq!(world.history.messages_read() - before, 3);
    assert_eq!(page.messages.last().map(|it| it.message_id), Some(sent[2]));
}

/// Asks until the synchronisation is complete. Checks the order of channels and the size of answers.
async fn sync_all(engine: &Engine, user_id: UserId, cursors: &Cursors) -> Vec<Synced> {
    let (mut answers, mut after) = (Vec::<Synced>::new(), None);
    loop {
        let synced = engine.sync(user_id, cursors, after, 200).await.expect("reads");
        let ids: Vec<_> = synced.channels.iter().map(|(channel_id, _)| *channel_id).collect();
        assert!(ids.is_sorted() && ids.first().copied() > after, "{after:?}: {ids:?}");
        let messages = synced.channels.iter().flat_map(|(_, channel)| &channel.messages);
        assert!(json_bytes(messages) <= 20_000 + 6 * CONTROLS + 300, "one message more at most");
        let next = synced.next;
        assert!(next.is_none() || next > after, "each answer goes further");
        answers.push(synced);
        if next.is_none() {
            return answers;
        }
        after = next;
    }
}

#[tokio::test(start_paused = true)]
async fn a_synchronisation_that_does_not_fit_continues_after_its_last_channel() {
    let world = World::with(|limits| limits.sync_bytes = 20_000);
    let ann = world.user("ann").await;
    let engine = world.start().await;
    let (mut cursors, mut expected) = (Cursors::new(), Vec::new());
    for number in 0..12u64 {
        let group = world.group(&[ann]).await;
        // Of every third channel the client has a cursor, of one it has left nothing.
        if number % 3 == 0 {
            cursors.insert(group, MessageId::new(0));
        }
        let messages = if number % 3 == 0 { 2 } else { 1 };
        for _ in 0..messages {
            send_controls(&engine, ann, group).await;
        }
        expected.push((group, messages));
    }
    let gone = [ChannelId::new(1), ChannelId::new(u64::MAX >> 1)];
    cursors.extend(gone.map(|channel_id| (channel_id, MessageId::new(0))));
    settle().await;
    let before = world.history.messages_read();
    let answers = sync_all(&engine, ann, &cursors).await;
    assert!(answers.len() > 3, "{} answers", answers.len());
    let channels = answers.iter().flat_map(|synced| &synced.channels);
    let found: Vec<_> = channels.map(|(id, channel)| (*id, channel.messages.len())).collect();
    let cut = answers.iter().flat_map(|it| &it.channels).filter(|(_, it)| it.has_more).count();
    assert_eq!(
        found.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        expected.iter().map(|(id, _)| *id).collect::<Vec<_>>()
    );
    let messages: usize = found.iter().map(|(_, messages)| messages).sum();
    assert_eq!(messages + cut, 16, "a channel that was cut says so");
    assert_eq!(world.history.messages_read() - before, messages, "nothing else was read");
    let left: Vec<_> = answers.iter().flat_map(|synced| synced.gone.clone()).collect();
    assert_eq!(left, gone, "each is named once");
}

#[tokio::test(start_paused = true)]
async fn a_synchronisation_that_fits_is_complete() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let head = send_hello(&engine, ann, group).await;
    let synced = engine.sync(ann, &Cursors::new(), None, 50).await.expect("reads");
    assert_eq!(synced.next, None);
    assert_eq!(synced.channels[0].1.cur_max_message_id, head);
    let rest = engine.sync(ann, &Cursors::new(), Some(group), 50).await.expect("reads");
    assert_eq!(rest, Synced::default());
}
