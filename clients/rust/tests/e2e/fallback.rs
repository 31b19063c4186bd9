//! Down to what gets through, and up again, without losing or repeating anything.

use std::time::Duration;

use pabal_client::{Account, ChannelId, Connection, Fallback, Options, Policy, Transport};
use pabal_tests::wait;

use crate::stage::{Journal, World, hears, lines, options, run, say};

fn patience() -> Options {
    let fallback = Fallback {
        establish_within: Duration::from_millis(600),
        failures: 2,
        settle_after: Duration::from_millis(500),
        first_probe: Duration::from_millis(100),
        longest_probe: Duration::from_millis(400),
    };
    Options { fallback, ..options(Policy::Auto) }
}

async fn is_on(connection: &Connection, transport: Transport) {
    let mut watch = connection.watch();
    let is_on = watch.wait_for(|state| state.transport() == Some(transport));
    drop(wait::soon(&format!("it is on {transport:?}"), is_on).await.unwrap());
}

/// A hundred messages while something is wrong, checked for loss and repeats.
async fn talk(mina: &Account, channel_id: ChannelId, at: &mut Connection, journal: &mut Journal) {
    let lines = lines(&format!("after {}", journal.messages.len()), 100);
    futures::join!(say(mina, channel_id, &lines), hears(at, journal, &lines));
}

#[test]
fn refused_transports_make_for_the_next_and_are_taken_up_again() {
    run(async {
        let world = World::shared().await;
        let (mina, joon, channel_id) = world.pair().await;
        let mut journal = Journal::default();
        world.proxy.refuse(&["/websocket", "/events", "/long-poll"]);
        let mut at_joon = joon.connect(patience()).await.unwrap();
        is_on(&at_joon, Transport::ShortPolling).await;
        talk(&mina, channel_id, &mut at_joon, &mut journal).await;
        world.proxy.refuse(&["/websocket", "/events"]);
        let talking = talk(&mina, channel_id, &mut at_joon, &mut journal);
        talking.await;
        is_on(&at_joon, Transport::LongPolling).await;
        world.proxy.refuse(&["/websocket"]);
        talk(&mina, channel_id, &mut at_joon, &mut journal).await;
        is_on(&at_joon, Transport::Sse).await;
        world.proxy.refuse(&[]);
        talk(&mina, channel_id, &mut at_joon, &mut journal).await;
        is_on(&at_joon, Transport::WebSocket).await;
        talk(&mina, channel_id, &mut at_joon, &mut journal).await;
        // And down again, while connected.
        world.proxy.refuse(&["/websocket"]);
        world.proxy.cut();
        is_on(&at_joon, Transport::Sse).await;
        talk(&mina, channel_id, &mut at_joon, &mut journal).await;
    });
}

#[test]
fn a_proxy_that_holds_streams_back_is_noticed() {
    run(async {
        let world = World::shared().await;
        let (mina, joon, channel_id) = world.pair().await;
        let mut journal = Journal::default();
        world.proxy.refuse(&["/websocket"]);
        world.proxy.hold(&["/events"]);
        let mut at_joon = joon.connect(patience()).await.unwrap();
        is_on(&at_joon, Transport::LongPolling).await;
        // The stream, of which nothing arrives, is tried again and again meanwhile.
        for _ in 0..3 {
            talk(&mina, channel_id, &mut at_joon, &mut journal).await;
        }
        world.proxy.hold(&[]);
        is_on(&at_joon, Transport::Sse).await;
        talk(&mina, channel_id, &mut at_joon, &mut journal).await;
    });
}

#[test]
fn a_handshake_without_answer_makes_for_the_next() {
    run(async {
        let world = World::shared().await;
        let (mina, joon, channel_id) = world.pair().await;
        let mut journal = Journal::default();
        world.proxy.hold(&["/websocket"]);
        let mut at_joon = joon.connect(patience()).await.unwrap();
        is_on(&at_joon, Transport::Sse).await;
        talk(&mina, channel_id, &mut at_joon, &mut journal).await;
        world.proxy.hold(&[]);
        is_on(&at_joon, Transport::WebSocket).await;
        talk(&mina, channel_id, &mut at_joon, &mut journal).await;
    });
}
