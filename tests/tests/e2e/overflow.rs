//! A mailbox holds 1,024 events or 1 MiB. Events that do not fit are announced by a `resync`, and the device
//! fetches them: none is dropped silently.

use pabal_tests::client::{Client, TransportPlan};
use pabal_tests::journal::Journal;
use pabal_tests::ledger::Ledger;
use pabal_tests::node::Node;
use pabal_tests::proxy::FaultProxy;

use crate::stage::{cast, finish, from_the_start, lines, listen};

/// No connection reads the session while more messages are sent than it holds.
pub(crate) async fn without_a_reader(plan: TransportPlan) {
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let session = bob.open(Some(&from_the_start(channel))).await;
    let author = listen(&ann, plan, channel, &ledger).await;
    let speaking = ann.open(None).await;
    ann.say_many(&speaking, channel, &lines(1_300), &ledger).await;
    author.holds(channel, ledger.newest(channel)).await;
    let journal = Journal::new("bob", &from_the_start(channel));
    let device = Client::resume(&bob, plan, (&session, session.next), journal, &ledger);
    // New messages are sent while the device is still fetching.
    for number in 0..30 {
        author.send(channel, &format!("meanwhile {number}")).await;
    }
    let (history, journals) = finish(channel, &ledger, &ann, [author, device]).await;
    assert_eq!(history.len(), 1_330);
    assert!(journals[1].resyncs >= 1, "the mailbox cannot have held every event");
    assert_eq!(journals[1].sessions, 0, "the device kept its session");
}

/// The connection is open but stalled: 6 MiB are more than mailbox and sockets hold.
pub(crate) async fn of_a_stalled_reader(plan: TransportPlan) {
    let node = Node::shared().await;
    let proxy = FaultProxy::to(node.address()).await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let device = listen(&bob.via(proxy.address()), plan, channel, &ledger).await;
    let speaking = ann.open(None).await;
    ann.say_many(&speaking, channel, &lines(3), &ledger).await;
    device.holds(channel, ledger.newest(channel)).await;
    proxy.stall(true);
    let long = |number: usize| format!("{number:04}").repeat(4_000);
    let contents: Vec<_> = (0..400).map(long).collect();
    ann.say_many(&speaking, channel, &contents, &ledger).await;
    proxy.stall(false);
    ann.say_many(&speaking, channel, &lines(3), &ledger).await;
    let (history, journals) = finish(channel, &ledger, &ann, [device]).await;
    assert_eq!(history.len(), 406);
    let Journal { resyncs, sessions, .. } = &journals[0];
    assert!(*resyncs >= 1 || *sessions > 1, "the mailbox cannot have held every event");
}

/// A session is opened with cursors after which there are more messages than a mailbox holds: one `resync`
/// announces them.
pub(crate) async fn of_catch_up(plan: TransportPlan) {
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let speaking = ann.open(None).await;
    ann.say_many(&speaking, channel, &lines(1_100), &ledger).await;
    let device = listen(&bob, plan, channel, &ledger).await;
    device.holds(channel, ledger.newest(channel)).await;
    ann.say_many(&speaking, channel, &lines(5), &ledger).await;
    let (history, journals) = finish(channel, &ledger, &ann, [device]).await;
    assert_eq!(history.len(), 1_105);
    assert_eq!(journals[0].resyncs, 1);
    assert_eq!(journals[0].count(channel), 1_105);
}
