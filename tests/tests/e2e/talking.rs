//! Conversations: direct, in a group, many at once.

use std::time::Duration;

use futures::future::join_all;
use pabal_tests::client::{Client, TransportPlan};
use pabal_tests::ledger::Ledger;
use pabal_tests::node::Node;

use crate::stage::{cast, finish, listen};

pub(crate) async fn direct_conversation(plan: TransportPlan) {
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    assert_eq!(bob.direct(&ann).await, channel, "both users get the same channel");
    let ledger = Ledger::default();
    let devices =
        [listen(&ann, plan, channel, &ledger).await, listen(&bob, plan, channel, &ledger).await];
    for turn in 0..12 {
        let message_id = devices[turn % 2].send(channel, &format!("turn {turn} 안녕 🐎")).await;
        // Every member can read an acknowledged message at once.
        let (page, _) = devices[(turn + 1) % 2]
            .account()
            .page(channel, message_id - 1)
            .await
            .expect("a page of history");
        assert_eq!(page[0].message_id, message_id);
        for device in &devices {
            device.holds(channel, message_id).await;
        }
    }
    let (history, _) = finish(channel, &ledger, &ann, devices).await;
    assert_eq!(history.len(), 12);
    for message in history {
        let other = if message.from == ann.user_id { bob.user_id } else { ann.user_id };
        assert_eq!(message.to, Some(other), "a direct message names its receiver");
    }
}

pub(crate) async fn group_conversation(plan: TransportPlan) {
    let node = Node::shared().await;
    let members = cast(node.address(), ["ann", "bob", "carl", "dora"]).await;
    let [ann, bob, carl, dora] = &members;
    let outsider = &cast(node.address(), ["eve"]).await[0];
    let channel = ann.group(&[bob, carl, dora]).await;
    let ledger = Ledger::default();
    let mut devices = Vec::new();
    for member in &members {
        devices.push(listen(member, plan, channel, &ledger).await);
    }
    let eve = Client::start(outsider, plan, &Default::default(), &ledger).await;
    for round in 0..5 {
        let sends = devices.iter().map(async |device| {
            device.send(channel, &format!("{round} by {}", device.account().username)).await
        });
        join_all(sends).await;
    }
    let (history, _) = finish(channel, &ledger, ann, devices).await;
    assert_eq!(history.len(), 20);
    assert!(history.iter().all(|message| message.to.is_none()));
    let overheard = eve.stop().await;
    assert_eq!(overheard.count(channel), 0, "no other user receives it");
}

/// Two devices of each of four users send at the same time, by all routes.
pub(crate) async fn order_with_many_senders(plan: TransportPlan) {
    let node = Node::shared().await;
    let users = cast(node.address(), ["ann", "bob", "carl", "dora"]).await;
    let [ann, bob, carl, dora] = &users;
    let channel = ann.group(&[bob, carl, dora]).await;
    let ledger = Ledger::default();
    let mut devices = Vec::new();
    for user in &users {
        devices.push(listen(user, plan, channel, &ledger).await);
        devices.push(listen(&user.log_in().await, plan, channel, &ledger).await);
    }
    let sends = devices.iter().enumerate().map(async |(number, device)| {
        let mut last = 0;
        for line in 0..25 {
            let message_id = device.send(channel, &format!("{line} of {number}")).await;
            assert!(message_id > last, "a sender's messages keep their order");
            last = message_id;
        }
    });
    tokio::time::timeout(Duration::from_secs(60), join_all(sends)).await.expect("all are sent");
    let (history, _) = finish(channel, &ledger, ann, devices).await;
    assert_eq!(history.len(), 8 * 25);
}
