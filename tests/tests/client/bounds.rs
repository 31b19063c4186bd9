//! Limits: the deadline of a send, waiting events, waiting sends.

use std::time::Duration;

use futures::future::try_join_all;
use pabal_client::{Error, Options, Policy};
use pabal_tests::wait::soon;

use crate::stage::{Journal, World, hears, history, lines, options, say};

pub(crate) async fn deadline_of_a_send(policy: Policy) {
    let world = World::shared().await;
    let (mina, joon, channel_id) = world.pair().await;
    let options = Options { send_deadline: Duration::from_millis(1_500), ..options(policy) };
    let mut at_joon = joon.connect(options).await.unwrap();
    soon("a send in time", at_joon.send(channel_id, "in time")).await.unwrap();
    world.proxy.block(true);
    let late = at_joon.send(channel_id, "late");
    let error = soon("the deadline", late).await.unwrap_err();
    assert!(matches!(error, Error::NotConfirmed) && error.retryable(), "{error}");
    world.proxy.block(false);
    let again = soon("a send after it", at_joon.send(channel_id, "again")).await;
    again.unwrap();
    let said = vec!["in time".to_owned(), "again".to_owned()];
    hears(&mut at_joon, &mut Journal::default(), &said).await;
    assert_eq!(history(&mina, channel_id).await, said);
}

/// The caller takes no events for a while, and sends nevertheless.
pub(crate) async fn events_that_are_not_taken(policy: Policy) {
    let world = World::shared().await;
    let (mina, joon, channel_id) = world.pair().await;
    let group = joon.create_group("Lunch", &[mina.user_id()]).await.unwrap().channel_id;
    let options = Options { events: 4, ..options(policy) };
    let mut at_joon = joon.connect(options).await.unwrap();
    let said = lines("said", 400);
    say(&mina, channel_id, &said).await;
    let sends = lines("sent", 20);
    let sends: Vec<_> = sends.iter().map(|line| at_joon.send(group, line)).collect();
    soon("sends are durable", try_join_all(sends)).await.unwrap();
    let mut journal = Journal::default();
    journal.until(&mut at_joon, "all", |journal| journal.messages.len() == 420).await;
    let heard = journal.messages.iter().filter(|message| message.channel_id == channel_id);
    let heard: Vec<_> = heard.map(|message| message.content.clone()).collect();
    assert_eq!(heard, said);
}

pub(crate) async fn too_many_sends(policy: Policy) {
    let world = World::shared().await;
    let (mina, joon, channel_id) = world.pair().await;
    let options = Options { sends: 3, ..options(policy) };
    let at_joon = joon.connect(options).await.unwrap();
    world.proxy.block(true);
    let fit: Vec<_> = lines("fits", 3).iter().map(|it| at_joon.send(channel_id, it)).collect();
    let error = soon("at once", at_joon.send(channel_id, "does not")).await.unwrap_err();
    assert!(matches!(error, Error::TooManySends), "{error}");
    world.proxy.block(false);
    soon("the sends within the limit", try_join_all(fit)).await.unwrap();
    soon("a send after capacity was released", at_joon.send(channel_id, "fits 4")).await.unwrap();
    assert_eq!(history(&mina, channel_id).await, lines("fits", 4));
}
