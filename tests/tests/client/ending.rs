//! The end of a token, of a node, and of a connection.

use std::future::ready;

use pabal_client::{Error, Options, Policy, Renewal, State};
use pabal_tests::node::Port;
use pabal_tests::wait;

use crate::stage::{Journal, PASSWORD, World, client, hears, lines, options, say};

pub(crate) async fn logout(policy: Policy) {
    let world = World::shared().await;
    let (_, joon, channel_id) = world.pair().await;
    let mut at_joon = joon.connect(options(policy)).await.unwrap();
    joon.log_out().await.unwrap();
    let error = wait::soon("the error", async {
        loop {
            match at_joon.next().await.expect("an error before the end") {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    })
    .await;
    assert!(error.is_unauthenticated(), "{error}");
    assert!(wait::soon("the end", at_joon.next()).await.is_none());
    assert!(matches!(at_joon.status().state, State::Ended { .. }));
    let error = wait::soon("a send fails", at_joon.send(channel_id, "too late")).await;
    let error = error.unwrap_err();
    assert!(error.is_unauthenticated() || matches!(error, Error::Closed), "{error}");
    let error = joon.connect(options(policy)).await.unwrap_err();
    assert!(error.is_unauthenticated() && !error.retryable(), "{error}");
}

/// The token ends and the connection gets another one, of the same device or of another: no message is lost.
pub(crate) async fn renewed_token(policy: Policy) {
    let world = World::shared().await;
    for same_device in [true, false] {
        let (mina, joon, channel_id) = world.pair().await;
        let second = joon.client().log_in_again(&joon, PASSWORD).await.unwrap();
        assert_eq!(second.device_id(), joon.device_id());
        let other = joon.client().log_in(&joon.user().username, PASSWORD).await.unwrap();
        assert_ne!(other.device_id(), joon.device_id());
        let token = if same_device { second.token().clone() } else { other.token().clone() };
        let renewal = Renewal::new(move || ready(Ok(token.clone())));
        let with = Options { renewal: Some(renewal), ..options(policy) };
        let mut at_joon = joon.connect(with).await.unwrap();
        let mut journal = Journal::default();
        let before = lines("before", 3);
        say(&mina, channel_id, &before).await;
        hears(&mut at_joon, &mut journal, &before).await;
        // The device keeps the token that it showed, and the first one ends.
        joon.client().log_in_again(&second, PASSWORD).await.unwrap();
        let after = lines("after", 3);
        say(&mina, channel_id, &after).await;
        hears(&mut at_joon, &mut journal, &after).await;
        let sent = at_joon.send(channel_id, "here");
        wait::soon("a send with the other token", sent).await.unwrap();
        at_joon.close().await.unwrap();
    }
}

/// A renewal that fails ends the connection with its error.
pub(crate) async fn refused_renewal(policy: Policy) {
    let world = World::shared().await;
    let (_, joon, _) = world.pair().await;
    let renewal = Renewal::new(|| ready(Err(Error::Closed)));
    let with = Options { renewal: Some(renewal), ..options(policy) };
    let mut at_joon = joon.connect(with).await.unwrap();
    joon.log_out().await.unwrap();
    let end = wait::soon("the error", async {
        loop {
            if let Err(error) = at_joon.next().await.expect("an error before the end") {
                return error;
            }
        }
    });
    assert!(matches!(end.await, Error::Closed));
}

/// The node drains and another one replaces it: no message is lost.
pub(crate) async fn drain(policy: Policy) {
    let world = World::with(&[("PABAL_SERVER_RECONNECT_AFTER_MS", "50")]).await;
    let (mina, joon, channel_id) = world.pair().await;
    let mut at_joon = joon.connect(options(policy)).await.unwrap();
    let mut journal = Journal::default();
    let before = lines("before", 5);
    say(&mina, channel_id, &before).await;
    hears(&mut at_joon, &mut journal, &before).await;
    world.node.ask_to_stop();
    assert!(world.node.ended().await.success());
    world.node.restart(Port::Other).await;
    // The node has another port; through the proxy its address is the same.
    let mina = client(world.node.address()).log_in(&mina.user().username, PASSWORD).await.unwrap();
    let after = lines("after", 5);
    say(&mina, channel_id, &after).await;
    hears(&mut at_joon, &mut journal, &after).await;
    let sent = at_joon.send(channel_id, "here");
    wait::soon("a send after the drain", sent).await.unwrap();
}

/// Dropping a connection ends its tasks and sockets.
pub(crate) async fn drop_ends_everything(policy: Policy) {
    let world = World::shared().await;
    let (mina, joon, channel_id) = world.pair().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let mut at_joon = joon.connect(options(policy)).await.unwrap();
    let sender = at_joon.sender();
    say(&mina, channel_id, &lines("said", 1)).await;
    hears(&mut at_joon, &mut Journal::default(), &lines("said", 1)).await;
    assert!(tasks() > before);
    drop(at_joon);
    wait::until("the tasks of the connection end", async || (tasks() <= before).then_some(()))
        .await;
    let error = wait::soon("a send fails", sender.send(channel_id, "too late")).await;
    assert!(matches!(error, Err(Error::Closed)), "{error:?}");
}
