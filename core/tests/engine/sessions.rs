//! The life of sessions: readers that replace each other, the resume window, log-out, drain and
//! shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use pabal_core::engine::{EndReason, Streamed, WakeReason};
use pabal_core::model::{Seq, TokenHash};
use pabal_core::ports::{Clock, Delivery, Directory, Presence, Revoked};
use pabal_core::protocol::ProblemCode;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Client, World, code, read, send_hello, settle, stream, text};

const START: Seq = Seq::new(0);

#[tokio::test(start_paused = true)]
async fn a_replaced_reader_is_woken_at_once() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    let first = session.attach();
    let waiting = tokio::spawn(async move { (first.wait(START).await, first) });
    settle().await;
    let second = session.attach();
    let (reason, first) =
        timeout(Duration::from_secs(1), waiting).await.expect("is woken").expect("no panic");
    assert_eq!(reason, WakeReason::Replaced);
    assert_eq!(stream(&first, 0, 1_000), Some(Err(Streamed::Replaced)));
    // Dropping the first reader does not detach the second one.
    drop(first);
    send_hello(&engine, ann, group).await;
    assert_eq!(second.wait(START).await, WakeReason::Events);
    assert_eq!(second.session().id(), session.id());
}

/// Counts the calls of a waker.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_received_everything_is_woken_by_the_next_event() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    let reader = session.attach();
    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    let received = |after, bytes| {
        let mut cx = Context::from_waker(&waker);
        match reader.poll_stream(&mut cx, Seq::new(after), bytes, |_| {}) {
            Poll::Ready(Streamed::UpTo { next, more }) => (next.get(), more),
            other => panic!("there were no events: {other:?}"),
        }
    };
    for _ in 0..3 {
        send_hello(&engine, ann, group).await;
    }
    settle().await;
    assert_eq!(received(0, 1), (1, true), "as many bytes as requested");
    assert_eq!(received(1, 100_000), (3, false));
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    send_hello(&engine, ann, group).await;
    settle().await;
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!(received(3, 100_000), (4, false));
    engine.close_session(&session).await;
    assert_eq!(woken.0.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_without_reads_lives_for_the_resume_window() {
    let world = World::new();
    let ann = world.user("ann").await;
    let engine = world.start().await;
    let access = world.log_in(ann).await;
    let session = engine.open_session(&access, None).await.expect("opens");
    // A waiting reader counts as reading, for any time.
    let reader = session.attach();
    assert!(timeout(Duration::from_secs(300), reader.wait(START)).await.is_err());
    drop(reader);
    sleep(Duration::from_secs(59)).await;
    assert!(engine.session(session.id(), access.token).await.is_ok());
    // Each poll restarts the resume window.
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
    settle().await;
    engine.close_session(&session).await;
    let (reason, reader) =
        timeout(Duration::from_secs(1), waiting).await.expect("is woken").expect("no panic");
    assert_eq!(reason, WakeReason::Ended(EndReason::Closed));
    assert_eq!(stream(&reader, 0, 1_000), Some(Err(Streamed::Ended(EndReason::Closed))));
    assert_eq!(code(engine.session(session.id(), access.token).await), ProblemCode::SessionGone);
}

#[tokio::test(start_paused = true)]
async fn a_close_whose_caller_was_dropped_ends_the_session() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    world.group(&[ben]).await;
    let engine = world.start().await;
    let session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    // The session that opens holds the lock for which the close waits.
    world.interest.after_join.close();
    let opening = tokio::spawn({
        let (engine, access) = (engine.clone(), world.log_in(ben).await);
        async move { engine.open_session(&access, None).await }
    });
    settle().await;
    let closing = tokio::spawn({
        let engine = engine.clone();
        async move { engine.close_session(&session).await }
    });
    settle().await;
    closing.abort();
    settle().await;
    world.interest.after_join.open();
    opening.await.expect("no panic").expect("opens");
    settle().await;
    assert_eq!(engine.stats().sessions, 1);
    assert_eq!(world.presence.online(&[ann, ben]).await.expect("reads"), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_session_requires_its_device_and_a_valid_token() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let engine = world.start().await;
    let (access, other) = (world.log_in(ann).await, world.log_in(ann).await);
    let again = world.log_in_again(&access).await;
    let session = engine.open_session(&access, None).await.expect("opens");
    for token in [access.token, again.token, access.token] {
        assert!(engine.session(session.id(), token).await.is_ok());
    }
    let stranger = world.log_in(ben).await.token;
    for token in [other.token, stranger] {
        assert_eq!(code(engine.session(session.id(), token).await), ProblemCode::NotFound);
    }
    let unknown = TokenHash::of("unknown");
    assert_eq!(code(engine.session(session.id(), unknown).await), ProblemCode::Unauthenticated);
    world.clock.set(access.expires_at);
    for token in [access.token, again.token, other.token] {
        assert_eq!(code(engine.session(session.id(), token).await), ProblemCode::Unauthenticated);
        assert_eq!(code(engine.authenticate(token).await), ProblemCode::Unauthenticated);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_ends_with_its_token_and_the_session_waits_for_another_one_of_the_device() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let short = world.log_in(ann).await;
    let session = engine.open_session(&short, None).await.expect("opens");
    let reader = session.attach();
    let waiting = tokio::spawn(async move { (reader.wait(START).await, reader) });
    settle().await;
    let long = world.log_in_until(&short, short.expires_at.plus(Duration::from_secs(3_600))).await;
    world.clock.set(short.expires_at);
    // A command that comes before the reader has noticed is refused, too.
    let (reason, reader) =
        timeout(Duration::from_secs(1), waiting).await.expect("ends").expect("no panic");
    assert_eq!(reason, WakeReason::TokenEnded);
    assert!(reader.token_ended(world.clock.now()));
    send_hello(&engine, ann, group).await;
    assert_eq!(stream(&reader, 0, 1_000), Some(Err(Streamed::TokenEnded)));
    assert_eq!(session.ended(), None);
    assert_eq!(code(engine.session(session.id(), short.token).await), ProblemCode::Unauthenticated);
    // The device continues where it was.
    let authorized = engine.session(session.id(), long.token).await.expect("is the device's");
    let second = authorized.session.attach_with(authorized.grant);
    assert_eq!(second.wait(START).await, WakeReason::Events);
    assert!(!second.token_ended(world.clock.now()));
    drop((reader, second));
    sleep(Duration::from_secs(61)).await;
    assert_eq!(session.ended(), Some(EndReason::Expired), "the resume window has passed");
}

#[tokio::test(start_paused = true)]
async fn a_command_after_the_expiry_is_refused_before_the_reader_has_ended() {
    let world = World::new();
    let ann = world.user("ann").await;
    let engine = world.start().await;
    let access = world.log_in(ann).await;
    let session = engine.open_session(&access, None).await.expect("opens");
    let reader = session.attach();
    let authorized = engine.session(session.id(), access.token).await.expect("is the device's");
    assert!(!reader.token_ended(world.clock.now()) && authorized.check(world.clock.now()).is_ok());
    world.clock.set(access.expires_at);
    assert!(reader.token_ended(world.clock.now()));
    assert_eq!(code(authorized.check(world.clock.now())), ProblemCode::Unauthenticated);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_ends_its_reader_and_a_token_that_remains_continues() {
    let world = World::new();
    let ann = world.user("ann").await;
    let engine = world.start().await;
    let old = world.log_in(ann).await;
    let session = engine.open_session(&old, None).await.expect("opens");
    let new = world.log_in_again(&old).await;
    let reader = session.attach();
    let authorized = engine.session(session.id(), old.token).await.expect("was looked up");
    let token = Revoked::Token(old.token);
    engine.publish(Delivery::EndSessions { user_id: ann, revoked: token }).await;
    settle().await;
    assert_eq!(reader.wait(START).await, WakeReason::TokenEnded);
    assert!(reader.token_ended(world.clock.now()));
    assert_eq!(session.ended(), None);
    let continued = engine.session(session.id(), new.token).await.expect("is the device's");
    let second = continued.session.attach_with(continued.grant);
    // A request that had been authorised attaches too late, and replaces no reader.
    let late = authorized.session.attach_with(authorized.grant);
    let ended = timeout(Duration::from_secs(1), late.wait(START)).await.expect("has ended");
    assert_eq!(ended, WakeReason::TokenEnded);
    assert_eq!(code(authorized.check(world.clock.now())), ProblemCode::Unauthenticated);
    assert_eq!(stream(&second, 0, 1_000), None, "waits for events");
}

#[tokio::test(start_paused = true)]
async fn a_log_out_ends_the_sessions_of_its_device_and_no_others() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let engine = world.start().await;
    let (out, stays) = (world.log_in(ann).await, world.log_in(ann).await);
    let ending = engine.open_session(&out, None).await.expect("opens");
    let staying = engine.open_session(&stays, None).await.expect("opens");
    let strange = engine.open_session(&world.log_in(ben).await, None).await.expect("opens");
    let again = world.log_in_again(&out).await;
    let authorized = engine.session(ending.id(), again.token).await.expect("is the device's");
    let reader = ending.attach_with(authorized.grant);
    let waiting = tokio::spawn(async move { reader.wait(START).await });
    settle().await;
    let before = Instant::now();
    world.directory.log_out(out.token).await.expect("logs out");
    let device = Revoked::Device { device_id: out.device.device_id, token: out.token };
    engine.publish(Delivery::EndSessions { user_id: ann, revoked: device }).await;
    assert_eq!(waiting.await.expect("no panic"), WakeReason::Ended(EndReason::LoggedOut));
    assert_eq!(before.elapsed(), Duration::ZERO, "at once");
    assert_eq!(code(read(&ending, 0, 1)), ProblemCode::Unauthenticated);
    for token in [out.token, again.token] {
        let refused = engine.session(ending.id(), token).await;
        assert_eq!(code(refused), ProblemCode::Unauthenticated);
    }
    assert!(read(&staying, 0, 1).is_ok() && read(&strange, 0, 1).is_ok());
    engine.publish(Delivery::EndSessions { user_id: ann, revoked: Revoked::All }).await;
    settle().await;
    assert_eq!(staying.ended(), Some(EndReason::LoggedOut));
    assert_eq!(strange.ended(), None);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_opens_during_the_log_out_does_not_outlive_it() {
    let world = World::new();
    let ann = world.user("ann").await;
    let engine = world.start().await;
    let access = world.log_in(ann).await;
    // The token is valid when the request arrives. Then it is revoked, before the node has a session
    // to end.
    world.directory.log_out(access.token).await.expect("logs out");
    let device = Revoked::Device { device_id: access.device.device_id, token: access.token };
    engine.publish(Delivery::EndSessions { user_id: ann, revoked: device }).await;
    assert_eq!(code(engine.open_session(&access, None).await), ProblemCode::Unauthenticated);
    settle().await;
    assert_eq!(engine.stats().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_announced_and_then_ends_every_session() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    let idle = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    let reader = client.session.attach();
    world.history.before_append.close();
    let accepted = engine.begin_submit(ann, text(group, "hello")).await.expect("is accepted");
    let draining = tokio::spawn({
        let engine = engine.clone();
        async move { engine.drain(Duration::from_millis(1_500)).await }
    });
    assert_eq!(reader.wait(START).await, WakeReason::Events);
    let events = stream(&reader, 0, 10_000).expect("there are events").expect("lives");
    client.take(events);
    let announced = client.events("draining");
    assert_eq!(announced.len(), 1);
    assert!(announced[0]["reconnect_after_ms"].as_u64().is_some_and(|ms| ms <= 1_500));
    assert_eq!(code(engine.submit(ann, text(group, "no")).await), ProblemCode::Draining);
    let refused = engine.open_session(&world.log_in(ann).await, None).await;
    assert_eq!(code(refused), ProblemCode::Draining);
    world.history.before_append.open();
    accepted.stored().await.expect("an accepted send is acknowledged");
    draining.await.expect("no panic");
    assert_eq!(idle.ended(), Some(EndReason::Draining));
    assert_eq!(code(read(&idle, 0, 1)), ProblemCode::SessionGone);
    // A stream still receives the events from before the end.
    let events =
        stream(&reader, client.after, 10_000).expect("there are events").expect("has events");
    assert_eq!(client.take(events), 1);
    let ended = Streamed::Ended(EndReason::Draining);
    assert_eq!(stream(&reader, client.after, 10_000), Some(Err(ended)));
}

#[tokio::test(start_paused = true)]
async fn no_session_survives_a_drain() {
    let world = World::new();
    let ann = world.user("ann").await;
    let engine = world.start().await;
    world.presence.after_join.close();
    let opening = tokio::spawn({
        let (engine, access) = (engine.clone(), world.log_in(ann).await);
        async move { engine.open_session(&access, None).await }
    });
    settle().await;
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
    settle().await;
    assert_eq!(engine.stats().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_every_task() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    world.history.before_append.close();
    world.inbox.before_receive.close();
    let pending = engine.begin_submit(ann, text(group, "hello")).await.expect("is accepted");
    settle().await;
    timeout(Duration::from_secs(1), engine.shutdown()).await.expect("every task ends");
    assert_eq!(
        (world.history.before_append.waiting(), world.inbox.before_receive.waiting()),
        (0, 0)
    );
    assert_eq!(code(pending.stored().await), ProblemCode::NotConfirmed);
}
