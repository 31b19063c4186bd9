//! The sync queue of each partition: a stream of entries. The format of an entry is in
//! [`log_entry`](super::log_entry), batching of concurrent appends in
//! [`append_batcher`](super::append_batcher).

use std::sync::{Arc, LazyLock, OnceLock};

use pabal_core::model::{Draft, MAX_PARTITIONS, MessageId, Partition};
use pabal_core::ports::{BoxFuture, Clock, LogEntry, LogError, MessageLog, Origin, Sequenced};
use redis::Value;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::append_batcher::{AppendBatcher, MAX_BATCH, PendingDraft};
use super::error::CallError;
use super::keyspace::Keyspace;
use super::log_entry::{encode, join, message_id, messages, parts, send_key, stream_position};
use super::script::{APPEND, TRIM};
use super::stream;

/// The indexes of drafts within a batch, as text.
static DRAFT_INDEXES: LazyLock<[String; MAX_BATCH]> =
    LazyLock::new(|| std::array::from_fn(|index| index.to_string()));

/// The number of messages after which one call stops trimming; it may finish the current entries. A
/// script blocks the server while it runs.
const TRIM_MESSAGES: &str = "256";
/// The argument for a call that trims nothing and only raises the log's last id.
const TRIM_NONE: &str = "0";

/// A [`MessageLog`] in Redis.
///
/// Drafts of concurrent callers to one partition are appended together in one atomic call, up to
/// 128 drafts and two calls in flight. The order of ids is the order of the stream.
///
/// Not cancel safe: an append whose future is dropped may still be executed. Drafts that wait when
/// the adapter is dropped are discarded, and their callers get [`LogError::Unavailable`]. Traces
/// are not stored.
///
/// # Errors
/// [`LogError::Full`]: retry after the owner has trimmed. [`LogError::Unavailable`]: retry; the
/// message may have been appended, which its send key detects.
pub struct RedisMessageLog {
    inner: Arc<Inner>,
    tasks: TaskTracker,
    _stops: DropGuard,
}

struct Inner {
    keyspace: Keyspace,
    clock: Arc<dyn Clock>,
    capacity: String,
    batchers: Box<[OnceLock<Arc<AppendBatcher>>]>,
    stop: CancellationToken,
}

impl RedisMessageLog {
    pub(super) fn new(keyspace: Keyspace, clock: Arc<dyn Clock>, capacity: usize) -> Self {
        let batchers = (0..MAX_PARTITIONS).map(|_| OnceLock::new()).collect();
        let (capacity, stop) = (capacity.max(1).to_string(), CancellationToken::new());
        let inner = Arc::new(Inner { keyspace, clock, capacity, batchers, stop: stop.clone() });
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
            let (reply, replied) = oneshot::channel();
            let batcher = self.inner.batcher(partition);
            if batcher.add(PendingDraft { floor, value, reply })? {
                let (inner, batcher) = (Arc::clone(&self.inner), Arc::clone(batcher));
                self.tasks.spawn(async move {
                    tokio::select! {
                        () = inner.send(&batcher) => {}
                        () = inner.stop.cancelled() => {}
                    }
                });
            }
            replied.await.unwrap_or_else(|_| {
                Err(LogError::Unavailable("the log was closed before the append".into()))
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
            let batcher = self.inner.batcher(partition);
            let [key, ..] = &batcher.keys;
            let limit = stream::limit(limit);
            let from = stream_position(partition, after);
            loop {
                let count = batcher.entries_for(limit);
                let reply = self.inner.keyspace.servers.read(key, &from, count).await?;
                let entries = stream::entries(reply.value)?;
                if !entries.is_empty() {
                    let entry_count = entries.len();
                    let (messages, held) = messages(partition, after, limit, entries)?;
                    batcher.record_read(held, entry_count);
                    debug_assert!(
                        messages.is_sorted_by(
                            |one, next| one.message.message_id < next.message.message_id
                        ),
                        "ids rise in the order of the stream"
                    );
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
        Box::pin(self.inner.trim(partition, stored, TRIM_NONE))
    }

    fn trim(&self, partition: Partition, stored: MessageId) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(self.inner.trim(partition, stored, TRIM_MESSAGES))
    }
}

impl Inner {
    fn batcher(&self, partition: Partition) -> &Arc<AppendBatcher> {
        self.batchers[usize::from(partition.get())].get_or_init(|| {
            let tag = format!("log:{}", partition.get());
            let keys = ["entries", "sent", "last"].map(|what| self.keyspace.key(&tag, what));
            Arc::new(AppendBatcher::new(partition, keys))
        })
    }

    async fn trim(
        &self,
        partition: Partition,
        stored: MessageId,
        max_messages: &str,
    ) -> Result<(), LogError> {
        if stored == MessageId::default() {
            return Ok(());
        }
        let batcher = self.batcher(partition);
        let stored = stream_position(partition, stored);
        let args = [stored.as_bytes(), max_messages.as_bytes()];
        loop {
            let reply = self.keyspace.servers.call(&TRIM, &batcher.keys(), &args).await?;
            if stream::number(&reply.value)? == 0 {
                return Ok(());
            }
        }
    }

    /// Appends the drafts that wait in `batcher` until none is left.
    async fn send(&self, batcher: &AppendBatcher) {
        loop {
            // Yields so that ready tasks can add their drafts to this batch. The runtime may return
            // from the first yield after polling its sockets, before it runs the tasks in its
            // queue; the second yield runs those.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            let Some(drafts) = batcher.next_batch() else {
                return;
            };
            let outcomes = self.append(batcher, &drafts).await;
            batcher.batch_done();
            match outcomes {
                Ok(outcomes) => {
                    debug_assert_eq!(outcomes.len(), drafts.len(), "each draft has one outcome");
                    for (draft, outcome) in drafts.into_iter().zip(outcomes) {
                        // The caller may have dropped its future.
                        let _ = draft.reply.send(outcome);
                    }
                }
                Err(error) => {
                    for draft in drafts {
                        let _ = draft.reply.send(Err(LogError::Unavailable(error.to_string())));
                    }
                }
            }
        }
    }

    async fn append(
        &self,
        batcher: &AppendBatcher,
        drafts: &[PendingDraft],
    ) -> Result<Vec<Result<Sequenced, LogError>>, CallError> {
        let earliest = MessageId::first_at(self.clock.now(), batcher.partition);
        let floors = drafts.iter().map(|draft| draft.floor.above_in(batcher.partition));
        let (ms, sequence) = parts(floors.fold(earliest, MessageId::max));
        let (ms, sequence) = (ms.to_string(), sequence.to_string());
        let entry = join(drafts.iter().map(|draft| &draft.value[..]));
        let named = drafts
            .iter()
            .zip(&*DRAFT_INDEXES)
            .filter_map(|(draft, index)| Some((send_key(&draft.value)?, index.as_bytes())));
        let (keys, indexes): (Vec<_>, Vec<_>) = named.unzip();
        let count = drafts.len().to_string();
        let mut args = Vec::with_capacity(5 + 2 * keys.len());
        args.extend([ms.as_bytes(), sequence.as_bytes(), self.capacity.as_bytes()]);
        args.extend([count.as_bytes(), &entry]);
        args.extend(keys);
        args.extend(indexes);
        let reply = self.keyspace.servers.call(&APPEND, &batcher.keys(), &args).await?;
        sequenced(batcher.partition, stream::list(reply.value)?, drafts.len())
    }
}

/// The result for each of `count` drafts, from the script's reply.
fn sequenced(
    partition: Partition,
    reply: Vec<Value>,
    count: usize,
) -> Result<Vec<Result<Sequenced, LogError>>, CallError> {
    let unexpected =
        || CallError::UnexpectedReply(format!("not one outcome for each of {count} drafts"));
    let id = |value: Option<Value>| match value {
        Some(Value::BulkString(text)) => {
            let (ms, sequence) = stored_id(&text).ok_or_else(unexpected)?;
            message_id(partition, (ms, sequence)).ok_or_else(unexpected)
        }
        _ => Err(unexpected()),
    };
    let mut reply = reply.into_iter();
    let (first, letters) = (reply.next(), reply.next());
    let Some(Value::BulkString(letters)) = letters else {
        return Err(unexpected());
    };
    if letters.len() != count {
        return Err(unexpected());
    }
    let mut next = letters.contains(&b'N').then(|| id(first)).transpose()?;
    let outcome = |letter| {
        Ok(match letter {
            b'N' => {
                let given = next.ok_or_else(unexpected)?;
                next = Some(given.successor());
                Ok(Sequenced::New(given))
            }
            b'R' => Ok(Sequenced::Repeat(id(reply.next())?)),
            b'F' => Err(LogError::Full),
            _ => return Err(unexpected()),
        })
    };
    letters.into_iter().map(outcome).collect()
}

/// An id as it is stored with a send key, or alone: `<id>` or `<id>+<offset>`.
fn stored_id(text: &[u8]) -> Option<(u64, u64)> {
    let Some(plus) = text.iter().position(|byte| *byte == b'+') else {
        return stream::parse_id(text);
    };
    let (ms, sequence) = stream::parse_id(&text[..plus])?;
    let offset: u64 = std::str::from_utf8(&text[plus + 1..]).ok()?.parse().ok()?;
    let carried = sequence.checked_add(offset)?;
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
    fn the_reply_to_an_append_is_parsed() {
        let p = Partition::new(3).expect("a partition");
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let id = |ms, sequence| message_id(p, (ms, sequence)).expect("an id");
        let now = 1_800_000_000_000;
        let reply =
            ["1800000000000-4094", "NRNFRN", "1700000000000-1", "1700000000000-4090+7"].map(bulk);
        let outcomes = sequenced(p, reply.to_vec(), 6).expect("a valid reply");
        let outcomes: Vec<_> = outcomes.into_iter().map(Result::ok).collect();
        let expected = [
            Some(Sequenced::New(id(now, 4094))),
            Some(Sequenced::Repeat(id(1_700_000_000_000, 1))),
            Some(Sequenced::New(id(now, 4095))),
            None,
            Some(Sequenced::Repeat(id(1_700_000_000_001, 1))),
            Some(Sequenced::New(id(now + 1, 0))),
        ];
        assert_eq!(outcomes, expected);
        for invalid in [
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
            assert!(sequenced(p, invalid.clone(), 2).is_err(), "{invalid:?}");
        }
    }
}
