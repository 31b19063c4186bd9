//! History in Cassandra or ScyllaDB: the port's face, and what an error of the driver means. How the
//! store is found is in `address`, its tables in `schema`, what an append does in `append`, how
//! pages cross buckets in `walk`. Why all of this is as it is: `docs/adr/0010`.

mod address;
mod schema;
mod statements;
mod append;
mod walk;

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
use self::statements::Statements;
use self::walk::Walk;
use super::codec;
use crate::error::ConnectError;

/// How long an append may take: less than an owner waits for it.
const APPEND_WITHIN: Duration = Duration::from_secs(20);

/// How long any other call may take.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// How many requests one call has under way at once.
const AT_ONCE: usize = 128;

/// How many messages are read at once by whoever counts them.
const COUNTED_AT_ONCE: usize = 500;

/// A [`HistoryStore`] in a keyspace of Cassandra (4 or newer) or ScyllaDB.
///
/// What is acknowledged is on as many replicas as the consistency says: LOCAL_QUORUM unless the
/// address says otherwise. With three replicas that survives the loss of one with its disk; that it
/// survives a loss of power of all is up to the servers' `commitlog_sync` (`batch` or `group`).
///
/// A call that the store does not answer in time (an append in 20 s, others in 10 s) is
/// [`HistoryError::Unavailable`]. Cloning is cheap; all clones are one store.
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
    /// Makes the keyspace of `url` and its tables, or brings them up to date. Idempotent. Have one
    /// node do it: servers that are told by two at once to make a table may disagree about it.
    ///
    /// # Errors
    /// [`ConnectError`], which says for each case whether a retry helps.
    pub async fn migrate(url: &str) -> Result<(), ConnectError> {
        Box::pin(schema::migrate(url, &Address::parse(url)?)).await
    }

    /// Connects to the keyspace of `url`:
    /// `cassandra://user:password@host1:9042,host2/keyspace?consistency=local_quorum`. Of the hosts
    /// one must answer; the others are learned from it. Parameters, all optional: `consistency`
    /// (`local_quorum`, `quorum`), `datacenter`, whose servers are asked first, and
    /// `replication_factor` (3), with which [`migrate`](Self::migrate) makes a keyspace. The tables
    /// must be those of this release.
    ///
    /// # Errors
    /// [`ConnectError`], which says for each case whether a retry helps.
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

    /// Sees to it that channels are divided into so many partitions by everybody who uses this
    /// keyspace, which is that of `url`: the first who says so decides.
    ///
    /// # Errors
    /// [`ConnectError`] with [`Why::Partitions`](crate::error::Why::Partitions) if it is another
    /// number, and as of [`connect`](Self::connect).
    pub async fn keep_to(&self, url: &str, partitions: u16) -> Result<(), ConnectError> {
        Box::pin(schema::keep_to(url, &self.inner.session, partitions)).await
    }
}

impl Inner {
    /// All rows that a statement answers; it has a limit of its own.
    async fn rows<R>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Vec<R>, HistoryError>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let damaged = |error: &dyn std::fmt::Display| HistoryError::Damaged(error.to_string());
        // In a box: it is large, and calls make many at once.
        let answer = Box::pin(self.session.execute_unpaged(statement, values));
        let answer = answer.await.map_err(failure)?;
        let rows = answer.into_rows_result().map_err(|error| damaged(&error))?;
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
        for some in channel_ids.chunks(AT_ONCE) {
            heads.extend(try_join_all(some.iter().map(|id| self.head(*id))).await?);
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
            PageFrom::After(id) => self.take(Walk::up(channel_id, above(id)), limit).await,
            PageFrom::Before(id) => self.take(Walk::down(channel_id, below(id)), limit).await,
            PageFrom::Newest => self.take(Walk::down(channel_id, i64::MAX), limit).await,
            PageFrom::Around(id) => {
                // From there on first: what is below was stored before it, and is seen then.
                let up = self.take(Walk::up(channel_id, stored_id(id)), limit).await?;
                let down = self.take(Walk::down(channel_id, below(id)), limit / 2).await?;
                let (mut messages, mut from_on) = (down.messages, up.messages);
                messages.reverse();
                let room = limit - messages.len();
                let has_more = up.has_more || from_on.len() > room;
                from_on.truncate(room);
                messages.extend(from_on);
                Ok(Page { messages, has_more })
            }
        }
    }

    async fn take(&self, mut walk: Walk, limit: usize) -> Result<Page, HistoryError> {
        let channel_id = walk.channel_id();
        let mut page = Page::default();
        while page.messages.len() <= limit {
            let missing = limit.saturating_add(1) - page.messages.len();
            let rows = walk.next(self, missing).await?;
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
        let mut walk = Walk::up(channel_id, above(after));
        let mut unread = 0;
        while unread < at_most {
            let rows = walk.next(self, COUNTED_AT_ONCE.min(at_most)).await?;
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
        within(APPEND_WITHIN, async move { self.inner.append(partition, &messages).await })
    }

    fn stored_position(
        &self,
        partition: Partition,
    ) -> BoxFuture<'_, Result<MessageId, HistoryError>> {
        within(READ_WITHIN, self.inner.position(partition))
    }

    fn page(
        &self,
        channel_id: ChannelId,
        from: PageFrom,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, HistoryError>> {
        within(READ_WITHIN, self.inner.page(channel_id, from, limit))
    }

    fn get(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> BoxFuture<'_, Result<Option<Message>, HistoryError>> {
        within(READ_WITHIN, self.inner.get(channel_id, message_id))
    }

    fn heads(
        &self,
        channel_ids: &[ChannelId],
    ) -> BoxFuture<'_, Result<Vec<MessageId>, HistoryError>> {
        let channel_ids = channel_ids.to_vec();
        within(READ_WITHIN, async move { self.inner.heads(&channel_ids).await })
    }

    fn count_unread(
        &self,
        channel_id: ChannelId,
        after: MessageId,
        reader: UserId,
        at_most: usize,
    ) -> BoxFuture<'_, Result<usize, HistoryError>> {
        within(READ_WITHIN, self.inner.count_unread(channel_id, after, reader, at_most))
    }

    fn find_sent(&self, key: SendKey) -> BoxFuture<'_, Result<Option<MessageId>, HistoryError>> {
        within(READ_WITHIN, async move {
            let Some(first) = self.inner.sent(&key).await? else {
                return Ok(None);
            };
            // The name is written before the message, which a crash may have kept from coming.
            let stored = self.inner.get(key.channel_id, first).await?;
            Ok(stored.map(|_| first))
        })
    }
}

fn within<'a, T>(
    limit: Duration,
    call: impl Future<Output = Result<T, HistoryError>> + Send + 'a,
) -> BoxFuture<'a, Result<T, HistoryError>> {
    Box::pin(async move {
        let late = |_| Err(HistoryError::Unavailable(format!("no answer within {limit:?}")));
        timeout(limit, call).await.unwrap_or_else(late)
    })
}

/// What an error of the driver means. It has tried other servers already.
fn failure(error: ExecutionError) -> HistoryError {
    match &error {
        // The tables are not those that the statements are for.
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::Invalid | DbError::SyntaxError,
            _,
        )) => HistoryError::Damaged(error.to_string()),
        _ => HistoryError::Unavailable(error.to_string()),
    }
}

/// The window of 2^28 ms that an id lies in: its milliseconds stand above 22 bits.
fn bucket(message_id: MessageId) -> i32 {
    // At most 13 bits are left.
    (message_id.get() >> (22 + 28)) as i32
}

/// The moment of an id in microseconds, as the time of its write. A later id has a later time or the
/// same; of two values written at the same time the greater one stays.
fn write_time(message_id: MessageId) -> i64 {
    let within_ms = ((message_id.get() & 0xfff) * 1_000) >> 12;
    stored(message_id.created_at().as_micros() + within_ms)
}

/// Numbers of the model are below 2^63.
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
    // There are 1,024 of them.
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
    id.map_err(|_| HistoryError::Damaged(format!("the message id {raw}")))
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
