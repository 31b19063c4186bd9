//! Several users at once, and several devices of one user. The scenarios of `tests/e2e` use clients that see every
//! repeat; these use the client library.

use futures::future::{join_all, try_join_all};
use pabal_client::{Account, ChannelId, Connection, Error, Policy, Transport};
use pabal_tests::node::Port;
use pabal_tests::wait::{self, soon};

use crate::stage::{Journal, PASSWORD, World, client, hears, history, lines, options, say};

/// Four users, the last one behind the proxy, and their group.
async fn group(world: &World) -> (Vec<Account>, ChannelId) {
    let mut people = Vec::new();
    for _ in 0..3 {
        people.push(world.user().await);
    }
    people.push(world.user_behind_proxy().await);
    let others: Vec<_> = people[1..].iter().map(Account::user_id).collect();
    let channel = people[0].create_group("Lunch", &others).await.unwrap();
    (people, channel.channel_id)
}

async fn connect(people: &[Account], policy: Policy) -> Vec<Connection> {
    let connecting = people.iter().map(|account| account.connect(options(policy)));
    try_join_all(connecting).await.unwrap()
}

/// Each of these devices receives what the channel holds, which is `count` messages.
async fn all_hear(devices: &mut [Connection], account: &Account, channel: ChannelId, count: usize) {
    let said = history(account, channel).await;
    assert_eq!(said.len(), count);
    let hearing = devices.iter_mut().map(async |device| {
        hears(device, &mut Journal::default(), &said).await;
    });
    join_all(hearing).await;
}

pub(crate) async fn group_conversation(policy: Policy) {
    let world = World::shared().await;
    let (people, channel) = group(&world).await;
    let mut devices = connect(&people, policy).await;
    let outsider = world.user().await;
    let mut eve = outsider.connect(options(policy)).await.unwrap();
    for round in 0..5 {
        let sends = devices.iter().enumerate();
        let sends = sends.map(|(who, device)| device.send(channel, format!("{round} by {who}")));
        soon("a round is durable", try_join_all(sends)).await.unwrap();
    }
    all_hear(&mut devices, &people[0], channel, 20).await;
    // A message of the group would have been delivered to eve before this one.
    let own = outsider.create_group("Alone", &[]).await.unwrap().channel_id;
    let alone = lines("alone", 1);
    say(&outsider, own, &alone).await;
    hears(&mut eve, &mut Journal::default(), &alone).await;
}

/// Two devices of each of four users send at the same time.
pub(crate) async fn order_with_many_senders(policy: Policy) {
    let world = World::shared().await;
    let (mut people, channel) = group(&world).await;
    for number in 0..people.len() {
        let name = people[number].user().username.clone();
        let device = client(world.proxy.address()).log_in(&name, PASSWORD).await.unwrap();
        people.push(device);
    }
    let mut devices = connect(&people, policy).await;
    let sends = devices.iter().enumerate().map(async |(who, device)| {
        let said = lines(&format!("device {who}"), 25);
        let sends: Vec<_> = said.iter().map(|line| device.send(channel, line)).collect();
        let ids = soon("all are durable", try_join_all(sends)).await.unwrap();
        assert!(
            ids.is_sorted_by(|one, other| one < other),
            "the sends of a device keep their order"
        );
    });
    join_all(sends).await;
    all_hear(&mut devices, &people[0], channel, 8 * 25).await;
}

/// Three users send as fast as possible, while the fourth changes its transport repeatedly.
pub(crate) async fn change_of_transport_under_load(policy: Policy) {
    const EACH: usize = 300;
    let world = World::shared().await;
    let (people, channel) = group(&world).await;
    let (speakers, listener) = people.split_at(3);
    let mut device = listener[0].connect(options(policy)).await.unwrap();
    let talking = join_all(speakers.iter().enumerate().map(async |(who, account)| {
        say(account, channel, &lines(&format!("speaker {who}"), EACH)).await;
    }));
    let mut talking = std::pin::pin!(talking);
    let mut journal = Journal::default();
    let mut transports = Transport::ALL.into_iter().cycle();
    let mut changes = 0;
    loop {
        // After 20 more messages from any transport: the senders do not wait for the change.
        let enough = journal.messages.len() + 20;
        device.use_transports(Policy::Only(transports.next().unwrap()));
        changes += 1;
        let hearing = journal.until(&mut device, "some more", |journal| {
            journal.messages.len() >= enough.min(speakers.len() * EACH)
        });
        tokio::select! {
            _ = &mut talking => break,
            () = hearing => {}
        }
        if journal.messages.len() == speakers.len() * EACH {
            // Only responses to the speakers are outstanding. Without this the loop would never wait, and
            // the runtime's only thread could not receive them.
            talking.as_mut().await;
            break;
        }
    }
    assert!(changes > Transport::ALL.len(), "only {changes} changes happened under load");
    journal
        .until(&mut device, "all", |journal| journal.messages.len() == speakers.len() * EACH)
        .await;
    assert_eq!(journal.contents(), history(&people[0], channel).await);
}

/// The node is killed with sends in flight and restarts on another port: each send becomes one message, whether
/// it was stored before or not.
pub(crate) async fn repeated_sends_after_a_crash(policy: Policy) {
    let world = World::with(&[]).await;
    let (_, joon, channel) = world.pair().await;
    let mut at_joon = joon.connect(options(policy)).await.unwrap();
    let mut expected = Vec::new();
    for round in 0..3 {
        // Responses are lost from now on, so that stored messages are sent again.
        world.proxy.swallow(true);
        let said = lines(&format!("round {round}"), 20);
        let sends: Vec<_> = said.iter().map(|line| at_joon.send(channel, line)).collect();
        let mina = world.node.address();
        let reader = client(mina).log_in(&joon.user().username, PASSWORD).await.unwrap();
        wait::until("a send is stored", async || {
            history(&reader, channel).await.contains(&said[0]).then_some(())
        })
        .await;
        world.node.restart(Port::Other).await;
        world.proxy.swallow(false);
        world.proxy.cut();
        soon("all are durable", try_join_all(sends)).await.unwrap();
        expected.extend(said);
    }
    hears(&mut at_joon, &mut Journal::default(), &expected).await;
    let reader =
        client(world.node.address()).log_in(&joon.user().username, PASSWORD).await.unwrap();
    assert_eq!(history(&reader, channel).await, expected);
}

/// One of two devices logs out while messages flow to both: it ends at once, and the other one receives every
/// message.
pub(crate) async fn logout_in_mid_session(policy: Policy) {
    let world = World::shared().await;
    let (mina, joon, channel) = world.pair().await;
    let name = joon.user().username.clone();
    let tablet = client(world.proxy.address()).log_in(&name, PASSWORD).await.unwrap();
    let mut phone = joon.connect(options(policy)).await.unwrap();
    let mut other = tablet.connect(options(policy)).await.unwrap();
    let said = lines("said", 100);
    let logging_out = async {
        let mut heard = Journal::default();
        heard.until(&mut phone, "some", |journal| journal.messages.len() >= 10).await;
        joon.log_out().await.unwrap();
        let end = soon("the end", async {
            loop {
                match phone.next().await.expect("an error before the end") {
                    Ok(_) => {}
                    Err(error) => return error,
                }
            }
        });
        assert!(end.await.is_unauthenticated());
        let late = soon("a send", phone.send(channel, "late")).await.unwrap_err();
        assert!(late.is_unauthenticated() || matches!(late, Error::Closed), "{late}");
    };
    let mut journal = Journal::default();
    let hearing = hears(&mut other, &mut journal, &said);
    futures::join!(say(&mina, channel, &said), logging_out, hearing);
    assert_eq!(history(&mina, channel).await, said);
}
