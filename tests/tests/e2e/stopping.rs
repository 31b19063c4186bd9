//! SIGTERM: the node announces when to reconnect, ends its sessions, and exits cleanly. Devices connect to the
//! next node and miss no message.

use std::time::Duration;

use futures::future::{join, join_all};
use pabal_tests::client::TransportPlan;
use pabal_tests::ledger::Ledger;
use pabal_tests::line::{Break, Transport};
use pabal_tests::node::{Node, Port};
use tokio::time::Instant;

use crate::stage::{cast, finish, listen, open, read_to_the_end};

/// How long a node may take to stop if no request hangs.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

pub(crate) async fn drain(plan: TransportPlan) {
    let transport = plan.first();
    let node = Node::start(&[]).await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let devices =
        [listen(&ann, plan, channel, &ledger).await, listen(&bob, plan, channel, &ledger).await];
    // One line is examined closely; its user receives no message.
    let [watcher] = cast(node.address(), ["watcher"]).await;
    let session = watcher.open(None).await;
    let mut line = open(transport, &watcher, &session, 0).await;
    let quiet = line.read(0, Duration::from_millis(30)).await.expect("an open line");
    assert!(quiet.events.is_empty());

    let talk = join_all(devices.iter().map(async |device| {
        for number in 0..60 {
            device.send(channel, &format!("{number} by {}", device.account().username)).await;
            tokio::time::sleep(Duration::from_millis(8)).await;
        }
    }));
    let stop = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let began = Instant::now();
        node.ask_to_stop();
        let (status, (events, broken)) = join(node.ended(), read_to_the_end(&mut line, 0)).await;
        assert_eq!(status.code(), Some(0), "a clean exit");
        assert!(began.elapsed() < STOPS_WITHIN, "{:?}", began.elapsed());
        node.restart(Port::Other).await;
        (events, broken)
    };
    let (_, (events, broken)) = join(talk, stop).await;
    assert_eq!(events.events.len(), 1, "{:?}", events.events);
    assert_eq!(events.events[0]["type"], "draining");
    assert!(events.events[0]["reconnect_after_ms"].is_u64(), "{}", events.events[0]);
    match (transport, &broken) {
        (Transport::WebSocket | Transport::Sse, Break::Closed { code: 1012, .. }) => {}
        (Transport::ShortPolling | Transport::LongPolling, Break::Refused(response))
            if matches!(response.code(), "session_gone" | "draining") => {}
        // A poll may also arrive after the listener was closed.
        (Transport::ShortPolling | Transport::LongPolling, Break::Connection(_)) => {}
        _ => panic!("{transport:?}: {broken}"),
    }
    let (history, journals) = finish(channel, &ledger, &ann, devices).await;
    assert_eq!(history.len(), 120);
    for journal in journals {
        assert!(journal.sessions >= 2, "the device connected to the next node");
    }
}
