//! A log and an inbox that can be paused, and an inbox that repeats deliveries, as the port allows.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use pabal_core::memory::{MemoryMessageLog, MemoryNodeInbox};
use pabal_core::model::{Draft, MessageId, NodeId, Partition};
use pabal_core::ports::{
    BoxFuture, Clock, Delivery, InboxEntry, InboxError, InboxPosition, LogEntry, LogError,
    MessageLog, NodeInbox, Origin, Sequenced,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;

use super::Gate;
use super::relations::fails;

pub(crate) struct TestLog {
    clock: Arc<dyn Clock>,
    /// The log, and a notification when it is lost.
    inner: Mutex<Arc<(MemoryMessageLog, Notify)>>,
    responses: Mutex<Arc<Gate>>,
    /// Before a trim.
    pub(crate) before_trim: Gate,
}

impl TestLog {
    pub(crate) fn new(clock: Arc<dyn Clock>, capacity: usize) -> Self {
        let inner = MemoryMessageLog::new(clock.clone(), capacity);
        Self {
            clock,
            inner: Mutex::new(Arc::new((inner, Notify::new()))),
            responses: Mutex::default(),
            before_trim: Gate::default(),
        }
    }

    /// Loses all entries, like a server without a disk that is replaced.
    pub(crate) fn lose(&self) {
        let empty = MemoryMessageLog::new(self.clock.clone(), 10_000);
        let empty = Arc::new((empty, Notify::new()));
        let lost = std::mem::replace(&mut *self.inner.lock().expect("no panic"), empty);
        lost.1.notify_waiters();
    }

    /// From now on an append returns only when the gate is opened; the entry is appended at once.
    pub(crate) fn hold_responses(&self) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        gate.close();
        *self.responses.lock().expect("no panic") = gate.clone();
        gate
    }

    /// From now on appends return at once. Those that wait already still wait.
    pub(crate) fn respond_at_once(&self) {
        *self.responses.lock().expect("no panic") = Arc::default();
    }

    fn inner(&self) -> Arc<(MemoryMessageLog, Notify)> {
        self.inner.lock().expect("no panic").clone()
    }
}

impl MessageLog for TestLog {
    fn append(
        &self,
        partition: Partition,
        floor: MessageId,
        draft: Draft,
        origin: Origin,
    ) -> BoxFuture<'_, Result<Sequenced, LogError>> {
        Box::pin(async move {
            let responses = self.responses.lock().expect("no panic").clone();
            let sequenced = self.inner().0.append(partition, floor, draft, origin).await;
            responses.pass().await;
            sequenced
        })
    }

    fn read(
        &self,
        partition: Partition,
        after: MessageId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
        Box::pin(async move {
            let inner = self.inner();
            tokio::select! {
                entries = inner.0.read(partition, after, limit) => entries,
                () = inner.1.notified() => Err(LogError::Unavailable("a test".into())),
            }
        })
    }

    fn raise(
        &self,
        partition: Partition,
        stored: MessageId,
    ) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move { self.inner().0.raise(partition, stored).await })
    }

    fn trim(&self, partition: Partition, stored: MessageId) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move {
            self.before_trim.pass().await;
            self.inner().0.trim(partition, stored).await
        })
    }
}

/// How many of the last messages may be repeated.
const LATE: usize = 16;

pub(crate) struct TestInbox {
    inner: MemoryNodeInbox,
    /// Before a receive.
    pub(crate) before_receive: Gate,
    /// Before a send.
    pub(crate) before_send: Gate,
    /// Before an inbox is opened.
    pub(crate) before_open: Gate,
    /// How many of the next sends fail.
    pub(crate) failing_sends: AtomicUsize,
    repeats: Mutex<Option<StdRng>>,
    sent: Mutex<HashMap<NodeId, Vec<Delivery>>>,
}

impl TestInbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            inner: MemoryNodeInbox::new(capacity),
            before_receive: Gate::default(),
            before_send: Gate::default(),
            before_open: Gate::default(),
            failing_sends: AtomicUsize::default(),
            repeats: Mutex::default(),
            sent: Mutex::default(),
        }
    }

    /// From now on every send is followed by some of the messages that were sent before, in their
    /// order: like a sender that got no response, or a second owner that is slower.
    pub(crate) fn repeat(&self, seed: u64) {
        *self.repeats.lock().expect("no panic") = Some(StdRng::seed_from_u64(seed));
    }

    /// Records what is sent, and returns what to send again.
    fn again(&self, node: &NodeId, deliveries: &[Delivery]) -> Vec<Delivery> {
        let mut repeats = self.repeats.lock().expect("no panic");
        let Some(repeats) = repeats.as_mut() else {
            return Vec::new();
        };
        let mut sent = self.sent.lock().expect("no panic");
        let sent = sent.entry(node.clone()).or_default();
        let messages = deliveries.iter().filter(|d| matches!(d, Delivery::Message { .. }));
        sent.extend(messages.cloned());
        sent.drain(..sent.len().saturating_sub(LATE));
        let from = repeats.random_range(0..=sent.len());
        let to = repeats.random_range(from..=sent.len());
        sent[from..to].to_vec()
    }
}

impl NodeInbox for TestInbox {
    fn send(
        &self,
        node: &NodeId,
        mut deliveries: Vec<Delivery>,
    ) -> BoxFuture<'_, Result<(), InboxError>> {
        let node = node.clone();
        Box::pin(async move {
            self.before_send.pass().await;
            if fails(&self.failing_sends) {
                return Err(InboxError::Unavailable("a test".into()));
            }
            deliveries.extend(self.again(&node, &deliveries));
            self.inner.send(&node, deliveries).await
        })
    }

    fn receive(
        &self,
        node: &NodeId,
        after: InboxPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxEntry>, InboxError>> {
        let node = node.clone();
        Box::pin(async move {
            self.before_receive.pass().await;
            let entries = self.inner.receive(&node, after, limit).await;
            self.before_receive.pass().await;
            entries
        })
    }

    fn open(&self, node: &NodeId) -> BoxFuture<'_, Result<(), InboxError>> {
        let node = node.clone();
        Box::pin(async move {
            self.before_open.pass().await;
            self.inner.open(&node).await
        })
    }

    fn forget(&self, node: &NodeId) -> BoxFuture<'_, Result<(), InboxError>> {
        self.inner.forget(node)
    }
}
