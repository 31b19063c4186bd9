//! Nothing happens for a while.

use std::time::Duration;

use pabal_tests::client::Way;
use pabal_tests::line::{Batch, Transport};
use pabal_tests::node::Node;
use tokio::time::Instant;

use crate::stage::{cast, open};

/// A short poll is answered at once and empty, a long poll at its deadline and says so, the streams
/// stay open; afterwards each delivers.
pub(crate) async fn deadline_without_news(way: Way) {
    let transports = match way {
        Way::Steady(transport) => vec![transport],
        Way::Switching(..) => Transport::ALL.to_vec(),
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
            assert_eq!(
                quiet,
                Batch {
                    timeout,
                    ..Batch::empty(after)
                }
            );
            if timeout {
                assert!(
                    began.elapsed() >= wait,
                    "{transport:?} was answered before its deadline"
                );
            }
            assert!(
                began.elapsed() < wait + Duration::from_secs(5),
                "{:?}",
                began.elapsed()
            );
        }
        ann.say(channel, "news", None).await;
        let batch = line
            .read(after, Duration::from_secs(10))
            .await
            .expect("an open line");
        assert_eq!(
            batch.events.len(),
            1,
            "{transport:?} delivers after the silence"
        );
        assert!(!batch.timeout);
        after = batch.next;
    }
}
