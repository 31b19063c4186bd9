//! Sessions on another node than the one that receives the request.

use pabal_client::{Policy, Transport};
use pabal_tests::wait::{soon, until};

use crate::stage::{Journal, World, hears, lines, options, run, say};

/// The client reaches a node that does not have the session and names the node that has it.
pub(crate) async fn wrong_node(policy: Policy) {
    let world = World::shared().await;
    let (mina, joon, channel_id) = world.pair().await;
    let problem = format!(
        r#"{{"type":"urn:pabal:problem:wrong_node","title":"Session lives on another node",
            "status":421,"detail":"elsewhere","code":"wrong_node","url":"http://{}"}}"#,
        world.node.address().get()
    );
    let response = format!(
        "HTTP/1.1 421 Misdirected Request\r\ncontent-type: application/problem+json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{problem}",
        problem.len()
    );
    world.proxy.respond(&["/v1/sessions/"], response.as_bytes());
    let mut at_joon = joon.connect(options(policy)).await.unwrap();
    let mut journal = Journal::default();
    let said = lines("said", 10);
    say(&mina, channel_id, &said).await;
    hears(&mut at_joon, &mut journal, &said).await;
    soon("a send", at_joon.send(channel_id, "sent")).await.unwrap();
    hears(&mut at_joon, &mut journal, &["sent".to_owned()]).await;
    // The first node is no longer needed.
    world.proxy.block(true);
    say(&mina, channel_id, &said).await;
    // Repeats under the same names add no message; new messages are delivered.
    let more = lines("more", 10);
    say(&mina, channel_id, &more).await;
    hears(&mut at_joon, &mut journal, &more).await;
}

/// A node that is about to stop names another node.
#[test]
fn draining_names_another_node() {
    run(async {
        let world = World::shared().await;
        let (mina, joon, channel_id) = world.pair().await;
        let policy = Policy::Only(Transport::ShortPolling);
        let mut at_joon = joon.connect(options(policy)).await.unwrap();
        let batch = format!(
            r#"{{"events":[{{"type":"draining","reconnect_after_ms":20,"url":"http://{}"}}],
                "next":"1"}}"#,
            world.node.address().get()
        );
        let length = batch.len();
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{batch}"
        );
        // From now on every request through the proxy gets this response.
        world.proxy.respond(&["/v1/"], response.as_bytes());
        let said = lines("said", 10);
        say(&mina, channel_id, &said).await;
        hears(&mut at_joon, &mut Journal::default(), &said).await;
        world.proxy.block(true);
        let before = world.proxy.connections();
        soon("a send", at_joon.send(channel_id, "sent")).await.unwrap();
        assert_eq!(world.proxy.connections(), before, "the first address is no longer used");
        until("it is connected", async || at_joon.status().state.transport()).await;
    });
}
