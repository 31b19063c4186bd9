//! What becomes of sessions: readers that replace each other, the resume window, log-out, drain
//! and shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use pabal_core::engine::{EndReason, Streamed, WakeReason};
use pabal_core::model::{Seq, TokenHash};
use pabal_core::ports::{Delivery, Directory, Presence};
use pabal_core::protocol::ProblemCode;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Client, World, code, quiet, read, say, stream, text};

const START: Seq = Seq::new(0);

#[tokio::test(start_paused = true)]
async fn a_replaced_reader_is_told_at_once() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    let first = session.attach();
    let waiting = tokio::spawn(async move { (first.wait(START).await, first) });
    quiet().await;
    let second = session.attach();
    let (news, first) = timeout(Duration::from_secs(1), waiting).await.expect("told").expect("ok");
    assert_eq!(news, WakeReason::Replaced);
    assert_eq!(stream(&first, 0, 1_000), Some(Err(Streamed::Replaced)));
    // That the first goes does not take the session from the second.
    drop(first);
    say(&engine, ann, group).await;
    assert_eq!(second.wait(START).await, WakeReason::Events);
    assert_eq!(second.session().id(), session.id());
}

/// How often somebody was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_handed_everything_is_woken_for_what_comes() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    let reader = session.attach();
    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    let handed = |after, bytes| {
        let mut cx = Context::from_waker(&waker);
        match reader.poll_stream(&mut cx, Seq::new(after), bytes, |_| {}) {
            Poll::Ready(Streamed::UpTo { next, more }) => (next.get(), more),
            other => panic!("nothing was handed over: {other:?}"),
        }
    };
    for _ in 0..3 {
        say(&engine, ann, group).await;
    }
    quiet().await;
    assert_eq!(handed(0, 1), (1, true), "as much as was asked for");
    assert_eq!(handed(1, 100_000), (3, false));
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    say(&engine, ann, group).await;
    quiet().await;
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!(handed(3, 100_000), (4, false));
    engine.close_session(&session).await;
    assert_eq!(woken.0.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_nobody_reads_lives_for_the_resume_window() {
    let world = World::new();
    let ann = world.user("ann").await;
    let engine = world.start().await;
    let access = world.log_in(ann).await;
    let session = engine.open_session(&access, None).await.expect("opens");
    // However long a reader waits, it counts as reading.
    let reader = session.attach();
    assert!(timeout(Duration::from_secs(300), reader.wait(START)).await.is_err());
    drop(reader);
    sleep(Duration::from_secs(59)).await;
    assert!(engine.session(session.id(), access.token).await.is_ok());
    // Each poll renews it.
    read(&session, 0, 1).expect("lives");
    sleep(Duration::from_secs(59)).await;
    assert_eq!(session.ended(), None);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(session.ended(), Some(EndReason::Expired));
    assert_eq!(code(engine.session(session.id(), access.token).await), ProblemCode::SessionGone);
    assert_eq!(code(read(&session, 0, 1)), ProblemCode::SessionGone);
    assert_eq!(session.attach().wait(START).await, WakeReason::Ended(EndReason::Expired));
    assert_eq!((engine.stats().sessions, engine.stats().sessions_expired), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_closed_session_wakes_its_reader_and_is_gone() {
    let world = World::new();
    let ann = world.user("ann").await;
    let engine = world.start().await;
    let access = world.log_in(ann).await;
    let session = engine.open_session(&access, None).await.expect("opens");
    let reader = session.attach();
    let waiting = tokio::spawn(async move { (reader.wait(START).await, reader) });
    quiet().await;
    engine.close_session(&session).await;
    let (news, reader) = timeout(Duration::from_secs(1), waiting).await.expect("told").expect("ok");
    assert_eq!(news, WakeReason::Ended(EndReason::Closed));
    assert_eq!(stream(&reader, 0, 1_000), Some(Err(Streamed::Ended(EndReason::Closed))));
    assert_eq!(code(engine.session(session.id(), access.token).await), ProblemCode::SessionGone);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_its_caller_gave_up_ends_the_session_all_the_same() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    world.group(&[ben]).await;
    let engine = world.start().await;
    let session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    // Whoever opens stands in the way of who closes.
    world.interest.after_join.shut();
    let opening = tokio::spawn({
        let (engine, access) = (engine.clone(), world.log_in(ben).await);
        async move { engine.open_session(&access, None).await }
    });
    quiet().await;
    let closing = tokio::spawn({
        let engine = engine.clone();
        async move { engine.close_session(&session).await }
    });
    quiet().await;
    closing.abort();
    quiet().await;
    world.interest.after_join.open();
    opening.await.expect("no panic").expect("opens");
    quiet().await;
    assert_eq!(engine.stats().sessions, 1);
    assert_eq!(world.presence.online(&[ann, ben]).await.expect("reads"), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_session_belongs_to_its_user_and_a_living_token() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let engine = world.start().await;
    let (access, other) = (world.log_in(ann).await, world.log_in(ann).await);
    let session = engine.open_session(&access, None).await.expect("opens");
    for token in [access.token, other.token] {
        assert!(engine.session(session.id(), token).await.is_ok());
    }
    let stranger = world.log_in(ben).await.token;
    assert_eq!(code(engine.session(session.id(), stranger).await), ProblemCode::Forbidden);
    let nobody = TokenHash::of("nobody");
    assert_eq!(code(engine.session(session.id(), nobody).await), ProblemCode::Unauthenticated);
    world.clock.set(access.expires_at);
    for token in [access.token, other.token] {
        assert_eq!(code(engine.session(session.id(), token).await), ProblemCode::Unauthenticated);
        assert_eq!(code(engine.authenticate(token).await), ProblemCode::Unauthenticated);
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_out_ends_the_sessions_of_its_token_and_no_others() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let engine = world.start().await;
    let (out, stays) = (world.log_in(ann).await, world.log_in(ann).await);
    let ending = engine.open_session(&out, None).await.expect("opens");
    let staying = engine.open_session(&stays, None).await.expect("opens");
    let strange = engine.open_session(&world.log_in(ben).await, None).await.expect("opens");
    let reader = ending.attach();
    let waiting = tokio::spawn(async move { reader.wait(START).await });
    quiet().await;
    let before = Instant::now();
    world.directory.log_out(out.token).await.expect("logs out");
    engine.publish(Delivery::EndSessions { user_id: ann, token: Some(out.token) }).await;
    assert_eq!(waiting.await.expect("no panic"), WakeReason::Ended(EndReason::LoggedOut));
    assert_eq!(before.elapsed(), Duration::ZERO, "at once");
    assert_eq!(code(read(&ending, 0, 1)), ProblemCode::Unauthenticated);
    assert_eq!(code(engine.session(ending.id(), out.token).await), ProblemCode::Unauthenticated);
    assert!(read(&staying, 0, 1).is_ok() && read(&strange, 0, 1).is_ok());
    engine.publish(Delivery::EndSessions { user_id: ann, token: None }).await;
    quiet().await;
    assert_eq!(staying.ended(), Some(EndReason::LoggedOut));
    assert_eq!(strange.ended(), None);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_opens_during_the_log_out_does_not_outlive_it() {
    let world = World::new();
    let ann = world.user("ann").await;
    let engine = world.start().await;
    let access = world.log_in(ann).await;
    // The token was good when the request came; then it is logged out, and nobody is there to tell.
    world.directory.log_out(access.token).await.expect("logs out");
    engine.publish(Delivery::EndSessions { user_id: ann, token: Some(access.token) }).await;
    assert_eq!(code(engine.open_session(&access, None).await), ProblemCode::Unauthenticated);
    quiet().await;
    assert_eq!(engine.stats().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_announces_itself_then_ends_every_session() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    let idle = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    let reader = client.session.attach();
    world.history.before_append.shut();
    let accepted = engine.begin_submit(ann, text(group, "hello")).await.expect("has its place");
    let draining = tokio::spawn({
        let engine = engine.clone();
        async move { engine.drain(Duration::from_millis(1_500)).await }
    });
    assert_eq!(reader.wait(START).await, WakeReason::Events);
    let events = stream(&reader, 0, 10_000).expect("news").expect("lives");
    client.take(events);
    let announced = client.events("draining");
    assert_eq!(announced.len(), 1);
    assert!(announced[0]["reconnect_after_ms"].as_u64().is_some_and(|ms| ms <= 1_500));
    assert_eq!(code(engine.submit(ann, text(group, "no")).await), ProblemCode::Draining);
    let refused = engine.open_session(&world.log_in(ann).await, None).await;
    assert_eq!(code(refused), ProblemCode::Draining);
    world.history.before_append.open();
    accepted.stored().await.expect("what was accepted is acknowledged");
    draining.await.expect("no panic");
    assert_eq!(idle.ended(), Some(EndReason::Draining));
    assert_eq!(code(read(&idle, 0, 1)), ProblemCode::SessionGone);
    // A stream is still given what came before the end.
    let events = stream(&reader, client.after, 10_000).expect("news").expect("has events");
    assert_eq!(client.take(events), 1);
    let ended = Streamed::Ended(EndReason::Draining);
    assert_eq!(stream(&reader, client.after, 10_000), Some(Err(ended)));
}

#[tokio::test(start_paused = true)]
async fn no_session_slips_through_a_drain() {
    let world = World::new();
    let ann = world.user("ann").await;
    let engine = world.start().await;
    world.presence.after_join.shut();
    let opening = tokio::spawn({
        let (engine, access) = (engine.clone(), world.log_in(ann).await);
        async move { engine.open_session(&access, None).await }
    });
    quiet().await;
    let draining = tokio::spawn({
        let engine = engine.clone();
        async move { engine.drain(Duration::from_secs(1)).await }
    });
    sleep(Duration::from_secs(2)).await;
    world.presence.after_join.open();
    draining.await.expect("no panic");
    if let Ok(session) = opening.await.expect("no panic") {
        assert_eq!(session.ended(), Some(EndReason::Draining));
    }
    quiet().await;
    assert_eq!(engine.stats().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_every_task() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    world.history.before_append.shut();
    world.inbox.before_receive.shut();
    let pending = engine.begin_submit(ann, text(group, "hello")).await.expect("has its place");
    quiet().await;
    timeout(Duration::from_secs(1), engine.shutdown()).await.expect("every task ends");
    assert_eq!(
        (world.history.before_append.waiting(), world.inbox.before_receive.waiting()),
        (0, 0)
    );
    assert_eq!(code(pending.stored().await), ProblemCode::NotConfirmed);
}
