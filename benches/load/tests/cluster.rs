//! Crowds against three real nodes on one Redis, one PostgreSQL and one Cassandra, behind a balancer that
//! checks nothing: a node drains and returns, another is killed, and every acknowledged message reaches every client.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::time::Duration;

use futures::future::join_all;
use pabal_load::{Crowd, Headers, Http, People, Plan, Schedule, Target, Transport, Verdict};
use pabal_tests::cluster::Cluster;
use pabal_tests::node::Port;
use pabal_tests::wait::until;

const CLIENTS: usize = 12;
const GROUP: usize = 4;
const PER_MINUTE: f64 = 240.0;
const TRANSPORTS: [Transport; 4] = [
    Transport::ShortPolling { every_ms: 200 },
    Transport::LongPolling,
    Transport::Sse,
    Transport::WebSocket,
];
/// A generous bound of what takes no time.
const WITHIN: Duration = Duration::from_secs(60);

/// A crowd that comes by the balancer. Those of WebSockets speak at the first node, the others anywhere.
async fn come(cluster: &Cluster, transport: Transport) -> Crowd {
    let plan = Plan {
        transport,
        clients: CLIENTS,
        group: GROUP,
        per_minute: PER_MINUTE,
        content_bytes: 64,
        http: Http::One,
        headers: Headers::Minimal,
    };
    let target = Target::new(format!("http://{}", cluster.balancer.address().get()));
    let mut people = People::gather(&target, &plan).await.unwrap();
    if transport == Transport::WebSocket {
        let first = format!("http://{}", cluster.doors[0].address().get());
        people.speak_at(&first).await.unwrap();
    }
    let mut crowd = people.connect().await.unwrap();
    crowd.talk(Schedule::steady(PER_MINUTE, 7)).unwrap();
    crowd
}

/// Waits until every client is connected and receives again.
async fn all_go_on(crowds: &[Crowd]) {
    for crowd in crowds {
        let heard = crowd.counts();
        until("every client receives again", async || {
            let (now, more) = (crowd.counts(), 5 * CLIENTS as u64);
            let all = crowd.connected() == CLIENTS;
            (all && now.deliveries >= heard.deliveries + more).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_drain_and_die_cost_sessions_and_nothing_else() {
    let cluster = match Cluster::on_its_own().await {
        Ok(cluster) => cluster,
        Err(missing) => return missing.leave_out(),
    };
    let mut crowds = join_all(TRANSPORTS.map(|transport| come(&cluster, transport))).await;
    all_go_on(&crowds).await;
    for node in &cluster.nodes {
        let sessions = node.metrics().await.get("pabal_sessions");
        assert!(sessions >= 10.0, "every node has sessions: {sessions}");
    }

    // Cut off, they come back by other nodes than theirs, and keep their sessions.
    for crowd in &crowds {
        crowd.cut(1.0);
    }
    for crowd in &crowds {
        let all = CLIENTS as u64;
        until("all are back", async || (crowd.returned() == all).then_some(())).await;
        assert_eq!(crowd.counts().sessions, 0, "{:?}", crowd.trouble());
    }
    all_go_on(&crowds).await;

    cluster.nodes[0].ask_to_stop();
    // Those who speak there, too, although it is not back yet.
    all_go_on(&crowds).await;
    assert_eq!(cluster.nodes[0].ended().await.code(), Some(0), "a clean exit");
    let sessions = |crowds: &[Crowd]| crowds.iter().map(|it| it.counts().sessions).sum::<u64>();
    let drained = sessions(&crowds);
    assert!(drained > 0, "some clients have moved");

    cluster.nodes[0].restart(Port::Same).await;
    cluster.partitions_assigned().await;
    cluster.nodes[1].kill();
    until("some have new sessions", async || (sessions(&crowds) > drained).then_some(())).await;
    all_go_on(&crowds).await;

    let verdicts = join_all(crowds.iter_mut().map(|crowd| crowd.leave(WITHIN))).await;
    for (crowd, verdict) in crowds.iter().zip(verdicts) {
        let (counts, name) = (crowd.counts(), crowd.plan().transport);
        assert_eq!(verdict, Verdict::default(), "{name:?}: {counts:?}, {:?}", crowd.trouble());
        assert_eq!(counts.failed, 0, "{name:?}: {counts:?}, {:?}", crowd.trouble());
        let received = counts.deliveries + counts.fetched;
        assert_eq!(received, counts.messages * GROUP as u64, "{name:?}: {counts:?}");
    }
}
