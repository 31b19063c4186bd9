//! History in Cassandra or ScyllaDB: the port's methods and their deadlines, pages and counts. The
//! address is parsed in `address`, tables are in `schema`, single rows in `client`, the steps of an
//! append in `append`, and reads that span buckets in `scan`. `docs/adr/0010` gives the reasons.

mod address;
mod schema;
mod statements;
mod keys;
mod client;
mod append;
mod scan;

use std::sync::Arc;
use std::time::Duration;

use pabal_core::model::{ChannelId, Message, MessageId, Partition, SendKey, UserId};
use pabal_core::ports::{
    Appended, BoxFuture, HistoryError, HistoryStore, Page, PageFilling, PageFrom, PageLimit, Unread,
};
use tokio::time::timeout;

use self::address::Address;
use self::client::{Client, KnownBuckets};
use self::keys::{above, below, damaged, decode, message_id, stored_id};
use self::scan::ChannelScan;
use self::statements::Statements;
use crate::codec;
use crate::error::ConnectError;

/// The deadline of an append; shorter than the owner's own deadline.
const APPEND_TIMEOUT: Duration = Duration::from_secs(20);

/// The deadline of any other call.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of messages that a page reads at once: a megabyte at their largest size.
const PAGE_ROWS: usize = 64;

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
    client: Arc<Client>,
}

impl CassandraHistoryStore {
    /// Creates the keyspace of `url` and its tables, or migrates them. Idempotent. Run it on one
    /// node only: servers that receive concurrent schema changes may disagree about a table.
    ///
    /// # Errors
    /// [`ConnectError`]; its `retryable` says whether a retry helps.
    pub fn migrate(url: &str) -> BoxFuture<'_, Result<(), ConnectError>> {
        Box::pin(async move { schema::migrate(url, &Address::parse(url)?).await })
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
    pub fn connect(url: &str) -> BoxFuture<'_, Result<Self, ConnectError>> {
        Box::pin(async move {
            let address = Address::parse(url)?;
            let session = schema::session(url, &address).await?;
            Box::pin(schema::check(url, &address, &session)).await?;
            let statements = Box::pin(Statements::prepare(&session)).await.map_err(|error| {
                ConnectError::new(url, crate::error::ConnectFailure::Refused(error.to_string()))
            })?;
            let known_buckets = KnownBuckets::default();
            Ok(Self { client: Arc::new(Client { session, statements, known_buckets }) })
        })
    }

    /// Records that channels are divided into `partitions` partitions in this keyspace, which must
    /// be that of `url`, or checks the recorded number. The first node decides.
    ///
    /// # Errors
    /// [`ConnectError`] with [`ConnectFailure::Partitions`](crate::error::ConnectFailure::Partitions) if another number
    /// is recorded; otherwise as for [`connect`](Self::connect).
    pub async fn require_partitions(&self, url: &str, partitions: u16) -> Result<(), ConnectError> {
        Box::pin(schema::require_partitions(url, &self.client.session, partitions)).await
    }
}

impl Client {
    async fn page(
        &self,
        channel_id: ChannelId,
        from: PageFrom,
        limit: PageLimit,
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
                    self.take(ChannelScan::descending(channel_id, below(id)), limit.half()).await?;
                let mut messages = down.messages;
                messages.reverse();
                let from_on = up.messages.into_iter().map(Ok::<_, HistoryError>);
                let from_on = Page::within(limit.beside(&messages), from_on)?;
                messages.extend(from_on.messages);
                Ok(Page { messages, has_more: up.has_more || from_on.has_more })
            }
        }
    }

    async fn take(&self, mut scan: ChannelScan, limit: PageLimit) -> Result<Page, HistoryError> {
        let channel_id = scan.channel_id();
        let mut page = PageFilling::new(limit);
        loop {
            // The size of rows is not known before they are read: a few at a time.
            let at_most = page.missing().saturating_add(1).min(PAGE_ROWS);
            let rows = scan.next(self, at_most).await?;
            if rows.is_empty() {
                return Ok(page.page());
            }
            for (id, body) in &rows {
                if !page.push(decode(channel_id, message_id(*id)?, body)?) {
                    return Ok(page.page());
                }
            }
        }
    }

    async fn count_unread(
        &self,
        channel_id: ChannelId,
        after: MessageId,
        reader: UserId,
        rows: usize,
    ) -> Result<Unread, HistoryError> {
        let mut scan = ChannelScan::ascending(channel_id, above(after));
        let mut unread = Unread::default();
        // One row more than are counted shows whether there are further ones.
        let mut left = rows.saturating_add(1);
        while left > 0 {
            let found = scan.next(self, COUNT_ROWS.min(left)).await?;
            if found.is_empty() {
                return Ok(unread);
            }
            left -= found.len();
            let counted = found.len() - usize::from(left == 0);
            for (id, body) in &found[..counted] {
                let from = codec::decode_message_from(body);
                let from = from.map_err(|error| damaged(channel_id, *id, &error))?;
                unread.messages += usize::from(from != reader);
            }
        }
        unread.at_least = true;
        Ok(unread)
    }
}

impl HistoryStore for CassandraHistoryStore {
    fn append(
        &self,
        partition: Partition,
        messages: Vec<Message>,
    ) -> BoxFuture<'_, Result<Vec<Appended>, HistoryError>> {
        with_timeout(APPEND_TIMEOUT, async move { self.client.append(partition, &messages).await })
    }

    fn stored_position(
        &self,
        partition: Partition,
    ) -> BoxFuture<'_, Result<MessageId, HistoryError>> {
        with_timeout(READ_TIMEOUT, self.client.position(partition))
    }

    fn page(
        &self,
        channel_id: ChannelId,
        from: PageFrom,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Page, HistoryError>> {
        with_timeout(READ_TIMEOUT, self.client.page(channel_id, from, limit))
    }

    fn get(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> BoxFuture<'_, Result<Option<Message>, HistoryError>> {
        with_timeout(READ_TIMEOUT, self.client.get(channel_id, message_id))
    }

    fn heads(
        &self,
        channel_ids: &[ChannelId],
    ) -> BoxFuture<'_, Result<Vec<MessageId>, HistoryError>> {
        let channel_ids = channel_ids.to_vec();
        with_timeout(READ_TIMEOUT, async move { self.client.heads(&channel_ids).await })
    }

    fn count_unread(
        &self,
        channel_id: ChannelId,
        after: MessageId,
        reader: UserId,
        rows: usize,
    ) -> BoxFuture<'_, Result<Unread, HistoryError>> {
        with_timeout(READ_TIMEOUT, self.client.count_unread(channel_id, after, reader, rows))
    }

    fn find_sent(&self, key: SendKey) -> BoxFuture<'_, Result<Option<MessageId>, HistoryError>> {
        with_timeout(READ_TIMEOUT, async move {
            let Some(first) = self.client.sent(&key).await? else {
                return Ok(None);
            };
            // The send key is written before the message; after a crash the message may be missing.
            let stored = self.client.get(key.channel_id, first).await?;
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
