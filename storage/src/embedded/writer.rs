//! The only writer of an embedded store: one thread that makes what waits durable, a group at a
//! time. Owns grouping, syncing and answering; what a request writes, the stages know.
//!
//! A group is whatever waits when the writer comes back from the last sync, up to the configured
//! bounds: no timers, so a lone request waits for its own sync only, and under load one sync serves
//! hundreds. `fdatasync` is enough: a journal that grows has its new size flushed with it, and fjall
//! syncs a new journal and its folder completely when it makes them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use fjall::PersistMode;
use pabal_core::model::{Message, Partition};
use pabal_core::ports::{Appended, HistoryError, Notification, PushError, PushPosition};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Database, EmbeddedConfig, OpenError, Unreadable};
use crate::history::AppendStage;
use crate::push::PushStage;

/// Something to make durable.
pub(crate) enum Request {
    /// [`HistoryStore::append`](pabal_core::ports::HistoryStore::append).
    Append {
        partition: Partition,
        messages: Vec<Message>,
        answer: oneshot::Sender<Result<Vec<Appended>, HistoryError>>,
    },
    /// [`PushNotifier::enqueue`](pabal_core::ports::PushNotifier::enqueue).
    Enqueue { notifications: Vec<Notification>, answer: oneshot::Sender<Result<(), PushError>> },
    /// [`PushNotifier::confirm`](pabal_core::ports::PushNotifier::confirm).
    Confirm { positions: Vec<PushPosition>, answer: oneshot::Sender<Result<(), PushError>> },
}

/// Handle of the writer thread; dropping it lets the thread write what waits and end.
pub(crate) struct Writer {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    /// The position of the newest notification.
    arrived: watch::Receiver<u64>,
    database: Arc<Database>,
}

/// The writer takes no requests any more, for this reason.
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
    Push(Unreadable),
    Thread(io::Error),
}

impl StartError {
    pub(super) fn at(self, folder: &Path) -> OpenError {
        match self {
            Self::Push(error) => OpenError::damaged(folder, error),
            Self::Thread(error) => OpenError::unavailable(folder, error),
        }
    }
}

impl Writer {
    pub(super) fn start(
        database: Arc<Database>,
        config: &EmbeddedConfig,
    ) -> Result<Self, StartError> {
        let push = PushStage::load(&database, config.push_capacity).map_err(StartError::Push)?;
        let arrived = push.arrived();
        let (requests, waiting) = mpsc::channel(config.waiting_requests.max(1));
        let (done, groups) = unanswered();
        let group_writer = GroupWriter {
            requests: waiting,
            done,
            append: AppendStage::default(),
            push,
            max_messages: config.group_messages.max(1),
            max_bytes: config.group_bytes.max(1),
            database: Arc::clone(&database),
        };
        let thread = thread::Builder::new()
            .name("pabal-writer".into())
            .spawn(|| group_writer.run())
            .map_err(StartError::Thread)?;
        // Ends with the thread, which has its only sender.
        let _answering = tokio::spawn(answer(groups));
        Ok(Self { requests: Some(requests), thread: Some(thread), arrived, database })
    }

    /// The database, if it can go on.
    pub(crate) fn database(&self) -> Result<&Database, Stopped> {
        match self.database.poisoned() {
            Some(why) => Err(Stopped(why.to_owned())),
            None => Ok(&self.database),
        }
    }

    /// Tells when notifications arrive; closed when the writer has stopped.
    pub(crate) fn arrived(&self) -> watch::Receiver<u64> {
        self.arrived.clone()
    }

    /// Hands in a request and waits for its answer. Waits for room, too. Dropped before there was
    /// room, nothing happens; dropped later, the request is done all the same.
    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Stopped> {
        self.database()?;
        let (answer, answered) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(|| self.stopped())?;
        requests.send(request(answer)).await.map_err(|_| self.stopped())?;
        answered.await.map_err(|_| self.stopped())
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
            // A panic of the thread has poisoned the database and told every caller.
            drop(thread.join());
        }
    }
}

/// What the thread owns.
struct GroupWriter {
    requests: mpsc::Receiver<Request>,
    done: mpsc::UnboundedSender<Done>,
    append: AppendStage,
    push: PushStage,
    max_messages: usize,
    max_bytes: usize,
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
            // Whoever shares this core and can run, runs first: senders that were answered a moment
            // ago are then in this group, not in the next. On one core 64 of them cost a third less.
            thread::yield_now();
            let mut group = Group::default();
            let outcome = match self.fill(first, &mut group) {
                Ok(()) => self.commit(),
                Err(error) => {
                    self.append.abandon();
                    self.push.abandon();
                    Err(Failure::Unreadable(error))
                }
            };
            let poisoned = matches!(outcome, Err(Failure::Poisoned(_)));
            let done = Done { answers: group.answers, outcome };
            if self.done.send(done).is_err() || poisoned {
                return;
            }
        }
    }

    /// Stages `first` and what else waits, as far as there is room. A request that cannot be staged
    /// takes the group with it, so that none is answered on the ground of another that failed.
    fn fill(&mut self, first: Request, group: &mut Group) -> Result<(), Unreadable> {
        self.stage(first, group)?;
        while group.messages < self.max_messages && group.bytes < self.max_bytes {
            let Ok(request) = self.requests.try_recv() else {
                break;
            };
            self.stage(request, group)?;
        }
        Ok(())
    }

    fn stage(&mut self, request: Request, group: &mut Group) -> Result<(), Unreadable> {
        match request {
            Request::Append { partition, messages, answer } => {
                group.add(&messages);
                let staged = self.append.stage(&self.database, partition, &messages);
                let (became, outcome) = split(staged);
                group.answers.push(Answer::Append(answer, became));
                outcome
            }
            Request::Enqueue { notifications, answer } => {
                group.add(notifications.iter().map(|notification| &notification.message));
                if self.push.enqueue(&notifications) {
                    group.answers.push(Answer::Push(answer));
                } else {
                    // The caller may be gone; then nobody misses the answer.
                    drop(answer.send(Err(PushError::Full)));
                }
                Ok(())
            }
            Request::Confirm { positions, answer } => {
                group.messages += positions.len();
                group.answers.push(Answer::Push(answer));
                self.push.confirm(&self.database, &positions)
            }
        }
    }

    /// Makes durable what is staged, then shows it.
    fn commit(&mut self) -> Result<(), Failure> {
        let mut batch = self.database.fjall.batch().durability(Some(PersistMode::SyncData));
        self.append.write(&self.database, &mut batch);
        self.push.write(&self.database, &mut batch);
        // With nothing to write all was known already, and all that is known is durable.
        if !batch.is_empty() {
            if let Err(error) = batch.commit() {
                self.database.poison(error.to_string());
                return Err(Failure::Poisoned(error.to_string()));
            }
            self.database.publish();
        }
        self.append.committed(&self.database);
        self.push.committed();
        Ok(())
    }
}

fn split(staged: Result<Vec<Appended>, Unreadable>) -> (Vec<Appended>, Result<(), Unreadable>) {
    match staged {
        Ok(became) => (became, Ok(())),
        Err(error) => (Vec::new(), Err(error)),
    }
}

/// What one sync makes durable.
#[derive(Default)]
struct Group {
    messages: usize,
    bytes: usize,
    answers: Vec<Answer>,
}

impl Group {
    fn add<'a>(&mut self, messages: impl IntoIterator<Item = &'a Message>) {
        for message in messages {
            self.messages += 1;
            self.bytes += message.content.len();
        }
    }
}

/// Who waits for a group, and what to answer once it is durable. A caller may have given up; its
/// answer is then nobody's.
enum Answer {
    Append(oneshot::Sender<Result<Vec<Appended>, HistoryError>>, Vec<Appended>),
    Push(oneshot::Sender<Result<(), PushError>>),
}

/// A group that was written, or not.
struct Done {
    answers: Vec<Answer>,
    outcome: Result<(), Failure>,
}

/// Groups on their way to their callers. A thread that waited here for room could not end while its
/// runtime waits for its end.
#[expect(
    clippy::disallowed_methods,
    reason = "bounded by the callers, each of whom waits for one answer before it asks again"
)]
fn unanswered() -> (mpsc::UnboundedSender<Done>, mpsc::UnboundedReceiver<Done>) {
    mpsc::unbounded_channel()
}

/// Answers the callers of each group. A task of the runtime, so that the thread wakes the runtime
/// once a group: to wake it for each caller would cost more than to write the group.
async fn answer(mut done: mpsc::UnboundedReceiver<Done>) {
    while let Some(Done { answers, outcome }) = done.recv().await {
        for answer in answers {
            answer.send(&outcome);
        }
    }
}

/// Why a group was not written.
enum Failure {
    Unreadable(Unreadable),
    Poisoned(String),
}

impl Answer {
    fn send(self, outcome: &Result<(), Failure>) {
        match self {
            Self::Append(answer, became) => drop(answer.send(match outcome {
                Ok(()) => Ok(became),
                Err(Failure::Unreadable(error)) => Err(error.clone().into()),
                Err(Failure::Poisoned(why)) => Err(HistoryError::Poisoned(why.clone())),
            })),
            Self::Push(answer) => drop(answer.send(match outcome {
                Ok(()) => Ok(()),
                Err(Failure::Unreadable(error)) => Err(error.clone().into()),
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
        let (answer, _) = oneshot::channel();
        Request::Append { partition, messages: vec![message], answer }
    }

    #[test]
    fn a_group_ends_at_its_bounds_however_much_waits() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config =
            EmbeddedConfig { group_messages: 3, group_bytes: 100, ..EmbeddedConfig::default() };
        let database = Arc::new(Database::open(folder.path(), &config).expect("opens"));
        let (requests, waiting) = mpsc::channel(10);
        let (done, _groups) = unanswered();
        let mut writer = GroupWriter {
            requests: waiting,
            done,
            append: AppendStage::default(),
            push: PushStage::load(&database, 1).expect("loads"),
            max_messages: config.group_messages,
            max_bytes: config.group_bytes,
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
