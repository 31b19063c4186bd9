//! Operator calls on accounts, in a relational database.

use pabal_core::model::UserId;
use pabal_core::ports::{Access, Account, Revoked};

use super::checks::lock_user;
use super::revocations::record_sessions;
use crate::directory::error::Failure;
use crate::directory::query::query;
use crate::directory::rows::{AccountRow, DeviceAccessRow, stored_id, stored_limit};
use crate::directory::sql;
use crate::directory::store::{Backend, Store, Writer};

pub(super) async fn account<DB: Backend>(
    store: &Store<DB>,
    username_key: String,
) -> Result<Option<Account>, Failure> {
    let query = query(sql::ACCOUNT).bind(username_key);
    Ok(query.first(&mut store.read().await?).await?.map(AccountRow::read).transpose()?)
}

pub(super) async fn accounts<DB: Backend>(
    store: &Store<DB>,
    after: String,
    limit: usize,
) -> Result<Vec<Account>, Failure> {
    let rows = query(sql::ACCOUNTS_AFTER)
        .bind(after)
        .bind(stored_limit(limit))
        .all(&mut store.read().await?)
        .await?;
    Ok(rows.into_iter().map(AccountRow::read).collect::<Result<_, _>>()?)
}

pub(super) async fn accesses<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
) -> Result<Vec<Access>, Failure> {
    let query = query(sql::ACCESSES).bind(stored_id(user_id.get()));
    let rows = query.all(&mut store.read().await?).await?;
    Ok(rows.into_iter().map(DeviceAccessRow::read).collect::<Result<_, _>>()?)
}

pub(super) async fn set_disabled<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    disabled: bool,
) -> Result<bool, Failure> {
    let mut tx = store.write().await?;
    lock_user(&mut tx, user_id).await?;
    let query = query(sql::SET_DISABLED).bind(stored_id(user_id.get())).bind(disabled);
    let changed = query.execute(&mut tx).await? > 0;
    if disabled {
        revoke_access(&mut tx, user_id).await?;
    }
    tx.commit().await?;
    Ok(changed)
}

pub(super) async fn change_password<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    hash: String,
) -> Result<(), Failure> {
    let mut tx = store.write().await?;
    lock_user(&mut tx, user_id).await?;
    let query = query(sql::CHANGE_PASSWORD).bind(stored_id(user_id.get())).bind(hash);
    query.execute(&mut tx).await?;
    revoke_access(&mut tx, user_id).await?;
    tx.commit().await
}

pub(super) async fn end_access<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
) -> Result<usize, Failure> {
    let mut tx = store.write().await?;
    lock_user(&mut tx, user_id).await?;
    let ended = revoke_access(&mut tx, user_id).await?;
    tx.commit().await?;
    Ok(ended)
}

/// Removes all tokens and devices of a user, and requests the end of their sessions.
async fn revoke_access<DB: Backend>(
    tx: &mut Writer<DB>,
    user_id: UserId,
) -> Result<usize, Failure> {
    let id = stored_id(user_id.get());
    let ended = query(sql::REMOVE_TOKENS).bind(id).execute(tx).await?;
    query(sql::REMOVE_DEVICES).bind(id).execute(tx).await?;
    record_sessions(tx, user_id, Revoked::All).await?;
    Ok(usize::try_from(ended).unwrap_or(usize::MAX))
}
