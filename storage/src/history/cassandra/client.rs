//! Statements on a session: single rows, and the meaning of driver errors. Appends are in
//! [`append`](super::append), scans in [`scan`](super::scan).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures::future::try_join_all;
use pabal_core::model::{ChannelId, Message, MessageId, Partition, SendKey};
use pabal_core::ports::HistoryError;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;

use super::keys::{bucket, decode, message_id, stored_channel, stored_id, stored_partition};
use super::statements::Statements;
use crate::codec;

/// The most concurrent requests of one call.
pub(super) const MAX_CONCURRENT: usize = 128;

/// The number of channels in the cache of known buckets.
const CHANNELS_REMEMBERED: usize = 100_000;

/// The highest bucket of a channel that is known to be in the index.
#[derive(Default)]
pub(super) struct KnownBuckets(Mutex<HashMap<ChannelId, i32, foldhash::fast::RandomState>>);

impl KnownBuckets {
    pub(super) fn has(&self, channel_id: ChannelId, bucket: i32) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&channel_id) == Some(&bucket)
    }

    pub(super) fn remember(&self, channel_id: ChannelId, bucket: i32) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CHANNELS_REMEMBERED {
            known.clear();
        }
        known.insert(channel_id, bucket);
    }
}

/// A session with its prepared statements.
pub(super) struct Client {
    pub(super) session: Session,
    pub(super) statements: Statements,
    pub(super) known_buckets: KnownBuckets,
}

impl Client {
    /// All rows of a statement that has a LIMIT.
    pub(super) async fn rows<R>(
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

    pub(super) async fn write(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<(), HistoryError> {
        Box::pin(self.session.execute_unpaged(statement, values)).await.map_err(failure)?;
        Ok(())
    }

    pub(super) async fn position(&self, partition: Partition) -> Result<MessageId, HistoryError> {
        let key = (stored_partition(partition),);
        let rows = self.rows::<(i64,)>(&self.statements.position, key).await?;
        rows.first().map_or(Ok(MessageId::default()), |(id,)| message_id(*id))
    }

    pub(super) async fn sent(&self, key: &SendKey) -> Result<Option<MessageId>, HistoryError> {
        let key = (&codec::sent_key(key)[..],);
        let rows = self.rows::<(i64,)>(&self.statements.sent, key).await?;
        rows.first().map(|(id,)| message_id(*id)).transpose()
    }

    pub(super) async fn get(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> Result<Option<Message>, HistoryError> {
        let key = (stored_channel(channel_id), bucket(message_id), stored_id(message_id));
        let rows = self.rows::<(Vec<u8>,)>(&self.statements.message, key).await?;
        rows.first().map(|(body,)| decode(channel_id, message_id, body)).transpose()
    }

    pub(super) async fn head(&self, channel_id: ChannelId) -> Result<MessageId, HistoryError> {
        let key = (stored_channel(channel_id),);
        let rows = self.rows::<(Option<i64>,)>(&self.statements.head, key).await?;
        match rows.first() {
            Some((Some(head),)) => message_id(*head),
            _ => Ok(MessageId::default()),
        }
    }

    pub(super) async fn heads(
        &self,
        channel_ids: &[ChannelId],
    ) -> Result<Vec<MessageId>, HistoryError> {
        let mut heads = Vec::with_capacity(channel_ids.len());
        for chunk in channel_ids.chunks(MAX_CONCURRENT) {
            heads.extend(try_join_all(chunk.iter().map(|id| self.head(*id))).await?);
        }
        Ok(heads)
    }
}

/// The meaning of a driver error. The driver has already tried other servers.
pub(super) fn failure(error: ExecutionError) -> HistoryError {
    match &error {
        // The statements do not match the tables.
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::Invalid | DbError::SyntaxError,
            _,
        )) => HistoryError::Damaged(error.to_string()),
        _ => HistoryError::Unavailable(error.to_string()),
    }
}
