//! Recovery after the network was interrupted: events that a session could not hold, and sessions that ended.

use pabal_client::{Connection, Policy, State};
use pabal_tests::node::Port;
use pabal_tests::wait;

use crate::stage::{Journal, World, hears, lines, options, say};

pub(crate) async fn waits(connection: &Connection) {
    let mut watch = connection.watch();
    let waits = watch.wait_for(|state| matches!(state, State::Waiting { .. }));
    drop(wait::soon("the connection notices", waits).await.unwrap());
}

/// The mailbox holds 16 events; 300 messages are sent while the network is interrupted.
pub(crate) async fn resync(policy: Policy) {
    let world = World::with(&[("PABAL_LIMITS_MAILBOX_EVENTS", "16")]).await;
    let (mina, joon, channel_id) = world.pair().await;
    let mut at_joon = joon.connect(options(policy)).await.unwrap();
    let mut journal = Journal::default();
    let before = lines("before", 3);
    say(&mina, channel_id, &before).await;
    hears(&mut at_joon, &mut journal, &before).await;
    world.proxy.block(true);
    waits(&at_joon).await;
    let missed = lines("missed", 300);
    say(&mina, channel_id, &missed).await;
    world.proxy.block(false);
    let talking = async {
        let after = lines("after", 30);
        say(&mina, channel_id, &after).await;
        after
    };
    let (after, ()) = futures::join!(talking, hears(&mut at_joon, &mut journal, &missed));
    hears(&mut at_joon, &mut journal, &after).await;
}

/// The node is killed and restarts on another port: no session has survived.
pub(crate) async fn session_gone(policy: Policy) {
    let world = World::with(&[]).await;
    let (mina, joon, channel_id) = world.pair().await;
    let mut at_joon = joon.connect(options(policy)).await.unwrap();
    let mut journal = Journal::default();
    let before = lines("before", 3);
    say(&mina, channel_id, &before).await;
    hears(&mut at_joon, &mut journal, &before).await;
    world.proxy.block(true);
    waits(&at_joon).await;
    say(&mina, channel_id, &lines("missed", 20)).await;
    world.node.restart(Port::Same).await;
    say(&mina, channel_id, &lines("missed as well", 20)).await;
    let sent = at_joon.send(channel_id, "back");
    world.proxy.block(false);
    wait::soon("the send that waited for a route", sent).await.unwrap();
    let mut expected = lines("missed", 20);
    expected.extend(lines("missed as well", 20));
    expected.push("back".into());
    hears(&mut at_joon, &mut journal, &expected).await;
}

/// Another user creates a channel with the device while its session ends.
pub(crate) async fn new_channel_while_disconnected(policy: Policy) {
    let world = World::with(&[]).await;
    let (mina, joon, _) = world.pair().await;
    let mut at_joon = joon.connect(options(policy)).await.unwrap();
    world.proxy.block(true);
    waits(&at_joon).await;
    world.node.restart(Port::Same).await;
    let group = mina.create_group("Lunch", &[joon.user_id()]).await.unwrap().channel_id;
    let missed = lines("missed", 250);
    say(&mina, group, &missed).await;
    world.proxy.block(false);
    hears(&mut at_joon, &mut Journal::default(), &missed).await;
}

/// A device stores its cursors, ends, and connects again later.
pub(crate) async fn kept_cursors(policy: Policy) {
    let world = World::shared().await;
    let (mina, joon, channel_id) = world.pair().await;
    say(&mina, channel_id, &lines("of old", 3)).await;
    let mut at_joon = joon.connect(options(policy)).await.unwrap();
    let heard = lines("heard", 3);
    say(&mina, channel_id, &heard).await;
    hears(&mut at_joon, &mut Journal::default(), &heard).await;
    let cursors = at_joon.cursors().clone();
    // More than the caller has taken; other events are not in the cursors.
    let missed = lines("missed", 10);
    say(&mina, channel_id, &missed[..5]).await;
    at_joon.close().await.unwrap();
    say(&mina, channel_id, &missed[5..]).await;
    let options = pabal_client::Options { cursors: Some(cursors), ..options(policy) };
    let mut at_joon = joon.connect(options).await.unwrap();
    hears(&mut at_joon, &mut Journal::default(), &missed).await;
}

/// The server is unavailable when the device connects.
pub(crate) async fn connect_while_unavailable(policy: Policy) {
    let world = World::shared().await;
    let (mina, joon, channel_id) = world.pair().await;
    world.proxy.block(true);
    let connecting = async { joon.connect(options(policy)).await.unwrap() };
    let coming_back = async {
        let tries = world.proxy.connections() + 5;
        wait::until("several attempts are made", async || {
            (world.proxy.connections() > tries).then_some(())
        })
        .await;
        world.proxy.block(false);
    };
    let (mut at_joon, ()) = futures::join!(connecting, coming_back);
    let said = lines("said", 3);
    say(&mina, channel_id, &said).await;
    hears(&mut at_joon, &mut Journal::default(), &said).await;
}

/// The server accepts few channels in one request: the messages of the others are fetched.
pub(crate) async fn more_channels_than_fit(policy: Policy) {
    let world = World::with(&[("PABAL_LIMITS_CHANNELS_PER_REQUEST", "3")]).await;
    let (mina, joon, _) = world.pair().await;
    let mut groups = Vec::new();
    for name in lines("group", 12) {
        groups.push(mina.create_group(&name, &[joon.user_id()]).await.unwrap().channel_id);
    }
    let mut at_joon = joon.connect(options(policy)).await.unwrap();
    world.proxy.block(true);
    waits(&at_joon).await;
    world.node.restart(Port::Same).await;
    for group in &groups {
        say(&mina, *group, &lines("missed", 3)).await;
    }
    world.proxy.block(false);
    for group in &groups {
        say(&mina, *group, &lines("live", 3)).await;
    }
    let mut journal = Journal::default();
    journal
        .until(&mut at_joon, "every message of every group", |journal| {
            journal.messages.len() == groups.len() * 6
        })
        .await;
    for group in groups {
        let messages = journal.messages.iter().filter(|it| it.channel_id == group);
        let contents: Vec<_> = messages.map(|message| message.content.clone()).collect();
        assert_eq!(contents, [lines("missed", 3), lines("live", 3)].concat());
    }
}
