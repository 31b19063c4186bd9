//! Crowds against real nodes: every transport, every way to connect, and what goes wrong on the way.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::time::{Duration, Instant};

use futures::future::join_all;
use pabal_load::{
    Counts, Crowd, Headers, Histogram, Http, People, Plan, Schedule, Target, Transport, Verdict,
};
use pabal_tests::faulty_proxy::{Corruption, FaultyProxy};
use pabal_tests::node::{Node, Port};
use pabal_tests::proxy::FaultProxy;
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

#[tokio::test(flavor = "multi_thread")]
async fn every_transport_delivers_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let node = Node::start(&[
        ("PABAL_SERVER_TLS_CERT", cert.to_str().unwrap()),
        ("PABAL_SERVER_TLS_KEY", key.to_str().unwrap()),
    ])
    .await;
    let url = format!("https://localhost:{}", node.address().get().port());
    let trusting = Target { roots: Some(cert), ..Target::new(&url) };
    every_transport(&trusting, Http::One, Headers::Minimal).await;
    let careless = Target { insecure: true, ..Target::new(&url) };
    every_transport(&careless, Http::Two, Headers::Minimal).await;
    let careful = People::gather(&Target::new(&url), &plan(Transport::Sse)).await.unwrap_err();
    assert!(careful.to_string().contains("certificate"), "{careful}");
}

/// Every connection is cut repeatedly: no message is lost, repeated or reordered.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_costs_nothing() {
    let node = Node::shared().await;
    let target = Target::new(format!("http://{}", node.address().get()));
    for transport in ALL {
        let mut crowd = come(&target, &plan(transport)).await;
        crowd.talk(Schedule::steady(600.0, 2)).unwrap();
        let mut back = 0;
        for storm in 1..=3 {
            hear(&crowd, storm * 100).await;
            let cut = crowd.cut(if storm == 2 { 0.5 } else { 1.0 });
            assert_eq!(cut == 20, storm != 2);
            back += cut as u64;
            until("all are back", async || (crowd.returned() == back).then_some(())).await;
        }
        let (verdict, counts) = (crowd.leave(WITHIN).await, crowd.counts());
        assert_eq!(verdict, Verdict::default(), "{transport:?}: {:?}", crowd.trouble());
        assert_eq!((counts.reconnects, counts.sessions), (back, 0), "{transport:?}");
    }
}

/// Clients take nothing for so long that their mailboxes overflow: they read history and go on.
#[tokio::test(flavor = "multi_thread")]
async fn what_slow_clients_could_not_hold_is_fetched() {
    let node = Node::start(&[("PABAL_LIMITS_MAILBOX_EVENTS", "16")]).await;
    let target = Target::new(format!("http://{}", node.address().get()));
    let plan = Plan { per_minute: 3_000.0, ..plan(SHORT_POLLING) };
    let mut crowd = come(&target, &plan).await;
    crowd.talk(Schedule::steady(plan.per_minute, 3)).unwrap();
    hear(&crowd, 100).await;
    crowd.pause(0.5, Duration::from_secs(1));
    until("a client fetches history", async || (crowd.counts().fetched > 0).then_some(())).await;
    hear(&crowd, crowd.counts().deliveries + 100).await;
    let verdict = crowd.leave(WITHIN).await;
    assert_eq!(verdict, Verdict::default(), "{:?}", crowd.trouble());
    assert_eq!(crowd.so_far(), Verdict::default(), "nothing is missing any more");
}

/// History cannot be read for a while: what was not held is fetched later, on other connections.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_fetched_is_fetched_later() {
    let node = Node::start(&[("PABAL_LIMITS_MAILBOX_EVENTS", "16")]).await;
    let door = FaultProxy::to(node.address()).await;
    door.refuse(&["/messages?"]);
    let target = Target::new(format!("http://{}", door.address().get()));
    let plan = Plan { per_minute: 3_000.0, ..plan(SHORT_POLLING) };
    let mut crowd = come(&target, &plan).await;
    crowd.talk(Schedule::steady(plan.per_minute, 8)).unwrap();
    hear(&crowd, 100).await;
    crowd.pause(0.5, Duration::from_secs(1));
    until("a client fetches history in vain", async || crowd.trouble()).await;
    hear(&crowd, crowd.counts().deliveries + 100).await;
    assert_eq!(crowd.counts().fetched, 0);
    door.refuse(&[]);
    let verdict = crowd.leave(WITHIN).await;
    assert_eq!(verdict, Verdict::default(), "{:?}", crowd.trouble());
    assert!(crowd.counts().fetched > 0);
}

/// The server is killed and comes back: sessions are gone, messages are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_server_costs_sessions_and_nothing_else() {
    let node = Node::start(&[]).await;
    let target = Target::new(format!("http://{}", node.address().get()));
    for transport in ALL {
        let mut crowd = come(&target, &plan(transport)).await;
        crowd.talk(Schedule::steady(600.0, 4)).unwrap();
        hear(&crowd, 100).await;
        node.restart(Port::Same).await;
        until("all have new sessions", async || (crowd.counts().sessions >= 20).then_some(()))
            .await;
        hear(&crowd, crowd.counts().deliveries + 100).await;
        let verdict = crowd.leave(WITHIN).await;
        assert_eq!(verdict, Verdict::default(), "{transport:?}: {:?}", crowd.trouble());
        assert_eq!(crowd.counts().failed, 0, "{transport:?}");
    }
}

/// A proxy corrupts messages, and exactly those are reported.
#[tokio::test(flavor = "multi_thread")]
async fn every_corrupted_message_is_counted() {
    let node = Node::shared().await;
    let corruptions = [Corruption::Lose, Corruption::Repeat, Corruption::Reorder];
    let pairs =
        ALL.into_iter().flat_map(|transport| corruptions.map(|corruption| (transport, corruption)));
    join_all(pairs.map(|(transport, corruption)| corrupted(&node, transport, corruption))).await;
}

async fn corrupted(node: &Node, transport: Transport, corruption: Corruption) {
    let proxy = FaultyProxy::before(node.address(), corruption, 25).await;
    let target = Target::new(format!("http://{}", proxy.address().get()));
    let mut people = People::gather(&target, &plan(transport)).await.unwrap();
    // Speakers bypass the proxy: it would corrupt messages that no listener reads.
    people.speak_at(&format!("http://{}", node.address().get())).await.unwrap();
    let mut crowd = people.connect().await.unwrap();
    crowd.talk(Schedule::steady(600.0, 5)).unwrap();
    until("messages are corrupted", async || (proxy.corrupted() >= 10).then_some(())).await;
    // What is lost is never heard, so there is nothing to wait for.
    let patience = if corruption == Corruption::Repeat { WITHIN } else { Duration::from_secs(5) };
    let verdict = crowd.leave(patience).await;
    let Verdict { lost, repeated, reordered } = verdict;
    let corrupted = proxy.corrupted();
    match corruption {
        Corruption::Lose => {
            assert_eq!((lost, repeated, reordered), (corrupted, 0, 0), "{transport:?}")
        }
        Corruption::Repeat => {
            assert_eq!((lost, repeated, reordered), (0, corrupted, 0), "{transport:?}")
        }
        // One that was to come behind the next of its channel may have waited for it in vain.
        _ => {
            assert_eq!((repeated, reordered), (0, corrupted), "{transport:?}");
            assert!(lost <= 20, "{transport:?}: {verdict:?}");
        }
    }
}

/// The server stands still for three seconds, longer than a speaker may have sends on their way: what was
/// to be said then is said later, counts as late, and its latency begins when it was to be said.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_is_not_hidden() {
    let node = Node::start(&[]).await;
    let target = Target::new(format!("http://{}", node.address().get()));
    let plan = Plan { clients: 1, group: 1, per_minute: 12_000.0, ..plan(Transport::WebSocket) };
    let mut crowd = come(&target, &plan).await;
    crowd.talk(Schedule::steady(plan.per_minute, 6)).unwrap();
    hear(&crowd, 100).await;
    crowd.take_latency();
    crowd.take_lateness();
    node.pause();
    tokio::time::sleep(Duration::from_secs(3)).await;
    node.resume();
    let verdict = crowd.leave(WITHIN).await;
    assert_eq!(verdict, Verdict::default(), "{:?}", crowd.trouble());
    let longer = |of: Histogram<u64>| of.len() - of.count_between(0, 500_000);
    // 200 a second were due: 500 of them at least half a second before the end. 240 could leave in time.
    let (waited, late) = (longer(crowd.take_latency()), longer(crowd.take_lateness()));
    assert!(waited >= 400, "{waited} waited");
    assert!((100..waited).contains(&late), "{late} left late, {waited} waited");
}

/// The server stands still until more is due than may wait, and then nothing becomes due any more: all
/// that was due is said, not one message more or less.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_due_is_said_however_late() {
    let node = Node::start(&[]).await;
    let target = Target::new(format!("http://{}", node.address().get()));
    let plan = Plan { clients: 1, group: 1, per_minute: 300_000.0, ..plan(Transport::WebSocket) };
    let mut crowd = come(&target, &plan).await;
    let schedule = Schedule::steady(plan.per_minute, 9);
    let due = |by: Duration| schedule.arrivals(1).take_while(|(at, _)| *at <= by).count() as u64;
    node.pause();
    let before = Instant::now();
    crowd.talk(schedule).unwrap();
    let after = Instant::now();
    // 240 on their way, 4,096 that wait.
    until("more is due", async || (due(after.elapsed()) > 6_000).then_some(())).await;
    let least = due(after.elapsed());
    crowd.hush();
    let most = due(before.elapsed());
    node.resume();
    let verdict = crowd.leave(WITHIN).await;
    assert_eq!(verdict, Verdict::default(), "{:?}", crowd.trouble());
    let Counts { messages, failed, .. } = crowd.counts();
    assert!((least..=most).contains(&messages), "{messages} of {least} to {most}");
    assert_eq!(failed, 0, "{:?}", crowd.trouble());
}
