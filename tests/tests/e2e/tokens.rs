//! A connection ends with its token, and a session with its device.

use http::Method;
use pabal_tests::account::{Account, PASSWORD, Session};
use pabal_tests::client::TransportPlan;
use pabal_tests::clock::SetClock;
use pabal_tests::line::{Break, Transport};
use pabal_tests::node::{Node, Port};
use serde_json::json;

use crate::ending::{expect_end, while_waiting};
use crate::stage::{cast, read_events, refusal};

/// A line ends because its token has; the session has not.
fn expect_token_end(transport: Transport, broken: &Break) {
    expect_end(transport, broken, 4401, 401, "unauthenticated");
}

async fn expect_ended_on_all(device: &Account, session: &Session) {
    for transport in Transport::ALL {
        let refused = refusal(transport, device, session, 0).await;
        assert!(refused.is_unauthenticated(), "{transport:?}: {refused}");
    }
    let path = session.path("/commands");
    let typing = json!({"commands": [{"type": "typing", "channel_id": "1"}]});
    device.must(Method::POST, &path, Some(&typing), 401).await;
}

/// The device gets another token: connections with the old one end once it is revoked, and the session
/// continues with the new one where it was.
pub(crate) async fn replaced_token(plan: TransportPlan) {
    let transport = plan.first();
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let session = ann.open(None).await;
    // The device keeps the token that it showed, so this one ends nothing.
    let second = ann.log_in_again().await;
    bob.say(channel, "before", None).await;
    let batch = read_events(transport, &ann, &session, 0, 1).await;
    let (events, broken) = while_waiting(transport, &ann, &session, batch.next, async {
        second.log_in_again().await;
    })
    .await;
    assert!(events.events.is_empty());
    expect_token_end(transport, &broken);
    expect_ended_on_all(&ann, &session).await;
    bob.say(channel, "meanwhile", None).await;
    let batch = read_events(transport, &second, &session, batch.next, 1).await;
    assert_eq!(batch.events[0]["message"]["content"], "meanwhile");
}

/// The wall clock passes the end of the token while a line waits.
pub(crate) async fn expired_token(plan: TransportPlan) {
    const DAY: i64 = 24 * 60 * 60;
    let transport = plan.first();
    let Some(clock) = SetClock::installed() else { return };
    let settings = clock.settings();
    let mut settings: Vec<_> =
        settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    // The clock jumps on purpose.
    settings.push(("PABAL_NODE_MAX_CLOCK_JUMP_MS", "4000000000"));
    let node = Node::start(&settings).await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    clock.set(20 * DAY);
    node.restart(Port::Same).await;
    let (later, author) = (ann.log_in_again().await, bob.log_in_again().await);
    let session = ann.open(None).await;
    let (events, broken) = while_waiting(transport, &ann, &session, 0, async {
        clock.set(31 * DAY);
    })
    .await;
    assert!(events.events.is_empty());
    expect_token_end(transport, &broken);
    expect_ended_on_all(&ann, &session).await;
    author.say(channel, "meanwhile", None).await;
    let batch = read_events(transport, &later, &session, 0, 1).await;
    assert_eq!(batch.events[0]["message"]["content"], "meanwhile");
}

/// A session belongs to the device that opened it.
pub(crate) async fn session_of_another_device(plan: TransportPlan) {
    let transport = plan.first();
    let node = Node::shared().await;
    let [ann] = cast(node.address(), ["ann"]).await;
    let session = ann.open(None).await;
    let tablet = ann.log_in().await;
    let refused = refusal(transport, &tablet, &session, 0).await;
    let Break::Refused(response) = &refused else { panic!("{refused}") };
    assert_eq!((response.status.as_u16(), response.code()), (404, "not_found"));
    tablet.must(Method::DELETE, &session.path(""), None, 404).await;
    let typing = json!({"commands": []});
    tablet.must(Method::POST, &session.path("/commands"), Some(&typing), 404).await;
    // The device itself may use it with each of its tokens.
    let again = ann.log_in_again().await;
    for device in [&again, &ann] {
        let path = session.path("/poll?after=0");
        device.must(Method::GET, &path, None, 200).await;
    }
}

/// One device logs another one out.
pub(crate) async fn device_logged_out(plan: TransportPlan) {
    let transport = plan.first();
    let node = Node::shared().await;
    let [ann] = cast(node.address(), ["ann"]).await;
    let lost = ann.log_in().await;
    let session = lost.open(None).await;
    let path = format!("/v1/me/devices/{}", lost.device_id);
    let (_, broken) = while_waiting(transport, &lost, &session, 0, async {
        ann.must(Method::DELETE, &path, None, 204).await;
    })
    .await;
    expect_token_end(transport, &broken);
    expect_ended_on_all(&lost, &session).await;
    ann.must(Method::GET, "/v1/me", None, 200).await;
}

/// A new password ends the other devices, and keeps the token with which it was set.
pub(crate) async fn password_changed(plan: TransportPlan) {
    let transport = plan.first();
    let node = Node::shared().await;
    let [ann] = cast(node.address(), ["ann"]).await;
    let other = ann.log_in().await;
    let (session, own) = (other.open(None).await, ann.open(None).await);
    let body = json!({"old": PASSWORD, "new": "another battery staple"});
    let (_, broken) = while_waiting(transport, &other, &session, 0, async {
        ann.must(Method::PUT, "/v1/me/password", Some(&body), 204).await;
    })
    .await;
    expect_token_end(transport, &broken);
    expect_ended_on_all(&other, &session).await;
    ann.must(Method::GET, &own.path("/poll?after=0"), None, 200).await;
    let old = json!({"username": ann.username, "password": PASSWORD});
    ann.must(Method::POST, "/v1/login", Some(&old), 401).await;
}

/// Every device is logged out, the one that asked for it included.
pub(crate) async fn logout_everywhere(plan: TransportPlan) {
    let transport = plan.first();
    let node = Node::shared().await;
    let [ann] = cast(node.address(), ["ann"]).await;
    let other = ann.log_in().await;
    let (session, own) = (other.open(None).await, ann.open(None).await);
    let body = json!({"everywhere": true});
    let (_, broken) = while_waiting(transport, &other, &session, 0, async {
        ann.must(Method::POST, "/v1/logout", Some(&body), 204).await;
    })
    .await;
    expect_token_end(transport, &broken);
    expect_ended_on_all(&other, &session).await;
    expect_ended_on_all(&ann, &own).await;
}
