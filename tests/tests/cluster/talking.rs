//! Conversations between users on different nodes, on every transport.

use futures::future::join_all;
use pabal_tests::account::Account;
use pabal_tests::cluster::Cluster;
use pabal_tests::ledger::Ledger;

use crate::stage::{cast, doors, finish, listen, plans};

pub(crate) async fn on_different_nodes(cluster: &Cluster) {
    for plan in plans() {
        let users = cast(&doors(cluster), ["ann", "bob", "carl"]).await;
        let [ann, bob, carl] = &users;
        let channels = [ann.direct(bob).await, carl.group(&[ann, bob]).await];
        let [direct, group] = channels;
        assert_eq!(bob.direct(ann).await, direct, "every node returns the same channel");
        let ledger = Ledger::default();
        let a = listen(ann, plan, &channels, &ledger).await;
        let b = listen(bob, plan, &channels, &ledger).await;
        let c = listen(carl, plan, &[group], &ledger).await;
        for (number, device) in [&a, &b, &c].into_iter().enumerate() {
            let (session, _) = device.position();
            let node = session.expect("a session").document["node"].clone();
            assert_eq!(node, format!("n{}", number + 1), "the node that opened the session");
        }
        for turn in 0..6 {
            let (from, other) = if turn % 2 == 0 { (&a, &b) } else { (&b, &a) };
            let message_id = from.send(direct, &format!("turn {turn} 안녕 🐎")).await;
            // An acknowledged message can be read at once, on any node.
            let page = other.account().page(direct, message_id - 1).await.expect("a response").0;
            assert_eq!(page[0].message_id, message_id);
            from.holds(direct, message_id).await;
            other.holds(direct, message_id).await;
        }
        for round in 0..5 {
            let sends = [&a, &b, &c].map(|device| {
                let content = format!("{round} by {}", device.account().username);
                async move { device.send(group, &content).await }
            });
            join_all(sends).await;
        }
        let (histories, _) = finish(&[direct], &ledger, ann, []).await;
        assert_eq!(histories[0].len(), 6);
        let (histories, _) = finish(&[group], &ledger, bob, [a, b, c]).await;
        assert_eq!(histories[0].len(), 15);
    }
}

/// The balancer assigns connections in turn, so polls and streams reach nodes without their session.
pub(crate) async fn behind_a_balancer(cluster: &Cluster) {
    let before = forwarded(cluster).await;
    let balancer = &[cluster.balancer.address()];
    let users = cast(balancer, ["ann", "bob", "carl", "dora", "emil"]).await;
    let others: Vec<&Account> = users[1..].iter().collect();
    let channel = users[0].group(&others).await;
    let ledger = Ledger::default();
    let mut devices = Vec::new();
    for (user, plan) in users.iter().zip(plans()) {
        devices.push(listen(user, plan, &[channel], &ledger).await);
    }
    for round in 0..20 {
        join_all(devices.iter().map(async |device| {
            device.send(channel, &format!("{round} by {}", device.account().username)).await
        }))
        .await;
    }
    let (histories, _) = finish(&[channel], &ledger, &users[0], devices).await;
    assert_eq!(histories[0].len(), 100);
    assert!(forwarded(cluster).await > before, "some requests were forwarded");
}

async fn forwarded(cluster: &Cluster) -> f64 {
    let counts = cluster
        .nodes
        .iter()
        .map(async |node| node.metrics().await.get("pabal_requests_forwarded_total"));
    join_all(counts).await.into_iter().sum()
}
