//! The devices of a user and their tokens, in a relational database. Calls that change them first lock the
//! row of the user.

use pabal_core::model::{DeviceId, Timestamp, TokenHash, UserId};
use pabal_core::ports::{Access, DeviceAccess, DirectoryError, Revoked};

use super::checks::{lock_user, require_enabled};
use crate::directory::error::Failure;
use crate::directory::query::query;
use crate::directory::rows::{
    AccessRow, DeviceAccessRow, stored_id, stored_limit, stored_moment, stored_start, token_hash,
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
) -> Result<Option<Revoked>, Failure> {
    let mut tx = store.write().await?;
    lock_user(&mut tx, user_id).await?;
    let token = query(sql::TOKEN_OF_DEVICE)
        .bind(stored_id(user_id.get()))
        .bind(stored_id(device_id.get()))
        .first::<(Vec<u8>,)>(&mut tx)
        .await?;
    let Some((token,)) = token else { return Ok(None) };
    remove_device(&mut tx, device_id).await?;
    tx.commit().await?;
    Ok(Some(Revoked::Device { device_id, token: token_hash(token)? }))
}

pub(super) async fn log_in_again<DB: Backend>(
    store: &Store<DB>,
    known: TokenHash,
    access: Access,
    now: Timestamp,
) -> Result<Option<Vec<Revoked>>, Failure> {
    let Access { token, device, expires_at } = access;
    let mut tx = store.write().await?;
    let known = lock_access(&mut tx, known).await?.filter(|known| {
        let (held, wanted) = (&known.device, &device);
        (held.user_id, held.device_id) == (wanted.user_id, wanted.device_id)
            && now < known.expires_at
    });
    let Some(known) = known else { return Ok(None) };
    require_enabled(&mut tx, device.user_id).await?;
    let mut revoked = Vec::new();
    for other in accesses(&mut tx, device.user_id).await? {
        if other.device.device_id == device.device_id && other.token != known.token {
            remove_token(&mut tx, other.token).await?;
            revoked.push(Revoked::Token(other.token));
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
    Ok(Some(revoked))
}

pub(super) async fn replace_password<DB: Backend>(
    store: &Store<DB>,
    keep: TokenHash,
    old_hash: String,
    new_hash: String,
) -> Result<Option<Vec<Revoked>>, Failure> {
    let mut tx = store.write().await?;
    let Some(kept) = lock_access(&mut tx, keep).await? else { return Ok(None) };
    let (user_id, device_id) = (kept.device.user_id, kept.device.device_id);
    let id = stored_id(user_id.get());
    let current = query(sql::PASSWORD_HASH).bind(id).first::<(String,)>(&mut tx).await?;
    if current.is_none_or(|(current,)| current != old_hash) {
        return Ok(None);
    }
    query(sql::CHANGE_PASSWORD).bind(id).bind(new_hash).execute(&mut tx).await?;
    let mut revoked = Vec::new();
    let mut others = accesses(&mut tx, user_id).await?;
    others.sort_unstable_by_key(|other| other.device.device_id);
    others.retain(|other| other.token != keep);
    for other in &others {
        if other.device.device_id == device_id {
            remove_token(&mut tx, other.token).await?;
            revoked.push(Revoked::Token(other.token));
        }
    }
    others.retain(|other| other.device.device_id != device_id);
    others.dedup_by_key(|other| other.device.device_id);
    for Access { token, device, .. } in others {
        remove_device(&mut tx, device.device_id).await?;
        revoked.push(Revoked::Device { device_id: device.device_id, token });
    }
    tx.commit().await?;
    Ok(Some(revoked))
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
