//! Crowds against real nodes: every transport, every way to connect, and what goes wrong on the way.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::time::Duration;

use pabal_load::{
    Counts, Crowd, Headers, Http, People, Plan, Schedule, Target, Transport, Verdict,
};
use pabal_tests::node::Node;
use pabal_tests::wait::until;

const SHORT_POLLING: Transport = Transport::ShortPolling { every_ms: 200 };
const ALL: [Transport; 4] =
    [SHORT_POLLING, Transport::LongPolling, Transport::Sse, Transport::WebSocket];
/// A generous bound of what takes no time.
const WITHIN: Duration = Duration::from_secs(60);

fn plan(transport: Transport) -> Plan {
    Plan {
        transport,
        clients: 20,
        group: 8,
        per_minute: 600.0,
        content_bytes: 64,
        http: Http::One,
        headers: Headers::Minimal,
    }
}

async fn come(target: &Target, plan: &Plan) -> Crowd {
    People::gather(target, plan).await.unwrap().connect().await.unwrap()
}

/// Talks until the crowd has received `deliveries`, and judges.
async fn talk(crowd: &mut Crowd, deliveries: u64) -> (Verdict, Counts) {
    crowd.talk(Schedule::steady(crowd.plan().per_minute, 1)).unwrap();
    hear(crowd, deliveries).await;
    (crowd.leave(WITHIN).await, crowd.counts())
}

async fn hear(crowd: &Crowd, deliveries: u64) {
    until("messages arrive", async || (crowd.counts().deliveries >= deliveries).then_some(()))
        .await;
}

async fn every_transport(target: &Target, http: Http, headers: Headers) {
    for transport in ALL {
        let plan = Plan { http, headers, ..plan(transport) };
        let mut crowd = come(target, &plan).await;
        let (verdict, counts) = talk(&mut crowd, 200).await;
        assert_eq!(verdict, Verdict::default(), "{transport:?}: {:?}", crowd.trouble());
        // Three channels of eight, eight and four: all that was acknowledged reached all of them.
        assert!(counts.deliveries >= counts.messages * 4, "{transport:?}: {counts:?}");
        assert_eq!((counts.failed, counts.retried, counts.reconnects), (0, 0, 0), "{transport:?}");
        assert!(counts.bytes_in > counts.deliveries * 64, "{transport:?}: {counts:?}");
        assert_eq!(crowd.take_latency().len(), counts.deliveries, "{transport:?}");
        let polls = matches!(transport, SHORT_POLLING | Transport::LongPolling);
        assert_eq!(counts.answers > 0, polls, "{transport:?}: {counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transport_delivers() {
    let node = Node::shared().await;
    let target = Target::new(format!("http://{}", node.address().get()));
    every_transport(&target, Http::One, Headers::Minimal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transport_delivers_over_http2_to_browsers() {
    let node = Node::shared().await;
    let target = Target::new(format!("http://{}", node.address().get()));
    every_transport(&target, Http::Two, Headers::Browser).await;
}
