//! How sessions and readers end: logged out, deleted, replaced by another reader.

use std::time::Duration;

use futures::future::join;
use http::Method;
use pabal_tests::account::{Account, Id, Session};
use pabal_tests::client::TransportPlan;
use pabal_tests::ledger::Ledger;
use pabal_tests::line::{Batch, Break, Line, Transport};
use pabal_tests::node::Node;
use pabal_tests::wait::{self, SOON};
use tokio::time::Instant;

use crate::stage::{cast, finish, listen, open, read_events, read_to_the_end, refusal};

/// How a line on this transport reports the end of its session.
pub(crate) fn expect_end(
    transport: Transport,
    broken: &Break,
    close_code: u16,
    status: u16,
    code: &str,
) {
    match (transport, broken) {
        (Transport::WebSocket, Break::Closed { code: closed, said }) => {
            assert_eq!(*closed, close_code, "{broken}");
            let said = said.as_ref().expect("an error frame before the close");
            assert_eq!(said["code"], code, "what the server says before it closes");
        }
        (Transport::Sse, Break::Closed { code: closed, .. }) => assert_eq!(*closed, close_code),
        (Transport::ShortPolling | Transport::LongPolling, Break::Refused(response)) => {
            assert_eq!((response.status.as_u16(), response.code()), (status, code), "{broken}");
        }
        _ => panic!("{transport:?}: {broken}"),
    }
}

/// A line that waits for events while something is done.
pub(crate) async fn while_waiting(
    transport: Transport,
    account: &Account,
    session: &Session,
    after: Id,
    act: impl Future<Output = ()>,
) -> (Batch, Break) {
    let mut line = open(transport, account, session, after).await;
    let quiet = line.read(after, Duration::from_millis(30)).await.expect("an open line");
    assert!(quiet.events.is_empty());
    let began = Instant::now();
    let (ended, ()) = join(read_to_the_end(&mut line, after), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        act.await;
    })
    .await;
    // The long poll requested a wait of 30 s.
    assert!(began.elapsed() < Duration::from_secs(10), "it ends at once");
    ended
}

pub(crate) async fn logout(plan: TransportPlan) {
    let transport = plan.first();
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let phone = ann.log_in().await;
    let tablet = listen(&ann, plan, channel, &ledger).await;
    let author = listen(&bob, plan, channel, &ledger).await;
    let device = listen(&phone, plan, channel, &ledger).await;
    // An acknowledged message may not be delivered yet: a session opened now might receive it.
    let before = author.send(channel, "before").await;
    device.holds(channel, before).await;
    let session = phone.open(None).await;
    let (events, broken) = while_waiting(transport, &phone, &session, 0, async {
        phone.must(Method::POST, "/v1/logout", None, 204).await;
    })
    .await;
    assert!(events.events.is_empty());
    expect_end(transport, &broken, 4401, 401, "unauthenticated");
    device.until("is notified of the log-out", |journal| journal.logged_out).await;
    for other in Transport::ALL {
        let refused = refusal(other, &phone, &session, 0).await;
        assert!(refused.is_unauthenticated(), "{other:?}: {refused}");
    }
    let refused = phone.try_open(None).await.expect("a response").expect_err("no session");
    assert_eq!((refused.status.as_u16(), refused.code()), (401, "unauthenticated"));
    // The user's other device, which has a token of its own, continues.
    let after = author.send(channel, "after").await;
    tablet.holds(channel, after).await;
    finish(channel, &ledger, &ann, [tablet, author]).await;
    let journal = device.stop().await;
    assert_eq!(journal.count(channel), 1, "nothing after the logout");
}

/// `DELETE` of a session: its reader is notified, opens another session and misses no message.
pub(crate) async fn deleted_session(plan: TransportPlan) {
    let transport = plan.first();
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let session = bob.open(None).await;
    let (_, broken) =
        while_waiting(transport, &bob, &session, 0, async { bob.close(&session).await }).await;
    expect_end(transport, &broken, 4404, 410, "session_gone");
    for other in Transport::ALL {
        let refused = refusal(other, &bob, &session, 0).await;
        assert!(refused.is_gone(), "{other:?}: {refused}");
    }
    let again = bob.call(Method::DELETE, &session.path(""), None).await.expect("a response");
    assert_eq!((again.status.as_u16(), again.code()), (410, "session_gone"));
    let stranger = ann.open(None).await;
    let refused = refusal(transport, &bob, &stranger, 0).await;
    assert!(matches!(refused, Break::Refused(response) if response.status == 404), "not one's own");

    let ledger = Ledger::default();
    let device = listen(&bob, plan, channel, &ledger).await;
    let author = listen(&ann, plan, channel, &ledger).await;
    for ended in 1..=4 {
        for number in 0..5 {
            author.send(channel, &format!("{number} of {ended}")).await;
        }
        let (session, _) = device.position();
        bob.close(&session.expect("a session")).await;
        author.send(channel, "meanwhile").await;
        device.until("opens another", |journal| journal.sessions == ended + 1).await;
    }
    finish(channel, &ledger, &ann, [device, author]).await;
}

/// Two readers of one session at once.
pub(crate) async fn second_reader(plan: TransportPlan) {
    let pairs = match plan {
        TransportPlan::Steady(transport) => vec![(transport, transport)],
        TransportPlan::Switching(..) => vec![
            (Transport::LongPolling, Transport::WebSocket),
            (Transport::WebSocket, Transport::Sse),
            (Transport::Sse, Transport::LongPolling),
            (Transport::WebSocket, Transport::LongPolling),
        ],
    };
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let session = bob.open(None).await;
    let mut after = 0;
    for (first, second) in pairs {
        let mut line = open(first, &bob, &session, after).await;
        let quiet = line.read(after, Duration::from_millis(30)).await.expect("an open line");
        assert!(quiet.events.is_empty());
        if first == Transport::ShortPolling {
            // A short poll keeps no connection, so none is replaced: both read the same events.
            ann.say(channel, "to both", None).await;
            let one = read_events(first, &bob, &session, after, 1).await;
            let other = read_events(second, &bob, &session, after, 1).await;
            assert_eq!(one, other);
            after = one.next;
            continue;
        }
        let take_over = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut line = open(second, &bob, &session, after).await;
            let batch = line.read(after, SOON);
            let say = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                ann.say(channel, "to the second", None).await
            };
            let (batch, _) = join(batch, say).await;
            batch.expect("the second reader reads")
        };
        let (replaced, batch) =
            wait::soon("the first ends", join(next(&mut line, after), take_over)).await;
        match (first, replaced) {
            (Transport::LongPolling, Ok(batch)) => {
                assert_eq!(batch, Batch::empty(after), "an empty batch, and no deadline");
            }
            (_, Err(broken)) => assert!(broken.is_replaced(), "{first:?}: {broken}"),
            other => panic!("not replaced: {other:?}"),
        }
        assert_eq!(batch.events[0]["message"]["content"], "to the second");
        after = batch.next;
    }
}

/// The next result of a waiting line, without a time limit of its own.
async fn next(line: &mut Line, after: Id) -> Result<Batch, Break> {
    line.read(after, Duration::from_secs(30)).await
}
