//! The list of access that was taken away, in a relational database.

use pabal_core::model::{ChannelId, UserId};
use pabal_core::ports::{Revocation, Revoked};

use crate::directory::error::Failure;
use crate::directory::query::query;
use crate::directory::rows::{RevocationRow, stored_id, stored_limit};
use crate::directory::sql;
use crate::directory::store::{Backend, Store, Writer};

/// Records what a user's removed tokens and devices gave.
pub(super) async fn record_sessions<DB: Backend>(
    tx: &mut Writer<DB>,
    user_id: UserId,
    revoked: Revoked,
) -> Result<(), Failure> {
    let (kind, token, device_id) = match revoked {
        Revoked::All => ("all", None, None),
        Revoked::Device { device_id, token } => ("device", Some(token), Some(device_id)),
        Revoked::Token(token) => ("token", Some(token), None),
    };
    let entry = query(sql::RECORD_SESSIONS).bind(kind).bind(stored_id(user_id.get()));
    let entry = entry.bind(token.map(|token| token.as_bytes().to_vec()));
    entry.bind(device_id.map(|id| stored_id(id.get()))).execute(tx).await?;
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
