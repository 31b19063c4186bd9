//! The sync queue of each partition, a stream of entries. What an entry is, [`log_entry`](super::log_entry)
//! knows; the way there is [`lane`](super::lane)'s.

use std::sync::{Arc, LazyLock, OnceLock};

use pabal_core::model::{Draft, MAX_PARTITIONS, MessageId, Partition};
use pabal_core::ports::{BoxFuture, Clock, LogEntry, LogError, MessageLog, Origin, Sequenced};
use redis::Value;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::RedisStore;
use super::error::CallError;
use super::lane::{Lane, TOGETHER, Waiting};
use super::log_entry::{encode, join, message_id, messages, parts, place, send_key};
use super::script::{APPEND, TRIM};
use super::stream;

/// The places among drafts that go together, as text.
static PLACES: LazyLock<[String; TOGETHER]> =
    LazyLock::new(|| std::array::from_fn(|place| place.to_string()));

/// As many messages as one call trims, and the rest of an entry or some: it must not hold the server
/// up.
const TRIMMED_AT_ONCE: &str = "256";
/// A call that trims nothing, and only says how far history is.
const NONE: &str = "0";

/// A [`MessageLog`] in Redis.
///
/// Drafts of concurrent callers are appended together, one call after the other. A call whose future
/// is dropped may still be done. Traces stay behind. What waits to be sent ends with the adapter.
pub struct RedisMessageLog {
    inner: Arc<Inner>,
    tasks: TaskTracker,
    _stops: DropGuard,
}

struct Inner {
    store: RedisStore,
    clock: Arc<dyn Clock>,
    capacity: String,
    lanes: Box<[OnceLock<Arc<Lane>>]>,
    stop: CancellationToken,
}

impl RedisMessageLog {
    pub(super) fn new(store: RedisStore, clock: Arc<dyn Clock>, capacity: usize) -> Self {
        let lanes = (0..MAX_PARTITIONS).map(|_| OnceLock::new()).collect();
        let (capacity, stop) = (capacity.max(1).to_string(), CancellationToken::new());
        let inner = Arc::new(Inner { store, clock, capacity, lanes, stop: stop.clone() });
        Self { inner, tasks: TaskTracker::new(), _stops: stop.drop_guard() }
    }
}

impl MessageLog for RedisMessageLog {
    fn append(
        &self,
        partition: Partition,
        floor: MessageId,
        draft: Draft,
        origin: Origin,
    ) -> BoxFuture<'_, Result<Sequenced, LogError>> {
        Box::pin(async move {
            let value = encode(&draft.at(MessageId::default()), &origin);
            let (answer, answered) = oneshot::channel();
            let lane = self.inner.lane(partition);
            if lane.put(Waiting { floor, value, answer })? {
                let (inner, lane) = (Arc::clone(&self.inner), Arc::clone(lane));
                self.tasks.spawn(async move {
                    tokio::select! {
                        () = inner.send(&lane) => {}
                        () = inner.stop.cancelled() => {}
                    }
                });
            }
            answered.await.unwrap_or_else(|_| {
                Err(LogError::Unavailable("the log was closed meanwhile".into()))
            })
        })
    }

    fn read(
        &self,
        partition: Partition,
        after: MessageId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
        Box::pin(async move {
            let lane = self.inner.lane(partition);
            let [key, ..] = &lane.keys;
            let limit = stream::limit(limit);
            let behind = place(partition, after);
            loop {
                let count = lane.entries_with(limit);
                let answer = self.inner.store.servers.read(key, &behind, count).await?;
                let entries = stream::entries(answer.value)?;
                if !entries.is_empty() {
                    let of = entries.len();
                    let (messages, held) = messages(partition, after, limit, entries)?;
                    lane.saw(held, of);
                    return Ok(messages);
                }
            }
        })
    }

    fn raise(
        &self,
        partition: Partition,
        stored: MessageId,
    ) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(self.inner.trim(partition, stored, NONE))
    }

    fn trim(&self, partition: Partition, stored: MessageId) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(self.inner.trim(partition, stored, TRIMMED_AT_ONCE))
    }
}

impl Inner {
    fn lane(&self, partition: Partition) -> &Arc<Lane> {
        self.lanes[usize::from(partition.get())].get_or_init(|| {
            let tag = format!("log:{}", partition.get());
            let keys = ["entries", "sent", "last"].map(|what| self.store.key(&tag, what));
            Arc::new(Lane::new(partition, keys))
        })
    }

    async fn trim(
        &self,
        partition: Partition,
        stored: MessageId,
        at_once: &str,
    ) -> Result<(), LogError> {
        if stored == MessageId::default() {
            return Ok(());
        }
        let lane = self.lane(partition);
        let stored = place(partition, stored);
        let args = [stored.as_bytes(), at_once.as_bytes()];
        loop {
            let answer = self.store.servers.call(&TRIM, &lane.keys(), &args).await?;
            if stream::number(&answer.value)? == 0 {
                return Ok(());
            }
        }
    }

    /// Appends what waits in `lane`, until nothing does.
    async fn send(&self, lane: &Lane) {
        loop {
            // Whoever has something to say by now goes along. The runtime comes back from the first
            // yield early when it has looked after its sockets meanwhile, past those in its queue.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            let Some(drafts) = lane.take() else {
                return;
            };
            let answers = self.append(lane, &drafts).await;
            lane.done();
            match answers {
                Ok(answers) => {
                    for (draft, answer) in drafts.into_iter().zip(answers) {
                        // Whoever asked may be gone.
                        let _ = draft.answer.send(answer);
                    }
                }
                Err(error) => {
                    for draft in drafts {
                        let _ = draft.answer.send(Err(LogError::Unavailable(error.to_string())));
                    }
                }
            }
        }
    }

    async fn append(
        &self,
        lane: &Lane,
        drafts: &[Waiting],
    ) -> Result<Vec<Result<Sequenced, LogError>>, CallError> {
        let earliest = MessageId::first_at(self.clock.now(), lane.partition);
        let floors = drafts.iter().map(|draft| draft.floor.above_in(lane.partition));
        let (ms, sequence) = parts(floors.fold(earliest, MessageId::max));
        let (ms, sequence) = (ms.to_string(), sequence.to_string());
        let entry = join(drafts.iter().map(|draft| &draft.value[..]));
        let named = drafts
            .iter()
            .zip(&*PLACES)
            .filter_map(|(draft, place)| Some((send_key(&draft.value)?, place.as_bytes())));
        let (keys, places): (Vec<_>, Vec<_>) = named.unzip();
        let count = drafts.len().to_string();
        let mut args = Vec::with_capacity(5 + 2 * keys.len());
        args.extend([ms.as_bytes(), sequence.as_bytes(), self.capacity.as_bytes()]);
        args.extend([count.as_bytes(), &entry]);
        args.extend(keys);
        args.extend(places);
        let answer = self.store.servers.call(&APPEND, &lane.keys(), &args).await?;
        sequenced(lane.partition, stream::list(answer.value)?, drafts.len())
    }
}

/// What became of each of `count` drafts, as the script tells it.
fn sequenced(
    partition: Partition,
    answer: Vec<Value>,
    count: usize,
) -> Result<Vec<Result<Sequenced, LogError>>, CallError> {
    let nonsense = || CallError::Nonsense(format!("not one to {count} drafts"));
    let id = |value: Option<Value>| match value {
        Some(Value::BulkString(text)) => {
            let (ms, sequence) = written_id(&text).ok_or_else(nonsense)?;
            message_id(partition, (ms, sequence)).ok_or_else(nonsense)
        }
        _ => Err(nonsense()),
    };
    let mut answer = answer.into_iter();
    let (first, letters) = (answer.next(), answer.next());
    let Some(Value::BulkString(letters)) = letters else {
        return Err(nonsense());
    };
    if letters.len() != count {
        return Err(nonsense());
    }
    let mut next = letters.contains(&b'N').then(|| id(first)).transpose()?;
    let became = |letter| {
        Ok(match letter {
            b'N' => {
                let given = next.ok_or_else(nonsense)?;
                next = Some(given.successor());
                Ok(Sequenced::New(given))
            }
            b'R' => Ok(Sequenced::Repeat(id(answer.next())?)),
            b'F' => Err(LogError::Full),
            _ => return Err(nonsense()),
        })
    };
    letters.into_iter().map(became).collect()
}

/// An id as it stands beside a send key, or alone: `<id>` or `<id>+<how many further>`.
fn written_id(text: &[u8]) -> Option<(u64, u64)> {
    let Some(plus) = text.iter().position(|byte| *byte == b'+') else {
        return stream::parse_id(text);
    };
    let (ms, sequence) = stream::parse_id(&text[..plus])?;
    let further: u64 = std::str::from_utf8(&text[plus + 1..]).ok()?.parse().ok()?;
    let carried = sequence.checked_add(further)?;
    Some((ms.checked_add(carried / 0x1000)?, carried % 0x1000))
}

impl From<CallError> for LogError {
    fn from(error: CallError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let p = Partition::new(3).expect("a partition");
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let id = |ms, sequence| message_id(p, (ms, sequence)).expect("an id");
        let now = 1_800_000_000_000;
        let answer =
            ["1800000000000-4094", "NRNFRN", "1700000000000-1", "1700000000000-4090+7"].map(bulk);
        let answers = sequenced(p, answer.to_vec(), 6).expect("makes sense");
        let answers: Vec<_> = answers.into_iter().map(Result::ok).collect();
        let expected = [
            Some(Sequenced::New(id(now, 4094))),
            Some(Sequenced::Repeat(id(1_700_000_000_000, 1))),
            Some(Sequenced::New(id(now, 4095))),
            None,
            Some(Sequenced::Repeat(id(1_700_000_000_001, 1))),
            Some(Sequenced::New(id(now + 1, 0))),
        ];
        assert_eq!(answers, expected);
        for nonsense in [
            vec![],
            vec![bulk("1-1")],
            vec![bulk("1-1"), bulk("N")],
            vec![bulk(""), bulk("NN")],
            vec![bulk("1800000000000-4096"), bulk("NN")],
            vec![bulk("1800000000000-1"), bulk("NR")],
            vec![bulk("1800000000000-1"), bulk("NX")],
            vec![bulk("1800000000000-1"), Value::Int(2)],
            vec![bulk("1800000000000-1"), bulk("NR"), bulk("1800000000000-1+")],
        ] {
            assert!(sequenced(p, nonsense.clone(), 2).is_err(), "{nonsense:?}");
        }
    }
}
