//! The list of access that was taken away, in a relational database.

use pabal_core::model::{ChannelId, TokenHash, UserId};
use pabal_core::ports::Revocation;

use crate::directory::error::Failure;
use crate::directory::query::query;
use crate::directory::rows::{RevocationRow, stored_id, stored_limit};
use crate::directory::sql;
use crate::directory::store::{Backend, Store, Writer};

/// Records the end of all access of a user.
pub(super) async fn record_all<DB: Backend>(
    tx: &mut Writer<DB>,
    user_id: UserId,
) -> Result<(), Failure> {
    query(sql::RECORD_ALL).bind(stored_id(user_id.get())).execute(tx).await?;
    Ok(())
}

/// Records the end of a token with its device; both ids as they are stored.
pub(super) async fn record_token<DB: Backend>(
    tx: &mut Writer<DB>,
    user_id: i64,
    token: TokenHash,
    device_id: i64,
) -> Result<(), Failure> {
    let entry = query(sql::RECORD_TOKEN).bind(user_id).bind(token.as_bytes().to_vec());
    entry.bind(device_id).execute(tx).await?;
    Ok(())
}

/// Records that a user may do less in a channel.
pub(super) async fn record_channel<DB: Backend>(
    tx: &mut Writer<DB>,
    user_id: UserId,
    channel_id: ChannelId,
) -> Result<(), Failure> {
    let entry = query(sql::RECORD_CHANNEL).bind(stored_id(user_id.get()));
    entry.bind(stored_id(channel_id.get())).execute(tx).await?;
    Ok(())
}

/// Records that a user deleted a group.
pub(super) async fn record_group<DB: Backend>(
    tx: &mut Writer<DB>,
    user_id: UserId,
    channel_id: ChannelId,
    name: Option<&str>,
) -> Result<(), Failure> {
    let entry = query(sql::RECORD_GROUP).bind(stored_id(user_id.get()));
    entry.bind(stored_id(channel_id.get())).bind(name).execute(tx).await?;
    Ok(())
}

pub(super) async fn revocations<DB: Backend>(
    store: &Store<DB>,
    limit: usize,
) -> Result<Vec<Revocation>, Failure> {
    let query = query(sql::REVOCATIONS).bind(stored_limit(limit));
    let rows = query.all(&mut store.read().await?).await?;
    Ok(rows.into_iter().map(RevocationRow::read).collect::<Result<_, _>>()?)
}

pub(super) async fn forget_revocations<DB: Backend>(
    store: &Store<DB>,
    numbers: Vec<u64>,
) -> Result<(), Failure> {
    let mut tx = store.write().await?;
    for number in numbers {
        query(sql::FORGET_REVOCATION).bind(stored_id(number)).execute(&mut tx).await?;
    }
    tx.commit().await
}
