//! History in Cassandra or ScyllaDB: the port's methods and the meaning of driver errors. The
//! address is parsed in `address`, tables are in `schema`, the steps of an append in `append`, and
//! pages that span buckets in `scan`. `docs/adr/0010` gives the reasons.

mod address;
mod schema;
mod statements;
mod append;
mod scan;

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use pabal_core::model::{ChannelId, Message, MessageId, Partition, SendKey, UserId};
use pabal_core::ports::{Appended, BoxFuture, HistoryError, HistoryStore, Page, PageFrom};
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use tokio::time::timeout;

use self::address::Address;
use self::append::KnownBuckets;
use self::scan::ChannelScan;
use self::statements::Statements;
use super::codec;
use crate::error::ConnectError;

/// The deadline of an append; shorter than the owner's own deadline.
const APPEND_TIMEOUT: Duration = Duration::from_secs(20);

/// The deadline of any other call.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The most concurrent requests of one call.
const MAX_CONCURRENT: usize = 128;

/// The number of messages that a count reads at once.
const COUNT_ROWS: usize = 500;

/// A [`HistoryStore`] in a keyspace of Cassandra (4 or newer) or ScyllaDB. Cloning is cheap; all
/// clones share one session.
///
/// An acknowledged message is on as many replicas as the consistency requires: LOCAL_QUORUM unless
/// the address sets another. With three replicas it survives the loss of one server with its disk.
/// Whether it survives a power loss of all servers depends on their `commitlog_sync` (`batch` or
/// `group`).
///
/// Not cancel safe: an append whose future is dropped may still be written, in part; the owner
/// repeats the same batch, which completes it.
///
/// # Errors
/// [`HistoryError::Unavailable`]: no response in time (20 s for an append, 10 s otherwise), or too
/// few replicas; retry the same call. [`HistoryError::Damaged`]: a value cannot be decoded, or the
/// tables do not match the statements; do not retry.
#[derive(Clone)]
pub struct CassandraHistoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    session: Session,
    statements: Statements,
    known_buckets: KnownBuckets,
}

impl CassandraHistoryStore {
    /// Creates the keyspace of `url` and its tables, or migrates them. Idempotent. Run it on one
    /// node only: servers that receive concurrent schema changes may disagree about a table.
    ///
    /// # Errors
    /// [`ConnectError`]; its `retryable` says whether a retry helps.
    pub async fn migrate(url: &str) -> Result<(), ConnectError> {
        Box::pin(schema::migrate(url, &Address::parse(url)?)).await
    }

    /// Connects to the keyspace of `url`:
    /// `cassandra://user:password@host1:9042,host2/keyspace?consistency=local_quorum`. One host
    /// must respond; the driver discovers the others. The tables must be those of this release.
    /// Optional parameters:
    /// - `consistency`: `local_quorum` (default) or `quorum`;
    /// - `datacenter`: the data center whose servers are preferred;
    /// - `replication_factor`: 1 to 255, default 3, with which [`migrate`](Self::migrate) creates a
    ///   keyspace.
    ///
    /// # Errors
    /// [`ConnectError`]; its `retryable` says whether a retry helps.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        let address = Address::parse(url)?;
        let session = Box::pin(schema::session(url, &address)).await?;
        Box::pin(schema::check(url, &address, &session)).await?;
        let statements = Box::pin(Statements::prepare(&session)).await.map_err(|error| {
            ConnectError::new(url, crate::error::Why::Refused(error.to_string()))
        })?;
        let known_buckets = KnownBuckets::default();
        Ok(Self { inner: Arc::new(Inner { session, statements, known_buckets }) })
    }

    /// Records that channels are divided into `partitions` partitions in this keyspace, which must
    /// be that of `url`, or checks the recorded number. The first node decides.
    ///
    /// # Errors
    /// [`ConnectError`] with [`Why::Partitions`](crate::error::Why::Partitions) if another number
    /// is recorded; otherwise as for [`connect`](Self::connect).
    pub async fn keep_to(&self, url: &str, partitions: u16) -> Result<(), ConnectError> {
        Box::pin(schema::keep_to(url, &self.inner.session, partitions)).await
    }
}

impl Inner {
    /// All rows of a statement that has a LIMIT.
    async fn rows<R>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Vec<R>, HistoryError>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let damaged = |error: &dyn std::fmt::Display| HistoryError::Damaged(error.to_string());
        // Boxed because the future is large and a call runs many of them.
        let response = Box::pin(self.session.execute_unpaged(statement, values));
        let response = response.await.map_err(failure)?;
        let rows = response.into_rows_result().map_err(|error| damaged(&error))?;
        let rows = rows.rows::<R>().map_err(|error| damaged(&error))?;
        rows.collect::<Result<_, _>>().map_err(|error| damaged(&error))
    }

    async fn write(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<(), HistoryError> {
        Box::pin(self.session.execute_unpaged(statement, values)).await.map_err(failure)?;
        Ok(())
    }

    async fn position(&self, partition: Partition) -> Result<MessageId, HistoryError> {
        let key = (stored_partition(partition),);
        let rows = self.rows::<(i64,)>(&self.statements.position, key).await?;
        rows.first().map_or(Ok(MessageId::default()), |(id,)| message_id(*id))
    }

    async fn sent(&self, key: &SendKey) -> Result<Option<MessageId>, HistoryError> {
        let key = (&codec::sent_key(key)[..],);
        let rows = self.rows::<(i64,)>(&self.statements.sent, key).await?;
        rows.first().map(|(id,)| message_id(*id)).transpose()
    }

    async fn get(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> Result<Option<Message>, HistoryError> {
        let key = (stored_channel(channel_id), bucket(message_id), stored_id(message_id));
        let rows = self.rows::<(Vec<u8>,)>(&self.statements.message, key).await?;
        rows.first().map(|(body,)| decode(channel_id, message_id, body)).transpose()
    }

    async fn head(&self, channel_id: ChannelId) -> Result<MessageId, HistoryError> {
        let key = (stored_channel(channel_id),);
        let rows = self.rows::<(Option<i64>,)>(&self.statements.head, key).await?;
        match rows.first() {
            Some((Some(head),)) => message_id(*head),
            _ => Ok(MessageId::default()),
        }
    }

    async fn heads(&self, channel_ids: &[ChannelId]) -> Result<Vec<MessageId>, HistoryError> {
        let mut heads = Vec::with_capacity(channel_ids.len());
        for chunk in channel_ids.chunks(MAX_CONCURRENT) {
            heads.extend(try_join_all(chunk.iter().map(|id| self.head(*id))).await?);
        }
        Ok(heads)
    }

    async fn page(
        &self,
        channel_id: ChannelId,
        from: PageFrom,
        limit: usize,
    ) -> Result<Page, HistoryError> {
        match from {
            PageFrom::After(id) => {
                self.take(ChannelScan::ascending(channel_id, above(id)), limit).await
            }
            PageFrom::Before(id) => {
                self.take(ChannelScan::descending(channel_id, below(id)), limit).await
            }
            PageFrom::Newest => {
                self.take(ChannelScan::descending(channel_id, i64::MAX), limit).await
            }
            PageFrom::Around(id) => {
                // First the messages from the id on: those below it were stored earlier, so the
                // second read sees them.
                let up =
                    self.take(ChannelScan::ascending(channel_id, stored_id(id)), limit).await?;
                let down =
                    self.take(ChannelScan::descending(channel_id, below(id)), limit / 2).await?;
                let (mut messages, mut from_on) = (down.messages, up.messages);
                messages.reverse();
                let remaining = limit - messages.len();
                let has_more = up.has_more || from_on.len() > remaining;
                from_on.truncate(remaining);
                messages.extend(from_on);
                Ok(Page { messages, has_more })
            }
        }
    }

    async fn take(&self, mut scan: ChannelScan, limit: usize) -> Result<Page, HistoryError> {
        let channel_id = scan.channel_id();
        let mut page = Page::default();
        while page.messages.len() <= limit {
            let missing = limit.saturating_add(1) - page.messages.len();
            let rows = scan.next(self, missing).await?;
            if rows.is_empty() {
                return Ok(page);
            }
            for (id, body) in &rows {
                page.messages.push(decode(channel_id, message_id(*id)?, body)?);
            }
        }
        page.messages.truncate(limit);
        page.has_more = true;
        Ok(page)
    }

    async fn count_unread(
        &self,
        channel_id: ChannelId,
        after: MessageId,
        reader: UserId,
        at_most: usize,
    ) -> Result<usize, HistoryError> {
        let mut scan = ChannelScan::ascending(channel_id, above(after));
        let mut unread = 0;
        while unread < at_most {
            let rows = scan.next(self, COUNT_ROWS.min(at_most)).await?;
            if rows.is_empty() {
                break;
            }
            for (id, body) in &rows {
                let from = codec::decode_message_from(body);
                let from = from.map_err(|error| damaged(channel_id, *id, &error))?;
                unread += usize::from(from != reader);
            }
        }
        Ok(unread.min(at_most))
    }
}

impl HistoryStore for CassandraHistoryStore {
    fn append(
        &self,
        partition: Partition,
        messages: Vec<Message>,
    ) -> BoxFuture<'_, Result<Vec<Appended>, HistoryError>> {
        with_timeout(APPEND_TIMEOUT, async move { self.inner.append(partition, &messages).await })
    }

    fn stored_position(
        &self,
        partition: Partition,
    ) -> BoxFuture<'_, Result<MessageId, HistoryError>> {
        with_timeout(READ_TIMEOUT, self.inner.position(partition))
    }

    fn page(
        &self,
        channel_id: ChannelId,
        from: PageFrom,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, HistoryError>> {
        with_timeout(READ_TIMEOUT, self.inner.page(channel_id, from, limit))
    }

    fn get(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> BoxFuture<'_, Result<Option<Message>, HistoryError>> {
        with_timeout(READ_TIMEOUT, self.inner.get(channel_id, message_id))
    }

    fn heads(
        &self,
        channel_ids: &[ChannelId],
    ) -> BoxFuture<'_, Result<Vec<MessageId>, HistoryError>> {
        let channel_ids = channel_ids.to_vec();
        with_timeout(READ_TIMEOUT, async move { self.inner.heads(&channel_ids).await })
    }

    fn count_unread(
        &self,
        channel_id: ChannelId,
        after: MessageId,
        reader: UserId,
        at_most: usize,
    ) -> BoxFuture<'_, Result<usize, HistoryError>> {
        with_timeout(READ_TIMEOUT, self.inner.count_unread(channel_id, after, reader, at_most))
    }

    fn find_sent(&self, key: SendKey) -> BoxFuture<'_, Result<Option<MessageId>, HistoryError>> {
        with_timeout(READ_TIMEOUT, async move {
            let Some(first) = self.inner.sent(&key).await? else {
                return Ok(None);
            };
            // The send key is written before the message; after a crash the message may be missing.
            let stored = self.inner.get(key.channel_id, first).await?;
            Ok(stored.map(|_| first))
        })
    }
}

fn with_timeout<'a, T>(
    limit: Duration,
    call: impl Future<Output = Result<T, HistoryError>> + Send + 'a,
) -> BoxFuture<'a, Result<T, HistoryError>> {
    Box::pin(async move {
        let timed_out = |_| Err(HistoryError::Unavailable(format!("no response within {limit:?}")));
        timeout(limit, call).await.unwrap_or_else(timed_out)
    })
}

/// The meaning of a driver error. The driver has already tried other servers.
fn failure(error: ExecutionError) -> HistoryError {
    match &error {
        // The statements do not match the tables.
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::Invalid | DbError::SyntaxError,
            _,
        )) => HistoryError::Damaged(error.to_string()),
        _ => HistoryError::Unavailable(error.to_string()),
    }
}

/// The bucket of an id: a window of 2^28 ms. The milliseconds of an id are above its low 22 bits.
fn bucket(message_id: MessageId) -> i32 {
    // At most 13 bits remain.
    (message_id.get() >> (22 + 28)) as i32
}

/// The time of an id in microseconds, used as its write timestamp. A later id has a later or equal
/// time; of two values with equal timestamps Cassandra keeps the greater.
fn write_time(message_id: MessageId) -> i64 {
    let within_ms = ((message_id.get() & 0xfff) * 1_000) >> 12;
    stored(message_id.created_at().as_micros() + within_ms)
}

/// All numbers of the model are below 2^63.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn stored_id(message_id: MessageId) -> i64 {
    stored(message_id.get())
}

fn stored_channel(channel_id: ChannelId) -> i64 {
    stored(channel_id.get())
}

fn stored_partition(partition: Partition) -> i16 {
    // A partition number is below 1,024.
    i16::try_from(partition.get()).unwrap_or(i16::MAX)
}

fn above(message_id: MessageId) -> i64 {
    stored_id(message_id).saturating_add(1)
}

fn below(message_id: MessageId) -> i64 {
    stored_id(message_id) - 1
}

fn message_id(raw: i64) -> Result<MessageId, HistoryError> {
    let id = u64::try_from(raw).map(MessageId::new);
    id.map_err(|_| HistoryError::Damaged(format!("the message id {raw} is negative")))
}

fn decode(
    channel_id: ChannelId,
    message_id: MessageId,
    body: &[u8],
) -> Result<Message, HistoryError> {
    codec::decode_message(channel_id, message_id, body)
        .map_err(|error| damaged(channel_id, stored_id(message_id), &error))
}

fn damaged(channel_id: ChannelId, message_id: i64, error: &codec::DecodeError) -> HistoryError {
    HistoryError::Damaged(format!("message {message_id} of channel {channel_id}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_times_rise_with_ids() {
        let mut id = MessageId::new((1 << 40) | 0xff0);
        for _ in 0..10_000 {
            let next = id.successor();
            assert!(write_time(next) >= write_time(id), "{id}");
            id = next;
        }
        assert_eq!(write_time(MessageId::new(5 << 22)) % 1_000, 0);
    }

    #[test]
    fn buckets_are_windows_of_the_ids_time() {
        let first = MessageId::new(1 << 50);
        assert_eq!((bucket(MessageId::new(first.get() - 1)), bucket(first)), (0, 1));
        assert_eq!(bucket(MessageId::new(i64::MAX as u64)), (1 << 13) - 1);
    }
}
