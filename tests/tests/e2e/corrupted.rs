//! The oracle detects every message that a faulty proxy loses, repeats or reorders on any transport, and
//! reports no fault where the proxy corrupts none.

use std::cell::Cell;

use pabal_tests::client::TransportPlan;
use pabal_tests::faulty_proxy::{Corruption, FaultyProxy};
use pabal_tests::journal::Violation;
use pabal_tests::ledger::Ledger;
use pabal_tests::node::Node;
use pabal_tests::oracle::{Fault, judge};
use pabal_tests::wait;

use crate::stage::{cast, finish, lines, listen};

/// Every fifth message is corrupted.
const EVERY: u64 = 5;

pub(crate) async fn lost_message(plan: TransportPlan) {
    let faults = faults(plan, Corruption::Lose).await;
    assert!(faults.iter().any(|fault| matches!(fault, Fault::Lost { .. })), "{faults:?}");
}

pub(crate) async fn repeated_message(plan: TransportPlan) {
    let faults = faults(plan, Corruption::Repeat).await;
    let repeated =
        |fault: &Fault| matches!(fault, Fault::Seen { violation: Violation::Repeated { .. }, .. });
    assert!(faults.iter().any(repeated), "{faults:?}");
}

pub(crate) async fn reordered_messages(plan: TransportPlan) {
    let faults = faults(plan, Corruption::Reorder).await;
    let reordered =
        |fault: &Fault| matches!(fault, Fault::Seen { violation: Violation::Reordered { .. }, .. });
    assert!(faults.iter().any(reordered), "{faults:?}");
}

pub(crate) async fn no_corruption(plan: TransportPlan) {
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let proxy = FaultyProxy::before(node.address(), Corruption::Lose, u64::MAX).await;
    let bob = listen(&bob.via(proxy.address()), plan, channel, &ledger).await;
    let session = ann.open(None).await;
    ann.say_many(&session, channel, &lines(100), &ledger).await;
    for line in lines(10) {
        bob.send(channel, &line).await;
    }
    let (history, _) = finish(channel, &ledger, &ann, [bob]).await;
    assert_eq!((history.len(), proxy.corrupted()), (110, 0));
}

/// The faults that the oracle finds at a device behind a faulty proxy.
async fn faults(plan: TransportPlan, corruption: Corruption) -> Vec<Fault> {
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let proxy = FaultyProxy::before(node.address(), corruption, EVERY).await;
    let victim = listen(&bob.via(proxy.address()), plan, channel, &ledger).await;
    let intact = listen(&ann, plan, channel, &ledger).await;
    let newest = Cell::new(0);
    wait::until("a message is corrupted and the ones after it have arrived", async || {
        if proxy.corrupted() > 0 && victim.look(|it| it.cursor(channel)) == newest.get() {
            return Some(());
        }
        newest.set(intact.send(channel, "is it true?").await);
        None
    })
    .await;
    intact.holds(channel, newest.get()).await;
    let journals = [victim.stop().await, intact.stop().await];
    let history = ann.history(channel, 0).await;
    assert_eq!(
        judge(channel, &ledger, &history, &journals[1..]),
        [],
        "the device without a proxy sees no fault"
    );
    judge(channel, &ledger, &history, &journals)
}
