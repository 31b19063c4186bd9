//! The sync queue of each partition, a stream. An entry's id is its message's: the milliseconds since
//! 1970 and the sequence, of this partition. Owns what an entry is; the way there is
//! [`lane`](super::lane)'s.
//!
//! All numbers are big-endian. Field `m`: version 1 (= 1), 1 and the send key 16 as in
//! [`history`](crate::history) or 0, length of the node's name 1, the name, accepted_at 8 (µs since
//! 1970), channel_id 8, then the message as in [`history`](crate::history). The scripts look at the
//! send key, and at nothing behind it.

use std::sync::{Arc, OnceLock};

use pabal_core::model::{
    ChannelId, Draft, MAX_PARTITIONS, Message, MessageId, Partition, Timestamp,
};
use pabal_core::ports::{
    BoxFuture, Clock, LogEntry, LogError, MessageLog, Origin, Sequenced, Trace,
};
use redis::Value;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::RedisStore;
use super::error::CallError;
use super::lane::{Lane, Waiting};
use super::script::{APPEND, TRIM};
use super::stream::{self, Entry};
use crate::history::{DecodeError, decode_message, encode_message, sent_key};

const VERSION: u8 = 1;
const SEND_KEY_BYTES: usize = 16;

/// As many entries as one call trims: it must not hold the server up.
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
            let [key, ..] = &self.inner.lane(partition).keys;
            let after = place(partition, after);
            loop {
                let limit = stream::limit(limit);
                let answer = self.inner.store.servers.read(key, &after, limit).await?;
                let entries = stream::entries(answer.value)?;
                if !entries.is_empty() {
                    return entries.into_iter().map(|entry| decode(partition, entry)).collect();
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
            // Whoever has something to say by now goes along.
            tokio::task::yield_now().await;
            let Some(drafts) = lane.take() else {
                return;
            };
            match self.append(lane, &drafts).await {
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
        let mut args = Vec::with_capacity(3 + drafts.len());
        args.extend([ms.as_bytes(), sequence.as_bytes(), self.capacity.as_bytes()]);
        args.extend(drafts.iter().map(|draft| &draft.value[..]));
        let answer = self.store.servers.call(&APPEND, &lane.keys(), &args).await?;
        let answers = stream::list(answer.value)?;
        if answers.len() != drafts.len() {
            let reason = format!("{} answers to {} drafts", answers.len(), drafts.len());
            return Err(CallError::Nonsense(reason));
        }
        answers.into_iter().map(|answer| sequenced(lane.partition, answer)).collect()
    }
}

/// What became of a draft, as the script tells it.
fn sequenced(
    partition: Partition,
    answer: Value,
) -> Result<Result<Sequenced, LogError>, CallError> {
    let Value::BulkString(answer) = answer else {
        return Err(CallError::Nonsense(format!("{answer:?} to a draft")));
    };
    let (kind, id) = answer.split_first().unwrap_or((&0, &[]));
    let id = || {
        let id = stream::parse_id(id).and_then(|id| message_id(partition, id));
        id.ok_or_else(|| CallError::Nonsense("no id of a message".into()))
    };
    Ok(match kind {
        b'N' => Ok(Sequenced::New(id()?)),
        b'R' => Ok(Sequenced::Repeat(id()?)),
        b'F' => Err(LogError::Full),
        _ => return Err(CallError::Nonsense("no answer to a draft".into())),
    })
}

/// The milliseconds since 1970 and the sequence of an id.
fn parts(id: MessageId) -> (u64, u64) {
    (id.created_at().as_millis(), id.get() & 0xfff)
}

/// The id of `partition` with these parts.
fn message_id(partition: Partition, (ms, sequence): (u64, u64)) -> Option<MessageId> {
    let first = MessageId::first_at(Timestamp::from_millis(ms), partition);
    (sequence <= 0xfff).then(|| MessageId::new(first.get() | sequence))
}

/// The last place in the log of `partition` whose id is not above `id`, which may be of another one.
fn place(partition: Partition, id: MessageId) -> String {
    let (ms, sequence) = parts(id);
    match id.partition().cmp(&partition) {
        std::cmp::Ordering::Equal => format!("{ms}-{sequence}"),
        std::cmp::Ordering::Greater => format!("{ms}-{}", 0xfff),
        std::cmp::Ordering::Less => format!("{}-{}", ms - 1, 0xfff),
    }
}

fn encode(message: &Message, origin: &Origin) -> Vec<u8> {
    let node = origin.node.as_str();
    let mut value = Vec::with_capacity(96 + node.len() + message.content.len());
    let key = message.send_key().map(|key| sent_key(&key));
    value.extend([VERSION, u8::from(key.is_some())]);
    value.extend(key.into_iter().flatten());
    // A name is 32 bytes long at most.
    value.push(node.len() as u8);
    value.extend(node.as_bytes());
    value.extend(origin.accepted_at.as_micros().to_be_bytes());
    value.extend(message.channel_id.get().to_be_bytes());
    encode_message(message, &mut value);
    value
}

fn decode(partition: Partition, mut entry: Entry) -> Result<LogEntry, LogError> {
    let id = entry.id;
    let unreadable = |error: DecodeError| {
        LogError::Unavailable(format!("entry {}-{} of the log cannot be read: {error}", id.0, id.1))
    };
    let message_id = message_id(partition, id).ok_or_else(|| unreadable(DecodeError::Text))?;
    let value = entry.take("m").ok_or_else(|| unreadable(DecodeError::Truncated))?;
    decode_value(message_id, &value).map_err(unreadable)
}

fn decode_value(message_id: MessageId, value: &[u8]) -> Result<LogEntry, DecodeError> {
    let (version, rest) = value.split_first().ok_or(DecodeError::Truncated)?;
    if *version != VERSION {
        return Err(DecodeError::Version(*version));
    }
    let rest = match rest.split_first().ok_or(DecodeError::Truncated)? {
        (0, rest) => rest,
        (1, rest) => rest.get(SEND_KEY_BYTES..).ok_or(DecodeError::Truncated)?,
        (flag, _) => return Err(DecodeError::Flags(*flag)),
    };
    let (length, rest) = rest.split_first().ok_or(DecodeError::Truncated)?;
    let (node, rest) = rest.split_at_checked(usize::from(*length)).ok_or(DecodeError::Truncated)?;
    let node = std::str::from_utf8(node).map_err(|_| DecodeError::Text)?;
    let node = node.parse().map_err(|_| DecodeError::Text)?;
    let (accepted_at, rest) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
    let accepted_at = Timestamp::from_micros(u64::from_be_bytes(*accepted_at));
    let (channel_id, rest) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
    let channel_id = ChannelId::new(u64::from_be_bytes(*channel_id));
    let message = decode_message(channel_id, message_id, rest)?;
    Ok(LogEntry { message, origin: Origin { node, accepted_at, trace: Trace::default() } })
}

impl From<CallError> for LogError {
    fn from(error: CallError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use pabal_core::model::UserId;
    use proptest::prelude::*;

    use super::*;

    fn entry() -> LogEntry {
        let message = Message {
            message_id: MessageId::new(0x0102_0304_0506_0708),
            channel_id: ChannelId::new(2),
            message_from: UserId::new(1),
            message_to: None,
            content: "hi".into(),
            client_message_id: Some("c".into()),
        };
        let node = "a-1".parse().expect("a name");
        let accepted_at = Timestamp::from_micros(5);
        LogEntry { message, origin: Origin { node, accepted_at, trace: Trace::default() } }
    }

    /// Nodes of two versions share a log for the time of an upgrade.
    #[test]
    fn bytes_in_the_log_stay_the_same() {
        let LogEntry { message, origin } = entry();
        let hex: String =
            encode(&message, &origin).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "0101f7a3b136a9ed262efae239bad4d44c2c03612d31\
             0000000000000005\
             0000000000000002\
             01020000000000000001\
             00000001636869"
        );
    }

    proptest! {
        #[test]
        fn a_place_is_the_last_one_not_above(raw in 1u64 << 30..1 << 62, p in 0..MAX_PARTITIONS) {
            let (id, partition) = (MessageId::new(raw), Partition::new(p).expect("in range"));
            let place = stream::parse_id(place(partition, id).as_bytes()).expect("an id");
            let last = message_id(partition, place).expect("an id");
            prop_assert!(last <= id);
            prop_assert!(last.successor() > id);
        }

        #[test]
        fn no_bytes_panic(mut value: Vec<u8>, as_version_1: bool) {
            if let (true, Some(version)) = (as_version_1, value.first_mut()) {
                *version = VERSION;
            }
            let _ = decode_value(MessageId::new(1), &value);
        }

        #[test]
        fn a_cut_entry_is_an_error(cut in 0usize..50) {
            let LogEntry { message, origin } = entry();
            let value = encode(&message, &origin);
            prop_assert!(decode_value(message.message_id, &value[..cut]).is_err());
            prop_assert_eq!(decode_value(message.message_id, &value), Ok(entry()));
        }
    }
}
