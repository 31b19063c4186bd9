//! A client that checks at every event what every client can rely on (invariant I3): seqs without
//! holes, rising ids in a channel, and a `resync` for what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pabal_core::engine::{Engine, Reader, Session, Streamed, View};
use pabal_core::model::{ChannelId, MessageId, Seq};
use pabal_core::ports::{Access, HistoryStore, PageFrom};
use pabal_core::protocol::{Cursors, Problem};
use serde_json::Value;

use super::World;

/// The events of a batch and its `next`.
pub(crate) type Events = (Vec<Value>, Seq);

/// Reads a session as short polling does.
pub(crate) fn read(session: &Session, after: u64, limit: usize) -> Result<Events, Problem> {
    session.read(Some(Seq::new(after)), limit, |view| parsed(&view))
}

/// Reads a session as a stream does; absent if there is no event now.
pub(crate) fn stream(
    reader: &Reader,
    after: u64,
    bytes: usize,
) -> Option<Result<Events, Streamed>> {
    let mut events = None;
    let mut cx = Context::from_waker(Waker::noop());
    match reader.poll_stream(&mut cx, Seq::new(after), bytes, |view| events = Some(parsed(&view))) {
        Poll::Pending => None,
        Poll::Ready(Streamed::UpTo { next, .. }) => {
            let events = events.expect("was written");
            assert_eq!(events.1, next);
            Some(Ok(events))
        }
        Poll::Ready(other) => Some(Err(other)),
    }
}

fn parsed(view: &View<'_>) -> Events {
    let mut json = Vec::new();
    view.batch().write(&mut json);
    let batch: Value = serde_json::from_slice(&json).expect("is JSON");
    let events = batch["events"].as_array().expect("is a list").clone();
    let next = batch["next"].as_str().expect("is a string").parse().expect("is a seq");
    assert_eq!((events.len(), next), (view.len(), view.next()));
    (events, next)
}

/// The message id in a `message` event.
pub(crate) fn message_id_of(event: &Value) -> MessageId {
    assert_eq!(event["type"], "message", "{event}");
    field(&event["message"], "message_id")
}

fn field<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value, name: &str) -> T {
    value[name].as_str().expect("is a string").parse().expect("is an id")
}

/// What a client holds of a channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// The highest id that it received, by the message or by a `resync`.
    pub(crate) top: MessageId,
    /// The messages that it received, in order of arrival.
    pub(crate) received: Vec<MessageId>,
    /// The ranges to fetch after a `resync`: above the first id, up to the second.
    pub(crate) missing: Vec<(MessageId, MessageId)>,
    /// All messages that it has.
    pub(crate) all: BTreeSet<MessageId>,
}

pub(crate) struct Client {
    pub(crate) session: Arc<Session>,
    /// The seq of the last event it received.
    pub(crate) after: u64,
    pub(crate) channels: BTreeMap<ChannelId, Held>,
    /// The events that are neither messages nor resyncs.
    pub(crate) others: Vec<Value>,
}

impl Client {
    /// Opens a session that starts with the next event.
    pub(crate) async fn open(engine: &Engine, access: &Access) -> Self {
        Self::of(engine.open_session(access, None).await.expect("opens"), &Cursors::new())
    }

    /// Opens a session that catches up.
    pub(crate) async fn open_from(engine: &Engine, access: &Access, cursors: Cursors) -> Self {
        let session = engine.open_session(access, Some(cursors.clone())).await.expect("opens");
        Self::of(session, &cursors)
    }

    fn of(session: Arc<Session>, cursors: &Cursors) -> Self {
        let held = |(&channel_id, &top)| (channel_id, Held { top, ..Held::default() });
        let channels = cursors.iter().map(held).collect();
        Self { session, after: 0, channels, others: Vec::new() }
    }

    /// A short poll, which confirms the events before. Returns the number of events.
    pub(crate) fn poll(&mut self) -> usize {
        self.poll_some(usize::MAX).expect("the session lives")
    }

    /// A short poll of at most `limit` events.
    pub(crate) fn poll_some(&mut self, limit: usize) -> Result<usize, Problem> {
        let events = read(&self.session, self.after, limit)?;
        assert!(events.0.len() <= limit);
        Ok(self.take(events))
    }

    /// Polls until there are no more events. A confirmation may free slots for a `resync`.
    pub(crate) fn poll_all(&mut self) {
        while self.poll() > 0 {}
    }

    /// Checks and keeps the events of a batch. Returns their number.
    pub(crate) fn take(&mut self, (events, next): Events) -> usize {
        let expected = self.after + events.len() as u64;
        assert_eq!(next.get(), expected, "seqs have a hole after {}: {events:?}", self.after);
        self.after = next.get();
        for event in &events {
            self.take_one(event);
        }
        events.len()
    }

    fn take_one(&mut self, event: &Value) {
        match event["type"].as_str() {
            Some("message") => {
                let message_id = message_id_of(event);
                let held = self.channel(field(&event["message"], "channel_id"));
                assert!(message_id > held.top, "{message_id} came after {}", held.top);
                held.top = message_id;
                held.received.push(message_id);
                held.all.insert(message_id);
            }
            Some("resync") => {
                let upto: MessageId = field(event, "cur_max_message_id");
                let held = self.channel(field(event, "channel_id"));
                assert!(upto >= held.top, "a resync up to {upto} came after {}", held.top);
                held.missing.push((held.top, upto));
                held.top = upto;
            }
            _ => self.others.push(event.clone()),
        }
    }

    fn channel(&mut self, channel_id: ChannelId) -> &mut Held {
        self.channels.entry(channel_id).or_default()
    }

    /// The messages of a channel that it received, in order of arrival.
    pub(crate) fn received(&self, channel_id: ChannelId) -> Vec<MessageId> {
        self.channels.get(&channel_id).map(|held| held.received.clone()).unwrap_or_default()
    }

    /// How many resyncs of a channel it received.
    pub(crate) fn resyncs(&self, channel_id: ChannelId) -> usize {
        self.channels.get(&channel_id).map_or(0, |held| held.missing.len())
    }

    /// Fetches the ranges of its resyncs, and nothing else.
    pub(crate) async fn fetch(&mut self, world: &World) {
        for (&channel_id, held) in &mut self.channels {
            for &(above, upto) in &held.missing {
                let page =
                    world.history.page(channel_id, PageFrom::After(above), usize::MAX.into()).await;
                let ids = page.expect("reads").messages.into_iter().map(|m| m.message_id);
                held.all.extend(ids.filter(|id| *id <= upto));
            }
        }
    }

    /// All messages of a channel that it has, received or fetched.
    pub(crate) fn all(&self, channel_id: ChannelId) -> Vec<MessageId> {
        let held = self.channels.get(&channel_id);
        held.map(|held| held.all.iter().copied().collect()).unwrap_or_default()
    }

    /// The events of a kind other than messages and resyncs.
    pub(crate) fn events(&self, kind: &str) -> Vec<&Value> {
        self.others.iter().filter(|event| event["type"] == kind).collect()
    }
}
