//! Connections break, responses are lost, the network is slow, the client changes its transport: no message is
//! lost, repeated or reordered.

use std::time::Duration;

use futures::future::{join, join_all, select};
use pabal_tests::account::Id;
use pabal_tests::client::{Client, TransportPlan};
use pabal_tests::ledger::Ledger;
use pabal_tests::line::{Break, Line, Transport};
use pabal_tests::node::Node;
use pabal_tests::proxy::FaultProxy;
use pabal_tests::sending::Route;
use pabal_tests::wait::{self, SOON};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::stage::{cast, finish, lines, listen, open, read_events};

/// Sends from all devices, each one message after another, for a time and up to a number of messages.
async fn talk(channel: Id, devices: &[Client], ledger: &Ledger, time: Duration, count: usize) {
    let until = Instant::now() + time;
    join_all(devices.iter().map(async |device| {
        for number in 0.. {
            if Instant::now() >= until && ledger.acknowledged() >= count {
                break;
            }
            let content = format!("{number} of {}", device.account().username);
            device.send(channel, &content).await;
            sleep(Duration::from_millis(4)).await;
        }
    }))
    .await;
}

pub(crate) async fn resume_after_cut_connections(plan: TransportPlan) {
    let node = Node::shared().await;
    let proxy = FaultProxy::to(node.address()).await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let mut devices = Vec::new();
    for user in [&ann, &bob] {
        devices.push(listen(&user.via(proxy.address()), plan, channel, &ledger).await);
    }
    let cutting = async {
        for cut in 0..12 {
            sleep(Duration::from_millis(90)).await;
            // Every other time the last bytes of the server are lost as well.
            proxy.swallow(cut % 2 == 1);
            sleep(Duration::from_millis(30)).await;
            proxy.cut();
            proxy.swallow(false);
        }
    };
    let talking = talk(channel, &devices, &ledger, Duration::from_millis(1_500), 40);
    join(talking, cutting).await;
    let (_, journals) = finish(channel, &ledger, &ann, devices).await;
    assert!(proxy.connections() > 12, "connections were opened again");
    assert!(journals.iter().all(|journal| journal.sessions == 1), "the session outlives them");
}

/// Starting with each transport in turn, another one every 200 ms; every 60 ms for the device that
/// switches anyway.
pub(crate) async fn change_of_transport_under_load(plan: TransportPlan) {
    let every = match plan {
        TransportPlan::Steady(_) => Duration::from_millis(200),
        TransportPlan::Switching(..) => Duration::from_millis(60),
    };
    let changing = TransportPlan::Switching(plan.first(), every);
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let devices = [
        listen(&ann, changing, channel, &ledger).await,
        listen(&bob, changing, channel, &ledger).await,
        listen(&bob.log_in().await, plan, channel, &ledger).await,
    ];
    talk(channel, &devices, &ledger, Duration::from_millis(1_600), 60).await;
    let (_, journals) = finish(channel, &ledger, &ann, devices).await;
    for journal in &journals[..2] {
        assert!(journal.lines >= 7, "only {} changes", journal.lines);
        assert_eq!(journal.sessions, 1, "in one session");
    }
}

/// The server wrote a batch that the client never received: the same `after` returns the same batch again, on
/// every transport.
pub(crate) async fn lost_response_to_a_read(plan: TransportPlan) {
    let transport = plan.first();
    let node = Node::shared().await;
    let proxy = FaultProxy::to(node.address()).await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let session = bob.open(None).await;
    let through = bob.via(proxy.address());
    let mut line = open(transport, &through, &session, 0).await;
    if transport == Transport::WebSocket || transport == Transport::Sse {
        // The stream is open before the network fails.
        let quiet = line.read(0, Duration::from_millis(50)).await.expect("an open stream");
        assert!(quiet.events.is_empty());
    }
    for text in lines(5) {
        ann.say(channel, &text, None).await;
    }
    if transport == Transport::ShortPolling {
        // There must be a response to lose.
        read_events(Transport::LongPolling, &bob, &session, 0, 5).await;
    }
    let since = proxy.swallowed_bytes();
    proxy.swallow(true);
    // For the streams, which have delivered the five by now.
    ann.say(channel, "one more", None).await;
    let read = async {
        let mut after = 0;
        loop {
            match line.read(after, SOON).await {
                Ok(batch) => after = batch.next,
                Err(broken) => return (after, broken),
            }
        }
    };
    let ((after, broken), ()) =
        wait::soon("a lost response", join(read, proxy.lose_a_response(since))).await;
    assert!(matches!(broken, Break::Connection(_)), "{broken}");
    let first =
        read_events(Transport::ShortPolling, &bob, &session, after, 6 - after as usize).await;
    for again in Transport::ALL {
        let same = read_events(again, &bob, &session, after, 6 - after as usize).await;
        assert_eq!(same, first, "{again:?} after {after}");
    }
    // Later events follow without a gap.
    ann.say(channel, "the last", None).await;
    let last = read_events(transport, &through, &session, first.next, 1).await;
    assert_eq!(last.events[0]["message"]["content"], "the last");
}

/// The server stored a message and its response was lost: a repeat returns the same message.
pub(crate) async fn lost_response_to_a_send(plan: TransportPlan) {
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let receiver = listen(&bob, plan, channel, &ledger).await;
    for route in Route::ALL {
        let proxy = FaultProxy::to(node.address()).await;
        // Only the response to the send passes the proxy; a frame shares its socket with the events.
        let sender = match route {
            Route::Frame => {
                let plan = TransportPlan::Steady(Transport::WebSocket);
                listen(&ann.via(proxy.address()), plan, channel, &ledger).await
            }
            Route::Messages | Route::Commands => {
                listen(&ann, plan, channel, &ledger).await.sending_through(proxy.address())
            }
        };
        let (name, content) = (Ledger::name("ann"), format!("by {route:?}"));
        ledger.begin(channel, ann.user_id, &name, &content);
        proxy.swallow(true);
        let lose = async {
            let stored = async || {
                let history = bob.history(channel, 0).await;
                history
                    .into_iter()
                    .find(|message| message.client_message_id.as_ref() == Some(&name))
            };
            let stored = wait::until("the message is stored", stored).await;
            proxy.lose_a_response(0).await;
            stored
        };
        let send = sender.try_send(route, channel, &name, &content);
        let (sent, stored) = wait::soon("a lost response", join(send, lose)).await;
        assert!(sent.is_err(), "the response was discarded: {sent:?}");
        let (status, first) = ann.say(channel, &content, Some(&name)).await;
        assert_eq!((status, &first), (200, &stored), "a repeat gives the first message");
        for again in Route::ALL {
            let repeated = sender.repeat_by(again, channel, &name, &content).await;
            assert_eq!(repeated, stored.message_id, "by {again:?}");
        }
        ledger.acknowledge(&name, stored.message_id);
        receiver.holds(channel, stored.message_id).await;
    }
    let (history, _) = finish(channel, &ledger, &ann, [receiver]).await;
    assert_eq!(history.len(), Route::ALL.len());
}

pub(crate) async fn slow_network(plan: TransportPlan) {
    let node = Node::shared().await;
    let proxy = FaultProxy::to(node.address()).await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let near = listen(&ann, plan, channel, &ledger).await;
    let far = listen(&bob.via(proxy.address()), plan, channel, &ledger).await;
    proxy.delay(Duration::from_millis(40));
    let devices = [near, far];
    talk(channel, &devices, &ledger, Duration::from_millis(900), 20).await;
    finish(channel, &ledger, &ann, devices).await;
}

/// A read that the client cancels, at any moment, consumes no event.
pub(crate) async fn abandoned_reads(plan: TransportPlan) {
    let transport = plan.first();
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let session = bob.open(None).await;
    let talk = async {
        for text in lines(40) {
            ann.say(channel, &text, None).await;
        }
    };
    let abandon = async {
        for limit in (0..).map(|round| Duration::from_micros(round * 150 % 4_000)) {
            let read = async {
                if let Ok(mut line) = Line::open(transport, &bob, &session, 0).await {
                    let _ = line.read(0, Duration::from_secs(5)).await;
                }
            };
            let _ = tokio::time::timeout(limit, read).await;
        }
    };
    select(Box::pin(talk), Box::pin(abandon)).await;
    let all = read_events(transport, &bob, &session, 0, 40).await;
    let contents: Vec<_> =
        all.events.iter().map(|event| event["message"]["content"].clone()).collect();
    assert_eq!(json!(contents), json!(lines(40)));
}
