//! A log and an inbox that can be held up, and an inbox that says things again, as the ports allow.

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
    /// The log and, once it is lost, the news of that.
    inner: Mutex<Arc<(MemoryMessageLog, Notify)>>,
    answers: Mutex<Arc<Gate>>,
    /// In front of a trim.
    pub(crate) before_trim: Gate,
}

impl TestLog {
    pub(crate) fn new(clock: Arc<dyn Clock>, capacity: usize) -> Self {
        let inner = MemoryMessageLog::new(clock.clone(), capacity);
        Self {
            clock,
            inner: Mutex::new(Arc::new((inner, Notify::new()))),
            answers: Mutex::default(),
            before_trim: Gate::default(),
        }
    }

    /// All entries are lost, as when a server without a disk is replaced.
    pub(crate) fn lose(&self) {
        let empty = MemoryMessageLog::new(self.clock.clone(), 10_000);
        let empty = Arc::new((empty, Notify::new()));
        let lost = std::mem::replace(&mut *self.inner.lock().expect("no panic"), empty);
        lost.1.notify_waiters();
    }

    /// Appends from now on happen, but are answered only when the gate is opened.
    pub(crate) fn hold_answers(&self) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        gate.shut();
        *self.answers.lock().expect("no panic") = gate.clone();
        gate
    }

    /// Appends from now on are answered at once. Those held before stay so.
    pub(crate) fn answer_at_once(&self) {
        *self.answers.lock().expect("no panic") = Arc::default();
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
            let answers = self.answers.lock().expect("no panic").clone();
            let sequenced = self.inner().0.append(partition, floor, draft, origin).await;
            answers.pass().await;
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

/// As far back repeats go.
const LATE: usize = 16;

pub(crate) struct TestInbox {
    inner: MemoryNodeInbox,
    /// In front of a receive.
    pub(crate) before_receive: Gate,
    /// In front of a send.
    pub(crate) before_send: Gate,
    /// In front of an opening.
    pub(crate) before_open: Gate,
    /// As many of the next sends fail.
    pub(crate) failing_sends: AtomicUsize,
    repeats: Mutex<Option<StdRng>>,
    said: Mutex<HashMap<NodeId, Vec<Delivery>>>,
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
            said: Mutex::default(),
        }
    }

    /// From now on every send is followed by a run of messages that were sent before, in their
    /// order: what a sender does that lost an answer, or a second owner that is behind.
    pub(crate) fn repeat(&self, seed: u64) {
        *self.repeats.lock().expect("no panic") = Some(StdRng::seed_from_u64(seed));
    }

    /// Notes what is sent and answers what is to be said again.
    fn again(&self, node: &NodeId, deliveries: &[Delivery]) -> Vec<Delivery> {
        let mut repeats = self.repeats.lock().expect("no panic");
        let Some(repeats) = repeats.as_mut() else {
            return Vec::new();
        };
        let mut said = self.said.lock().expect("no panic");
        let said = said.entry(node.clone()).or_default();
        let messages = deliveries.iter().filter(|d| matches!(d, Delivery::Message { .. }));
        said.extend(messages.cloned());
        said.drain(..said.len().saturating_sub(LATE));
        let from = repeats.random_range(0..=said.len());
        let to = repeats.random_range(from..=said.len());
        said[from..to].to_vec()
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
