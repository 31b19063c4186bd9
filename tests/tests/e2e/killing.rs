//! `kill -9` at random moments, while devices on every transport send and receive.
//!
//! An acknowledged message is stored exactly once and ids rise (I1, I2). A message that a device had received is
//! still stored with the same id and content (its journal is compared with history). Repeating an
//! unacknowledged send makes no second copy (I4: every device repeats until the send is acknowledged).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{join, join_all};
use pabal_tests::account::Id;
use pabal_tests::client::{Client, TransportPlan};
use pabal_tests::ledger::Ledger;
use pabal_tests::line::Transport;
use pabal_tests::node::{Node, Port};
use pabal_tests::oracle::expect_whole;
use pabal_tests::wait;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;

use crate::SWITCH;
use crate::stage::cast;

const ROUNDS: u32 = 20;
/// How many sends each device keeps in flight: kills interrupt them at every stage.
const IN_FLIGHT: usize = 3;

/// The seed of the moments, which `PABAL_TEST_SEED` repeats.
fn seed() -> u64 {
    let given = std::env::var("PABAL_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| rand::rng().random());
    eprintln!("PABAL_TEST_SEED={seed}");
    seed
}

pub(crate) async fn at_twenty_moments() {
    let mut moments = StdRng::seed_from_u64(seed());
    let node = Node::start(&[]).await;
    let users = cast(node.address(), ["ann", "bob", "carl", "dora", "emil"]).await;
    let [ann, bob, carl, dora, emil] = &users;
    let channels =
        [ann.group(&[bob, carl, dora, emil]).await, bob.group(&[ann, carl, dora, emil]).await];
    let ledger = Ledger::default();
    let start = channels.iter().map(|channel| (*channel, 0)).collect();
    let plans = Transport::ALL.map(TransportPlan::Steady).into_iter();
    let plans = plans.chain([TransportPlan::Switching(Transport::WebSocket, SWITCH)]);
    let mut devices = Vec::new();
    for (user, plan) in users.iter().zip(plans) {
        devices.push(Client::start(user, plan, &start, &ledger).await);
    }
    let stop = AtomicBool::new(false);
    let talk = join_all(devices.iter().flat_map(|device| {
        let stop = &stop;
        (0..IN_FLIGHT).map(move |lane| async move {
            for number in 0usize.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let channel: Id = channels[(number + lane) % channels.len()];
                let content = format!("{number} of {lane} by {}", device.account().username);
                device.send(channel, &content).await;
                sleep(Duration::from_millis(3)).await;
            }
        })
    }));
    let kill = async {
        for round in 1..=ROUNDS {
            let before = ledger.acknowledged();
            wait::until("sends are acknowledged again", async || {
                (ledger.acknowledged() >= before + 5).then_some(())
            })
            .await;
            sleep(Duration::from_micros(moments.random_range(0..400_000))).await;
            let port = if round % 4 == 0 { Port::Other } else { Port::Same };
            node.restart(port).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    join(talk, kill).await;

    let entries = ledger.entries();
    assert!(entries.iter().all(|entry| entry.acknowledged.is_some()), "all were repeated");
    // Repeating every send once more makes no second copy, either.
    let repeated = join_all(entries.iter().step_by(7).map(async |entry| {
        let user = users.iter().find(|user| user.user_id == entry.from).expect("one of them");
        let name = Some(entry.client_message_id.as_str());
        let (status, message) = user.say(entry.channel_id, &entry.content, name).await;
        assert_eq!(
            (status, message.message_id),
            (200, entry.acknowledged.expect("acknowledged").1)
        );
    }));
    repeated.await;
    let mut histories = Vec::new();
    for channel in channels {
        histories.push((channel, ann.history(channel, 0).await));
    }
    let mut journals = Vec::new();
    for device in devices {
        for (channel, history) in &histories {
            device.holds(*channel, history.last().expect("messages").message_id).await;
        }
        journals.push(device.stop().await);
    }
    for (channel, history) in &histories {
        expect_whole(*channel, &ledger, history, &journals);
    }
    let sent: usize = histories.iter().map(|(_, history)| history.len()).sum();
    assert_eq!(sent, entries.len(), "one message a send");
    let sessions: Vec<_> = journals.iter().map(|journal| journal.sessions).collect();
    eprintln!("{ROUNDS} kills, {sent} messages, sessions {sessions:?}");
}
