//! The oracle is not lied to: what a proxy loses, repeats or swaps on any transport is found out, and
//! nothing is where it tells the truth.

use std::cell::Cell;

use pabal_tests::client::Way;
use pabal_tests::journal::Violation;
use pabal_tests::ledger::Ledger;
use pabal_tests::liar::{Liar, Lie};
use pabal_tests::node::Node;
use pabal_tests::oracle::{Fault, judge};
use pabal_tests::wait;

use crate::stage::{cast, finish, lines, listen};

/// At every so manieth message a lie is told.
const EVERY: u64 = 5;

pub(crate) async fn out_of_a_message(way: Way) {
    let faults = faults(way, Lie::Lose).await;
    assert!(faults.iter().any(|fault| matches!(fault, Fault::Lost { .. })), "{faults:?}");
}

pub(crate) async fn with_a_repeated_message(way: Way) {
    let faults = faults(way, Lie::Repeat).await;
    let repeated =
        |fault: &Fault| matches!(fault, Fault::Seen { violation: Violation::Repeated { .. }, .. });
    assert!(faults.iter().any(repeated), "{faults:?}");
}

pub(crate) async fn with_swapped_messages(way: Way) {
    let faults = faults(way, Lie::Reorder).await;
    let reordered =
        |fault: &Fault| matches!(fault, Fault::Seen { violation: Violation::Reordered { .. }, .. });
    assert!(faults.iter().any(reordered), "{faults:?}");
}

pub(crate) async fn not_at_all(way: Way) {
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let liar = Liar::before(node.address(), Lie::Lose, u64::MAX).await;
    let bob = listen(&bob.via(liar.address()), way, channel, &ledger).await;
    let session = ann.open(None).await;
    ann.say_many(&session, channel, &lines(100), &ledger).await;
    for line in lines(10) {
        bob.send(channel, &line).await;
    }
    let (history, _) = finish(channel, &ledger, &ann, [bob]).await;
    assert_eq!((history.len(), liar.lies()), (110, 0));
}

/// What the judge says of a device that is lied to.
async fn faults(way: Way, lie: Lie) -> Vec<Fault> {
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let liar = Liar::before(node.address(), lie, EVERY).await;
    let deceived = listen(&bob.via(liar.address()), way, channel, &ledger).await;
    let honest = listen(&ann, way, channel, &ledger).await;
    let newest = Cell::new(0);
    wait::until("a lie is told and what comes behind it has arrived", async || {
        if liar.lies() > 0 && deceived.look(|it| it.cursor(channel)) == newest.get() {
            return Some(());
        }
        newest.set(honest.send(channel, "is it true?").await);
        None
    })
    .await;
    honest.holds(channel, newest.get()).await;
    let journals = [deceived.stop().await, honest.stop().await];
    let history = ann.history(channel, 0).await;
    assert_eq!(judge(channel, &ledger, &history, &journals[1..]), [], "nobody lies to ann");
    judge(channel, &ledger, &history, &journals)
}
