//! The devices of a user and their tokens, in a relational database. Calls that change them first lock the
//! row of the user.

use pabal_core::model::{DeviceId, Timestamp, TokenHash, UserId};
use pabal_core::ports::{Access, DeviceAccess, DirectoryError, Revoked};

use super::checks::{lock_user, require_enabled};
use super::revocations::record_sessions;
use crate::directory::error::Failure;
use crate::directory::query::query;
use crate::directory::rows::{
    self, AccessRow, DeviceAccessRow, stored_id, stored_limit, stored_moment, stored_start,
    token_hash,
};
use crate::directory::sql;
use crate::directory::store::{Backend, Store, Writer};

/// The access of a token. Locks its user until the transaction ends.
pub(super) async fn lock_access<DB: Backend>(
    tx: &mut Writer<DB>,
    token: TokenHash,
) -> Result<Option<Access>, Failure> {
    let Some(access) = access_of(tx, token).await? else { return Ok(None) };
    lock_user(tx, access.device.user_id).await?;
    // The token may have been removed before the lock was taken.
    access_of(tx, token).await
}

async fn access_of<DB: Backend>(
    tx: &mut Writer<DB>,
    token: TokenHash,
) -> Result<Option<Access>, Failure> {
    let query = query(sql::ACCESS).bind(token.as_bytes().to_vec());
    let row = query.first::<AccessRow>(tx).await?;
    Ok(row.map(|row| row.read(token)).transpose()?)
}

/// Removes a device with its tokens.
pub(super) async fn remove_device<DB: Backend>(
    tx: &mut Writer<DB>,
    device_id: DeviceId,
) -> Result<(), Failure> {
    let id = stored_id(device_id.get());
    query(sql::REMOVE_TOKENS_OF_DEVICE).bind(id).execute(tx).await?;
    query(sql::REMOVE_DEVICE).bind(id).execute(tx).await?;
    Ok(())
}

/// Removes a device of a user, whose row is locked, with its tokens, and records it. The id is as it is
/// stored. Returns whether the user had such a device.
pub(super) async fn end_device<DB: Backend>(
    tx: &mut Writer<DB>,
    user_id: UserId,
    device_id: i64,
) -> Result<bool, Failure> {
    let token = query(sql::TOKEN_OF_DEVICE).bind(stored_id(user_id.get())).bind(device_id);
    let Some((token,)) = token.first::<(Vec<u8>,)>(tx).await? else { return Ok(false) };
    let (device_id, token) = (rows::device_id(device_id)?, token_hash(token)?);
    remove_device(tx, device_id).await?;
    record_sessions(tx, user_id, Revoked::Device { device_id, token }).await?;
    Ok(true)
}

pub(super) async fn devices_after<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    after: Option<DeviceId>,
    limit: usize,
) -> Result<Vec<DeviceAccess>, Failure> {
    let rows = query(sql::DEVICES)
        .bind(stored_id(user_id.get()))
        .bind(stored_start(after.map(DeviceId::get)))
        .bind(stored_limit(limit))
        .all::<AccessRow>(&mut store.read().await?)
        .await?;
    let read = |row: AccessRow| {
        let (device, expires_at) = row.device()?;
        Ok(DeviceAccess { device, expires_at })
    };
    Ok(rows.into_iter().map(read).collect::<Result<_, DirectoryError>>()?)
}

pub(super) async fn remove<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    device_id: DeviceId,
) -> Result<bool, Failure> {
    let mut tx = store.write().await?;
    lock_user(&mut tx, user_id).await?;
    let removed = end_device(&mut tx, user_id, stored_id(device_id.get())).await?;
    tx.commit().await?;
    Ok(removed)
}

pub(super) async fn log_in_again<DB: Backend>(
    store: &Store<DB>,
    known: TokenHash,
    access: Access,
    now: Timestamp,
) -> Result<bool, Failure> {
    let Access { token, device, expires_at } = access;
    let mut tx = store.write().await?;
    let known = lock_access(&mut tx, known).await?.filter(|known| {
        let (held, wanted) = (&known.device, &device);
        (held.user_id, held.device_id) == (wanted.user_id, wanted.device_id)
            && now < known.expires_at
    });
    let Some(known) = known else { return Ok(false) };
    require_enabled(&mut tx, device.user_id).await?;
    for other in accesses(&mut tx, device.user_id).await? {
        if other.device.device_id == device.device_id && other.token != known.token {
            remove_token(&mut tx, other.token).await?;
            record_sessions(&mut tx, device.user_id, Revoked::Token(other.token)).await?;
        }
    }
    let device_id = stored_id(device.device_id.get());
    query(sql::ADD_TOKEN)
        .bind(token.as_bytes().to_vec())
        .bind(device_id)
        .bind(stored_moment(expires_at))
        .execute(&mut tx)
        .await?;
    if !device.name.is_empty() {
        query(sql::NAME_DEVICE).bind(device_id).bind(device.name).execute(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(true)
}

pub(super) async fn replace_password<DB: Backend>(
    store: &Store<DB>,
    keep: TokenHash,
    old_hash: String,
    new_hash: String,
) -> Result<bool, Failure> {
    let mut tx = store.write().await?;
    let Some(kept) = lock_access(&mut tx, keep).await? else { return Ok(false) };
    let (user_id, device_id) = (kept.device.user_id, kept.device.device_id);
    let id = stored_id(user_id.get());
    let current = query(sql::PASSWORD_HASH).bind(id).first::<(String,)>(&mut tx).await?;
    if current.is_none_or(|(current,)| current != old_hash) {
        return Ok(false);
    }
    query(sql::CHANGE_PASSWORD).bind(id).bind(new_hash).execute(&mut tx).await?;
    let mut others = accesses(&mut tx, user_id).await?;
    others.sort_unstable_by_key(|other| other.device.device_id);
    others.retain(|other| other.token != keep);
    for other in &others {
        if other.device.device_id == device_id {
            remove_token(&mut tx, other.token).await?;
            record_sessions(&mut tx, user_id, Revoked::Token(other.token)).await?;
        }
    }
    others.retain(|other| other.device.device_id != device_id);
    others.dedup_by_key(|other| other.device.device_id);
    for Access { token, device, .. } in others {
        remove_device(&mut tx, device.device_id).await?;
        let revoked = Revoked::Device { device_id: device.device_id, token };
        record_sessions(&mut tx, user_id, revoked).await?;
    }
    tx.commit().await?;
    Ok(true)
}

async fn accesses<DB: Backend>(
    tx: &mut Writer<DB>,
    user_id: UserId,
) -> Result<Vec<Access>, Failure> {
    let query = query(sql::ACCESSES).bind(stored_id(user_id.get()));
    let rows = query.all::<DeviceAccessRow>(tx).await?;
    Ok(rows.into_iter().map(DeviceAccessRow::read).collect::<Result<_, _>>()?)
}

async fn remove_token<DB: Backend>(tx: &mut Writer<DB>, token: TokenHash) -> Result<(), Failure> {
    query(sql::REMOVE_TOKEN).bind(token.as_bytes().to_vec()).execute(tx).await?;
    Ok(())
}
