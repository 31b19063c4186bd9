//! Silence: no event for a while.

use std::time::Duration;

use pabal_tests::client::TransportPlan;
use pabal_tests::ledger::Ledger;
use pabal_tests::line::{Batch, Line, Transport};
use pabal_tests::node::Node;
use pabal_tests::proxy::FaultProxy;
use pabal_tests::wait::SOON;
use tokio::time::Instant;

use crate::stage::{cast, finish, listen, open, refusal};

/// The ping interval of the server in [`a_quiet_reader_keeps_its_session`].
const PING_MS: u64 = 150;
/// The resume window of its sessions.
const RESUME_WINDOW_MS: u64 = 1_500;

/// A short poll returns at once without events, a long poll at its deadline, which it reports, and the streams
/// stay open. Afterwards each of them delivers.
pub(crate) async fn deadline_without_news(plan: TransportPlan) {
    let transports = match plan {
        TransportPlan::Steady(transport) => vec![transport],
        TransportPlan::Switching(..) => Transport::ALL.to_vec(),
    };
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let session = bob.open(None).await;
    let mut after = 0;
    for transport in transports {
        let mut line = open(transport, &bob, &session, after).await;
        for wait in [0, 400].map(Duration::from_millis) {
            let began = Instant::now();
            let quiet = line.read(after, wait).await.expect("an open line");
            let timeout = transport == Transport::LongPolling;
            assert_eq!(quiet, Batch { timeout, ..Batch::empty(after) });
            if timeout {
                assert!(began.elapsed() >= wait, "{transport:?} returned before its deadline");
            }
            assert!(began.elapsed() < wait + SOON / 3, "{:?}", began.elapsed());
        }
        ann.say(channel, "news", None).await;
        let batch = line.read(after, SOON).await.expect("an open line");
        assert_eq!(batch.events.len(), 1, "{transport:?} delivers after the silence");
        assert!(!batch.timeout);
        after = batch.next;
    }
}

/// A reader keeps its session during silence, and streams are pinged. A session without a reader ends with its
/// resume window.
pub(crate) async fn a_quiet_reader_keeps_its_session(plan: TransportPlan) {
    let (ping, window) = (PING_MS.to_string(), RESUME_WINDOW_MS.to_string());
    let node = Node::start(&[
        ("PABAL_LIMITS_PING_INTERVAL_MS", &ping),
        ("PABAL_LIMITS_RESUME_WINDOW_MS", &window),
    ])
    .await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let (read, unread) = (bob.open(None).await, bob.open(None).await);
    let mut line = open(plan.first(), &bob, &read, 0).await;
    let until = Instant::now() + 2 * Duration::from_millis(RESUME_WINDOW_MS);
    while Instant::now() < until {
        let quiet = line.read(0, Duration::from_millis(300)).await.expect("an open line");
        assert!(quiet.events.is_empty());
    }
    let signs = match &line {
        Line::WebSocket(socket) => Some(socket.socket().pings()),
        Line::Sse(sse) => Some(sse.comments() as u64),
        Line::Polling(_) => None,
    };
    let expected = RESUME_WINDOW_MS / PING_MS;
    assert!(signs.is_none_or(|signs| signs >= expected), "signs of life: {signs:?}");
    ann.say(channel, "news", None).await;
    let batch = line.read(0, SOON).await.expect("an open line");
    assert_eq!(batch.events.len(), 1);
    let refused = refusal(plan.first(), &bob, &unread, 0).await;
    assert!(refused.is_gone(), "{refused}");
}

/// A client that acknowledges no ping is considered lost after two of them: its connection ends, its session
/// does not, and the client continues in it.
pub(crate) async fn a_reader_that_falls_silent(plan: TransportPlan) {
    let ping = PING_MS.to_string();
    let node = Node::start(&[("PABAL_LIMITS_PING_INTERVAL_MS", &ping)]).await;
    let proxy = FaultProxy::to(node.address()).await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let device = listen(&bob.via(proxy.address()), plan, channel, &ledger).await;
    let author = listen(&ann, plan, channel, &ledger).await;
    let first = author.send(channel, "before").await;
    device.holds(channel, first).await;
    let lines = device.look(|journal| journal.lines);
    proxy.stall(true);
    for number in 0..10 {
        author.send(channel, &format!("meanwhile {number}")).await;
        tokio::time::sleep(Duration::from_millis(PING_MS / 2)).await;
    }
    proxy.stall(false);
    let (_, journals) = finish(channel, &ledger, &ann, [device, author]).await;
    if plan == TransportPlan::Steady(Transport::WebSocket) {
        assert!(journals[0].lines > lines, "the server closed the connection");
    }
    assert_eq!(journals[0].sessions, 1, "and kept the session");
}
