//! Falling back to a worse transport and returning to a better one, without losing or repeating a message.

use std::time::Duration;

use pabal_client::{
    Account, ChannelId, Connection, Event, Fallback, Options, PageFrom, Policy, Transport,
};
use pabal_tests::wait;

use crate::stage::{Journal, World, hears, history, lines, options, run, say};

fn short_deadlines() -> Options {
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

/// Sends a hundred messages during a fault, and checks for loss and repeats.
async fn talk(mina: &Account, channel_id: ChannelId, at: &mut Connection, journal: &mut Journal) {
    let lines = lines(&format!("after {}", journal.messages.len()), 100);
    futures::join!(say(mina, channel_id, &lines), hears(at, journal, &lines));
}

#[test]
fn a_refused_transport_is_replaced_by_the_next_and_used_again_later() {
    run(async {
        let world = World::shared().await;
        let (mina, joon, channel_id) = world.pair().await;
        let mut journal = Journal::default();
        world.proxy.refuse(&["/websocket", "/events", "/long-poll"]);
        let mut at_joon = joon.connect(short_deadlines()).await.unwrap();
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
        // The fallback works while connected, too.
        world.proxy.refuse(&["/websocket"]);
        world.proxy.cut();
        is_on(&at_joon, Transport::Sse).await;
        talk(&mina, channel_id, &mut at_joon, &mut journal).await;
    });
}

#[test]
fn a_proxy_that_holds_streams_back_is_detected() {
    run(async {
        let world = World::shared().await;
        let (mina, joon, channel_id) = world.pair().await;
        let mut journal = Journal::default();
        world.proxy.refuse(&["/websocket"]);
        world.proxy.hold(&["/events"]);
        let mut at_joon = joon.connect(short_deadlines()).await.unwrap();
        is_on(&at_joon, Transport::LongPolling).await;
        // Meanwhile the stream, of which no byte arrives, is tried repeatedly.
        for _ in 0..3 {
            talk(&mina, channel_id, &mut at_joon, &mut journal).await;
        }
        world.proxy.hold(&[]);
        is_on(&at_joon, Transport::Sse).await;
        talk(&mina, channel_id, &mut at_joon, &mut journal).await;
    });
}

#[test]
fn a_handshake_without_response_leads_to_the_next_transport() {
    run(async {
        let world = World::shared().await;
        let (mina, joon, channel_id) = world.pair().await;
        let mut journal = Journal::default();
        world.proxy.hold(&["/websocket"]);
        let mut at_joon = joon.connect(short_deadlines()).await.unwrap();
        is_on(&at_joon, Transport::Sse).await;
        talk(&mina, channel_id, &mut at_joon, &mut journal).await;
        world.proxy.hold(&[]);
        is_on(&at_joon, Transport::WebSocket).await;
        talk(&mina, channel_id, &mut at_joon, &mut journal).await;
    });
}

/// Injects a random fault.
fn fault(world: &World, number: u32) {
    const PATHS: [&str; 4] = ["/websocket", "/events", "/long-poll", "/commands"];
    // Short polling always works: one transport must.
    let some = |bits: u32| {
        let named = PATHS.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
        named.map(|(_, path)| *path).collect::<Vec<_>>()
    };
    match number % 8 {
        0 | 1 => world.proxy.refuse(&some(number >> 3 & 7)),
        2 => world.proxy.hold(&some(number >> 3 & 15)),
        3 => world.proxy.swallow(true),
        4 => world.proxy.block(true),
        5 => world.proxy.stall(true),
        _ => world.proxy.cut(),
    }
}

fn mend(world: &World) {
    world.proxy.swallow(false);
    world.proxy.stall(false);
    world.proxy.hold(&[]);
    // Bytes that were discarded or held back are lost.
    world.proxy.block(false);
}

/// Faults one after another, chosen by a seed; in both directions every message is delivered once, in order.
async fn random_faults(seed: u64) {
    println!("seed {seed}");
    let world = World::shared().await;
    let (mina, joon, channel_id) = world.pair().await;
    let group = joon.create_group("Lunch", &[mina.user_id()]).await.unwrap().channel_id;
    let mut at_joon = joon.connect(short_deadlines()).await.unwrap();
    let at_mina = mina.connect(Options::default()).await.unwrap();
    let mut journal = Journal::default();
    let (heard, said) = (lines("mina", 200), lines("joon", 100));
    let sender = at_joon.sender();
    let sends: Vec<_> = said.iter().map(|line| sender.send(group, line)).collect();
    let mut state = seed;
    let mut random = move || {
        // A linear congruential generator (Knuth, MMIX): the same faults for the same seed.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let talking = async {
        for chunk in heard.chunks(10) {
            say(&mina, channel_id, chunk).await;
            let newest = mina.messages(channel_id, PageFrom::Newest).await.unwrap();
            at_mina.read(channel_id, newest.entries[0].message_id);
            fault(&world, random());
            tokio::time::sleep(Duration::from_millis(u64::from(random() % 120))).await;
            mend(&world);
        }
        world.proxy.refuse(&[]);
    };
    let hearing = journal.until(&mut at_joon, "all messages", |journal| {
        journal.messages.len() == heard.len() + said.len()
    });
    let sent = wait::soon("all sends", futures::future::try_join_all(sends));
    let ((), (), sent) = futures::join!(talking, hearing, sent);
    sent.unwrap();
    for (channel_id, expected) in [(channel_id, heard), (group, said)] {
        let messages = journal.messages.iter().filter(|it| it.channel_id == channel_id);
        let contents: Vec<_> = messages.map(|message| message.content.clone()).collect();
        assert_eq!(contents, expected);
        assert_eq!(history(&mina, channel_id).await, expected);
    }
    let reads = journal.others.iter().filter(|event| matches!(event, Event::Read { .. }));
    assert!(reads.count() > 0, "other events are delivered as well, none of them twice");
    is_on(&at_joon, Transport::WebSocket).await;
}

#[test]
fn random_faults_of_ten_seeds() {
    run(async {
        futures::future::join_all((1..=10).map(random_faults)).await;
    });
}
