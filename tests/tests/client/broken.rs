//! Connections that break at the worst moments.

use futures::future::try_join_all;
use pabal_client::{Policy, Transport};
use pabal_tests::wait::soon;

use crate::away::waits;
use crate::stage::{Journal, World, hears, history, lines, options, run, say};

/// Messages flow in both directions while connections are cut repeatedly.
pub(crate) async fn connections_that_break(policy: Policy) {
    let world = World::shared().await;
    let (mina, joon, channel_id) = world.pair().await;
    let group = joon.create_group("Lunch", &[mina.user_id()]).await.unwrap().channel_id;
    let mut at_joon = joon.connect(options(policy)).await.unwrap();
    let mut journal = Journal::default();
    let (from_mina, from_joon) = (lines("mina", 60), lines("joon", 60));
    let sends: Vec<_> = from_joon.iter().map(|line| at_joon.send(group, line)).collect();
    let talking = say(&mina, channel_id, &from_mina);
    let cutting = async {
        for round in 0..12 {
            // Each connection is cut a little later than the previous one.
            let before = world.proxy.connections();
            world.proxy.cut();
            pabal_tests::wait::until("a new connection", async || {
                (world.proxy.connections() > before).then_some(())
            })
            .await;
            tokio::time::sleep(std::time::Duration::from_millis(round * 7)).await;
        }
    };
    let hearing = journal.until(&mut at_joon, "all messages", |journal| {
        journal.messages.len() == from_mina.len() + from_joon.len()
    });
    let sent = soon("all sends are durable", try_join_all(sends));
    let ((), (), (), sent) = futures::join!(talking, cutting, hearing, sent);
    sent.unwrap();
    let of = |channel_id| {
        let messages = journal.messages.iter().filter(move |it| it.channel_id == channel_id);
        messages.map(|message| message.content.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of(channel_id), from_mina);
    assert_eq!(of(group), from_joon, "each send once, in order");
    assert_eq!(history(&mina, group).await, from_joon);
}

/// Responses of the server are lost: to reads, and to sends.
pub(crate) async fn lost_responses(policy: Policy) {
    let world = World::shared().await;
    let (mina, joon, channel_id) = world.pair().await;
    let mut at_joon = joon.connect(options(policy)).await.unwrap();
    let mut journal = Journal::default();
    let mut expected = Vec::new();
    for round in 0..5 {
        let since = world.proxy.swallowed_bytes();
        world.proxy.swallow(true);
        let said = format!("mina {round}");
        say(&mina, channel_id, std::slice::from_ref(&said)).await;
        let reply = format!("joon {round}");
        let sent = at_joon.send(channel_id, &reply);
        // The server has stored it, and its reply is lost.
        pabal_tests::wait::until("the send is stored", async || {
            history(&mina, channel_id).await.contains(&reply).then_some(())
        })
        .await;
        world.proxy.lose_a_response(since).await;
        soon("the repeated send is durable", sent).await.unwrap();
        expected.extend([said, reply]);
    }
    hears(&mut at_joon, &mut journal, &expected).await;
    assert_eq!(history(&mina, channel_id).await, expected);
}

/// Connections stay open and carry nothing: streams detect that by missing pings.
#[test]
fn streams_that_fall_silent() {
    run(async {
        let world = World::with(&[("PABAL_LIMITS_PING_INTERVAL_MS", "200")]).await;
        for transport in [Transport::WebSocket, Transport::Sse] {
            let (mina, joon, channel_id) = world.pair().await;
            let mut at_joon = joon.connect(options(Policy::Only(transport))).await.unwrap();
            let mut journal = Journal::default();
            let before = lines("before", 3);
            say(&mina, channel_id, &before).await;
            hears(&mut at_joon, &mut journal, &before).await;
            world.proxy.stall(true);
            let missed = lines("missed", 3);
            say(&mina, channel_id, &missed).await;
            waits(&at_joon).await;
            world.proxy.stall(false);
            hears(&mut at_joon, &mut journal, &missed).await;
        }
    });
}
