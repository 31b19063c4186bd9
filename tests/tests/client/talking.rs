//! Scenarios without faults.

use futures::future::try_join_all;
use pabal_client::{Event, Policy, State, Transport};
use pabal_tests::wait::soon;

use crate::stage::{Journal, World, hears, history, lines, options};

pub(crate) async fn conversation(policy: Policy) {
    let world = World::shared().await;
    let (mina, joon, channel_id) = world.pair().await;
    let mut at_mina = mina.connect(options(policy)).await.unwrap();
    let mut at_joon = joon.connect(options(policy)).await.unwrap();
    let (mut minas, mut joons) = (Journal::default(), Journal::default());
    for round in 0..5 {
        let said = vec![format!("안녕 {round}")];
        let sent = at_mina.send(channel_id, &said[0]);
        let name = sent.client_message_id().to_owned();
        let message_id = soon("the send is durable", sent).await.unwrap();
        hears(&mut at_mina, &mut minas, &said).await;
        hears(&mut at_joon, &mut joons, &said).await;
        let heard = joons.messages.last().unwrap();
        assert_eq!(heard.message_id, message_id);
        assert_eq!(heard.message_from, mina.user_id());
        assert_eq!(heard.message_to, Some(joon.user_id()));
        assert_eq!(heard.client_message_id, Some(name));
        let response = vec![format!("hello {round}")];
        soon("the response is durable", at_joon.send(channel_id, &response[0])).await.unwrap();
        hears(&mut at_mina, &mut minas, &response).await;
        hears(&mut at_joon, &mut joons, &response).await;
    }
    let status = at_joon.status();
    let expected = match policy {
        Policy::Only(transport) => transport,
        _ => Transport::WebSocket,
    };
    assert_eq!(status.state, State::Connected { transport: expected });
    let cost = status.cost;
    assert!(cost.requests >= 3 && cost.received_bytes > 500 && cost.sent_bytes > 500, "{cost:?}");
    assert_eq!(at_joon.cursors()[&channel_id], joons.messages.last().unwrap().message_id);
    at_mina.close().await.unwrap();
}

pub(crate) async fn order_of_sends(policy: Policy) {
    let world = World::shared().await;
    let (mina, joon, channel_id) = world.pair().await;
    let group = joon.create_group("Lunch", &[mina.user_id()]).await.unwrap().channel_id;
    let at_joon = joon.connect(options(policy)).await.unwrap();
    let (here, there) = (lines("here", 40), lines("there", 40));
    let mut sends = Vec::new();
    for (one, other) in here.iter().zip(&there) {
        sends.push(at_joon.send(channel_id, one));
        sends.push(at_joon.send(group, other));
    }
    soon("all sends are durable", try_join_all(sends)).await.unwrap();
    assert_eq!(history(&mina, channel_id).await, here);
    assert_eq!(history(&mina, group).await, there);
}

/// From this transport to each of the others and back, while both users send.
pub(crate) async fn change_of_transport(policy: Policy) {
    let world = World::shared().await;
    let (mina, joon, channel_id) = world.pair().await;
    let mut at_joon = joon.connect(options(policy)).await.unwrap();
    let mut state = at_joon.watch();
    let mut journal = Journal::default();
    for (round, transport) in Transport::ALL.into_iter().chain(Transport::ALL).enumerate() {
        let (before, after) = (format!("before {round}"), format!("after {round}"));
        mina.post_message(channel_id, &before, &before).await.unwrap();
        let sent = at_joon.send(channel_id, format!("meanwhile {round}"));
        at_joon.use_transports(Policy::Only(transport));
        let connected = state.wait_for(|state| state.transport() == Some(transport));
        soon("the transport is connected", connected).await.unwrap();
        soon("the send is durable", sent).await.unwrap();
        mina.post_message(channel_id, &after, &after).await.unwrap();
        let count = 3 * (round + 1);
        let all = |journal: &Journal| journal.messages.len() == count;
        journal.until(&mut at_joon, "all messages", all).await;
    }
    let said: Vec<_> = journal.contents().into_iter().map(str::to_owned).collect();
    assert_eq!(said, history(&mina, channel_id).await);
}

pub(crate) async fn notices(policy: Policy) {
    let world = World::shared().await;
    let (mina, joon, channel_id) = world.pair().await;
    let mut at_mina = mina.connect(options(policy)).await.unwrap();
    let at_joon = joon.connect(options(policy)).await.unwrap();
    let message_id = soon("a send", at_mina.send(channel_id, "read me")).await.unwrap();
    at_joon.read(channel_id, message_id);
    let mut journal = Journal::default();
    let read = Event::Read { channel_id, user_id: joon.user_id(), message_id };
    journal.until(&mut at_mina, "joon has read", |journal| journal.others.contains(&read)).await;
    at_joon.typing(channel_id);
    let typing = Event::Typing { channel_id, user_id: joon.user_id() };
    journal.until(&mut at_mina, "joon types", |journal| journal.others.contains(&typing)).await;
    let group = mina.create_group("Lunch", &[joon.user_id()]).await.unwrap();
    journal
        .until(&mut at_mina, "the group", |journal| {
            journal.others.iter().any(|event| {
                matches!(event, Event::Channel { channel_id, name, .. }
                    if *channel_id == group.channel_id && name.as_deref() == Some("Lunch"))
            })
        })
        .await;
}
