//! A send may be repeated after any timeout, on any route and transport: the channel holds one
//! message.

use futures::future::join_all;
use pabal_tests::client::TransportPlan;
use pabal_tests::ledger::Ledger;
use pabal_tests::line::Transport;
use pabal_tests::node::{Node, Port};
use pabal_tests::sending::Route;

use crate::stage::{cast, finish, listen};

/// Two devices of one user send the same message by all routes at the same time.
pub(crate) async fn on_all_routes_at_once(plan: TransportPlan) {
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let (channel, other) = (ann.direct(&bob).await, ann.group(&[&bob]).await);
    let (ledger, ledger_of_other) = (Ledger::default(), Ledger::default());
    let tablet = ann.log_in().await;
    let devices = [
        listen(&ann, plan, channel, &ledger).await,
        listen(&tablet, TransportPlan::Steady(Transport::WebSocket), channel, &ledger).await,
    ];
    let receiver = listen(&bob, plan, channel, &ledger).await;
    for round in 0..8 {
        let (name, content) = (Ledger::name("ann"), format!("round {round}"));
        ledger.begin(channel, ann.user_id, &name, &content);
        let mut sends = Vec::new();
        for device in &devices {
            for route in Route::ALL {
                sends.push(device.repeat_by(route, channel, &name, &content));
                sends.push(device.repeat_by(route, channel, &name, &content));
            }
        }
        for message_id in join_all(sends).await {
            ledger.acknowledge(&name, message_id);
        }
        // The text of a repeat does not matter: the first message is kept.
        let (status, first) = ann.say(channel, "something else", Some(&name)).await;
        assert_eq!((status, first.content.as_str()), (200, content.as_str()));
        // A name is unique within its sender and channel only.
        let (status, _) = ann.say(other, &content, Some(&name)).await;
        assert_eq!(status, 201);
        ledger_of_other.begin(other, ann.user_id, &name, &content);
    }
    let name = Ledger::name("bob");
    for (user, status) in [(&ann, 201), (&bob, 201), (&ann, 200)] {
        assert_eq!(user.say(other, "by name", Some(&name)).await.0, status);
    }
    let [one, two] = devices;
    let (history, _) = finish(channel, &ledger, &bob, [one, two, receiver]).await;
    assert_eq!(history.len(), 8);
    assert_eq!(bob.history(other, 0).await.len(), 10);
}

/// The send was acknowledged; then the node was killed and restarted on another port.
pub(crate) async fn after_a_crash(plan: TransportPlan) {
    let node = Node::start(&[]).await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let sender = listen(&ann, plan, channel, &ledger).await;
    let receiver = listen(&bob, plan, channel, &ledger).await;
    let mut said = Vec::new();
    for route in Route::ALL {
        let (name, content) = (Ledger::name("ann"), format!("by {route:?}"));
        ledger.begin(channel, ann.user_id, &name, &content);
        let message_id = sender.repeat_by(route, channel, &name, &content).await;
        ledger.acknowledge(&name, message_id);
        said.push((name, content, message_id));
    }
    node.restart(Port::Other).await;
    for (name, content, message_id) in &said {
        let (status, first) = ann.say(channel, content, Some(name)).await;
        assert_eq!((status, first.message_id, &first.content), (200, *message_id, content));
    }
    let later = sender.send(channel, "after the crash").await;
    assert!(said.iter().all(|(_, _, message_id)| later > *message_id), "ids continue to rise");
    let (history, _) = finish(channel, &ledger, &ann, [sender, receiver]).await;
    assert_eq!(history.len(), Route::ALL.len() + 1);
}
