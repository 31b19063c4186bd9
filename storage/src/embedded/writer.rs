//! The only writer of an embedded store: one thread that makes pending requests durable, a group at
//! a time. Owns grouping, syncing and replies. The stages decide what a request writes.
//!
//! A group consists of the requests that wait when the previous sync ends, up to the configured
//! limits. There are no timers: a single request waits only for its own sync, and under load one
//! sync serves hundreds. `fdatasync` is sufficient: it also flushes the new size of a growing
//! journal, and fjall fully syncs a new journal and its folder when it creates them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use fjall::PersistMode;
use pabal_core::model::{Message, Partition};
use pabal_core::ports::{Appended, HistoryError, Notification, PushError, PushPosition};
use tokio::sync::{mpsc, oneshot, watch};

use super::append_stage::AppendStage;
use super::chain::{ChainedBatch, Reached};
use super::config::EmbeddedConfig;
use super::database::{Database, ReadError};
use super::error::OpenError;
use super::folder;
use super::push_stage::PushStage;
use crate::mark::Marker;

/// A request to the writer.
pub(crate) enum Request {
    /// [`HistoryStore::append`](pabal_core::ports::HistoryStore::append).
    Append {
        partition: Partition,
        messages: Vec<Message>,
        reply: oneshot::Sender<Result<Vec<Appended>, HistoryError>>,
    },
    /// [`PushNotifier::enqueue`](pabal_core::ports::PushNotifier::enqueue).
    Enqueue { notifications: Vec<Notification>, reply: oneshot::Sender<Result<(), PushError>> },
    /// [`PushNotifier::confirm`](pabal_core::ports::PushNotifier::confirm).
    Confirm { positions: Vec<PushPosition>, reply: oneshot::Sender<Result<(), PushError>> },
}

/// The handle of the writer thread. Dropping it lets the thread write pending requests and end.
pub(crate) struct Writer {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    /// The position of the newest notification.
    arrived: watch::Receiver<u64>,
    /// Ends after the thread, whose last note it writes.
    _marker: Arc<Marker>,
    database: Arc<Database>,
}

/// The writer has stopped accepting requests, for this reason.
#[derive(Debug)]
pub(crate) struct Stopped(pub(crate) String);

impl From<Stopped> for HistoryError {
    fn from(Stopped(why): Stopped) -> Self {
        Self::Poisoned(why)
    }
}

impl From<Stopped> for PushError {
    fn from(Stopped(why): Stopped) -> Self {
        Self::Unavailable(why)
    }
}

/// Why the writer did not start.
pub(super) enum StartError {
    Rows(ReadError),
    Thread(io::Error),
}

impl StartError {
    pub(super) fn at(self, folder: &Path) -> OpenError {
        match self {
            Self::Rows(error) => OpenError::damaged(folder, error),
            Self::Thread(error) => OpenError::unavailable(folder, error),
        }
    }
}

impl Writer {
    pub(super) fn start(
        database: Arc<Database>,
        folder: &Path,
        config: &EmbeddedConfig,
    ) -> Result<Self, StartError> {
        let push = PushStage::load(&database, config.push_capacity).map_err(StartError::Rows)?;
        let reached = Reached::of(&database).map_err(StartError::Rows)?;
        let marker = Marker::start(folder::mark_path(folder)).map_err(StartError::Thread)?;
        let marker = Arc::new(marker);
        // What was found on the disk is durable, even if a crash came before the mark.
        marker.note(reached.encode());
        let arrived = push.arrived();
        let (requests, waiting) = mpsc::channel(config.waiting_requests.max(1));
        let (written, groups) = group_channel();
        let group_writer = GroupWriter {
            requests: waiting,
            written,
            append: AppendStage::default(),
            push,
            max_messages: config.group_messages.max(1),
            max_bytes: config.group_bytes.max(1),
            reached,
            marker: Arc::clone(&marker),
            database: Arc::clone(&database),
        };
        let thread = thread::Builder::new()
            .name("pabal-writer".into())
            .spawn(|| group_writer.run())
            .map_err(StartError::Thread)?;
        // Ends with the thread, which owns the only sender.
        let _replies = tokio::spawn(send_replies(groups));
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
            arrived,
            _marker: marker,
            database,
        })
    }

    /// The database, unless it is poisoned.
    pub(crate) fn database(&self) -> Result<&Database, Stopped> {
        match self.database.poisoned() {
            Some(why) => Err(Stopped(why.to_owned())),
            None => Ok(&self.database),
        }
    }

    /// Changes when notifications arrive; closed when the writer has stopped.
    pub(crate) fn arrived(&self) -> watch::Receiver<u64> {
        self.arrived.clone()
    }

    /// Sends a request to the writer and waits for the reply; waits while the queue is full. If the
    /// future is dropped while the queue is full, nothing happens; if it is dropped later, the
    /// request is executed.
    pub(crate) async fn submit<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Stopped> {
        self.database()?;
        let (reply, replied) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(|| self.stopped())?;
        requests.send(request(reply)).await.map_err(|_| self.stopped())?;
        replied.await.map_err(|_| self.stopped())
    }

    /// Why the writer has stopped.
    pub(crate) fn stopped(&self) -> Stopped {
        Stopped(self.database.poisoned().unwrap_or("the store is closed").to_owned())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has poisoned the database and failed every pending call.
            drop(thread.join());
        }
    }
}

/// The state of the writer thread.
struct GroupWriter {
    requests: mpsc::Receiver<Request>,
    written: mpsc::UnboundedSender<WrittenGroup>,
    append: AppendStage,
    push: PushStage,
    max_messages: usize,
    max_bytes: usize,
    /// How far the store is written.
    reached: Reached,
    marker: Arc<Marker>,
    database: Arc<Database>,
}

impl Drop for GroupWriter {
    fn drop(&mut self) {
        if thread::panicking() {
            self.database.poison("the writer panicked".into());
        }
    }
}

impl GroupWriter {
    fn run(mut self) {
        while let Some(first) = self.requests.blocking_recv() {
            // Lets senders that were just acknowledged run first on this core, so that their next
            // requests join this group. With 64 senders on one core this reduces the cost by a
            // third.
            thread::yield_now();
            let mut group = Group::default();
            let outcome = match self.fill(first, &mut group) {
                Ok(()) => self.commit(),
                Err(error) => {
                    self.append.abandon();
                    self.push.abandon();
                    Err(Failure::Read(error))
                }
            };
            let poisoned = matches!(outcome, Err(Failure::Poisoned(_)));
            let written = WrittenGroup { replies: group.replies, outcome };
            if self.written.send(written).is_err() || poisoned {
                return;
            }
        }
    }

    /// Stages `first` and further pending requests, up to the limits of a group. If one request
    /// cannot be staged, the whole group fails, because a later request may depend on it.
    fn fill(&mut self, first: Request, group: &mut Group) -> Result<(), ReadError> {
        self.stage(first, group)?;
        while group.messages < self.max_messages && group.bytes < self.max_bytes {
            let Ok(request) = self.requests.try_recv() else {
                break;
            };
            self.stage(request, group)?;
        }
        Ok(())
    }

    fn stage(&mut self, request: Request, group: &mut Group) -> Result<(), ReadError> {
        match request {
            Request::Append { partition, messages, reply } => {
                group.add(&messages);
                let staged = self.append.stage(&self.database, partition, &messages);
                let (outcomes, result) = split(staged);
                debug_assert!(
                    result.is_err() || outcomes.len() == messages.len(),
                    "each message has one outcome"
                );
                group.replies.push(PendingReply::Append(reply, outcomes));
                result
            }
            Request::Enqueue { notifications, reply } => {
                group.add(notifications.iter().map(|notification| &notification.message));
                if self.push.enqueue(&notifications) {
                    group.replies.push(PendingReply::Push(reply));
                } else {
                    // The caller may have dropped its future.
                    drop(reply.send(Err(PushError::Full)));
                }
                Ok(())
            }
            Request::Confirm { positions, reply } => {
                group.messages += positions.len();
                group.replies.push(PendingReply::Push(reply));
                self.push.confirm(&self.database, &positions)
            }
        }
    }

    /// Makes the staged writes durable, then visible.
    fn commit(&mut self) -> Result<(), Failure> {
        let batch = self.database.fjall.batch().durability(Some(PersistMode::SyncData));
        let mut batch = ChainedBatch::after(&self.reached, &self.database, batch);
        self.append.write(&self.database, &mut batch);
        self.push.write(&self.database, &mut batch);
        // With an empty batch all requests were already known, and known requests are durable.
        if !batch.is_empty() {
            match batch.commit() {
                Ok(reached) => self.reached = reached,
                Err(error) => {
                    self.database.poison(error.to_string());
                    return Err(Failure::Poisoned(error.to_string()));
                }
            }
            // The mark follows on its own thread.
            self.marker.note(self.reached.encode());
            self.database.publish();
        }
        self.append.committed(&self.database);
        self.push.committed();
        Ok(())
    }
}

fn split(staged: Result<Vec<Appended>, ReadError>) -> (Vec<Appended>, Result<(), ReadError>) {
    match staged {
        Ok(outcomes) => (outcomes, Ok(())),
        Err(error) => (Vec::new(), Err(error)),
    }
}

/// The requests that one sync makes durable.
#[derive(Default)]
struct Group {
    messages: usize,
    bytes: usize,
    replies: Vec<PendingReply>,
}

impl Group {
    fn add<'a>(&mut self, messages: impl IntoIterator<Item = &'a Message>) {
        for message in messages {
            self.messages += 1;
            self.bytes += message.content.len();
        }
    }
}

/// A pending reply and its content once the group is durable. The caller may have dropped its
/// future; the reply is then discarded.
enum PendingReply {
    Append(oneshot::Sender<Result<Vec<Appended>, HistoryError>>, Vec<Appended>),
    Push(oneshot::Sender<Result<(), PushError>>),
}

/// A group after its write.
struct WrittenGroup {
    replies: Vec<PendingReply>,
    outcome: Result<(), Failure>,
}

/// The channel of written groups. It is unbounded because the thread must not wait here: the
/// runtime would wait for the thread at shutdown, and the thread for the runtime.
#[expect(
    clippy::disallowed_methods,
    reason = "bounded by the callers, each of which has one request in flight"
)]
fn group_channel() -> (mpsc::UnboundedSender<WrittenGroup>, mpsc::UnboundedReceiver<WrittenGroup>) {
    mpsc::unbounded_channel()
}

/// Sends the replies of each group. It runs as a task of the runtime, so that the thread wakes the
/// runtime once for each group; a wake-up for each caller would cost more than the write.
async fn send_replies(mut written: mpsc::UnboundedReceiver<WrittenGroup>) {
    while let Some(WrittenGroup { replies, outcome }) = written.recv().await {
        for reply in replies {
            reply.send(&outcome);
        }
    }
}

/// Why a group was not written.
enum Failure {
    Read(ReadError),
    Poisoned(String),
}

impl PendingReply {
    fn send(self, outcome: &Result<(), Failure>) {
        match self {
            Self::Append(reply, outcomes) => drop(reply.send(match outcome {
                Ok(()) => Ok(outcomes),
                Err(Failure::Read(error)) => Err(error.clone().into()),
                Err(Failure::Poisoned(why)) => Err(HistoryError::Poisoned(why.clone())),
            })),
            Self::Push(reply) => drop(reply.send(match outcome {
                Ok(()) => Ok(()),
                Err(Failure::Read(error)) => Err(error.clone().into()),
                Err(Failure::Poisoned(why)) => Err(PushError::Unavailable(why.clone())),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use pabal_core::model::{ChannelId, MessageId, Timestamp, UserId};

    use super::*;

    fn append(number: u64, content: String) -> Request {
        let partition = Partition::new(0).expect("a partition");
        let message = Message {
            message_id: MessageId::first_at(
                Timestamp::from_millis(1_790_000_000_000 + number),
                partition,
            ),
            channel_id: ChannelId::new(1),
            message_from: UserId::new(1),
            message_to: None,
            content: content.into(),
            client_message_id: None,
        };
        let (reply, _) = oneshot::channel();
        Request::Append { partition, messages: vec![message], reply }
    }

    #[test]
    fn a_group_ends_at_its_limits_although_more_requests_wait() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config =
            EmbeddedConfig { group_messages: 3, group_bytes: 100, ..EmbeddedConfig::default() };
        let database = Arc::new(Database::open(folder.path(), &config).expect("opens"));
        let marker = Marker::start(folder::mark_path(folder.path())).expect("a mark");
        let (requests, waiting) = mpsc::channel(10);
        let (written, _groups) = group_channel();
        let mut writer = GroupWriter {
            requests: waiting,
            written,
            append: AppendStage::default(),
            push: PushStage::load(&database, 1).expect("loads"),
            max_messages: config.group_messages,
            max_bytes: config.group_bytes,
            reached: Reached::default(),
            marker: Arc::new(marker),
            database,
        };
        for (number, bytes) in (0..).zip([1, 1, 1, 100, 1]) {
            assert!(requests.try_send(append(number, "x".repeat(bytes))).is_ok());
        }
        let mut groups = Vec::new();
        while let Ok(first) = writer.requests.try_recv() {
            let mut group = Group::default();
            writer.fill(first, &mut group).expect("stages");
            assert!(writer.commit().is_ok());
            groups.push(group.messages);
        }
        assert_eq!(groups, [3, 1, 1], "three messages, a hundred bytes, the rest");
    }
}
