//! Users, credentials, devices, tokens, profiles and settings in a relational database.

use std::collections::HashMap;

use pabal_core::model::{Device, Settings, Timestamp, TokenHash, User, UserId};
use pabal_core::ports::{
    Access, Credentials, DirectoryError, MAX_DEVICES, ProfileChange, Revoked, SettingsChange,
};

use super::channels::ROWS_AT_ONCE;
use super::checks::{require_enabled, require_user};
use super::devices::{end_device, lock_access, remove_device};
use super::revocations::record_sessions;
use crate::directory::error::Failure;
use crate::directory::query::{Query, query};
use crate::directory::rows::{
    AccessRow, CredentialsRow, SettingsRow, UserRow, UserSettingsRow, level_word, stored_id,
    stored_limit, stored_moment, username_key,
};
use crate::directory::sql;
use crate::directory::store::{Backend, Store, Writer, with_lock};

pub(super) async fn sign_up<DB: Backend>(
    store: &Store<DB>,
    user: User,
    password_hash: String,
    access: Access,
) -> Result<(), Failure> {
    if access.device.user_id != user.user_id {
        return Err(DirectoryError::UnknownUser(access.device.user_id).into());
    }
    let id = stored_id(user.user_id.get());
    let username_key = username_key(&user.username);
    let mut tx = store.write().await?;
    if query(sql::USERNAME_EXISTS).bind(&*username_key).exists(&mut tx).await? {
        return Err(DirectoryError::UsernameTaken.into());
    }
    query(sql::ADD_USER)
        .bind(id)
        .bind(user.username)
        .bind(username_key)
        .bind(user.display_name)
        .bind(user.status_text)
        .bind(user.avatar_url)
        .bind(stored_moment(user.created_at))
        .execute(&mut tx)
        .await?;
    query(sql::ADD_CREDENTIALS).bind(id).bind(password_hash).execute(&mut tx).await?;
    add_access(&mut tx, access).await?;
    tx.commit().await
}

pub(super) async fn log_in<DB: Backend>(store: &Store<DB>, access: Access) -> Result<(), Failure> {
    let mut tx = store.write().await?;
    let user_id = access.device.user_id;
    require_enabled(&mut tx, user_id).await?;
    add_access(&mut tx, access).await?;
    let most = stored_limit(MAX_DEVICES);
    let surplus = query(sql::SURPLUS_DEVICES).bind(stored_id(user_id.get())).bind(most).bind(most);
    for (device_id,) in surplus.all::<(i64,)>(&mut tx).await? {
        end_device(&mut tx, user_id, device_id).await?;
    }
    tx.commit().await
}

/// Adds the device and its token.
async fn add_access<DB: Backend>(tx: &mut Writer<DB>, access: Access) -> Result<(), Failure> {
    let device_id = stored_id(access.device.device_id.get());
    query(sql::ADD_DEVICE)
        .bind(device_id)
        .bind(stored_id(access.device.user_id.get()))
        .bind(access.device.name)
        .execute(tx)
        .await?;
    query(sql::ADD_TOKEN)
        .bind(access.token.as_bytes().to_vec())
        .bind(device_id)
        .bind(stored_moment(access.expires_at))
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn log_out<DB: Backend>(
    store: &Store<DB>,
    token: TokenHash,
) -> Result<bool, Failure> {
    let mut tx = store.write().await?;
    let Some(access) = lock_access(&mut tx, token).await? else { return Ok(false) };
    let Device { device_id, user_id, .. } = access.device;
    remove_device(&mut tx, device_id).await?;
    record_sessions(&mut tx, user_id, Revoked::Device { device_id, token }).await?;
    tx.commit().await?;
    Ok(true)
}

pub(super) async fn remove_expired<DB: Backend>(
    store: &Store<DB>,
    now: Timestamp,
    at_most: usize,
) -> Result<usize, Failure> {
    let mut tx = store.write().await?;
    let devices = query(sql::REMOVE_EXPIRED)
        .bind(stored_moment(now))
        .bind(stored_limit(at_most))
        .all::<(i64,)>(&mut tx)
        .await?;
    for &(device_id,) in &devices {
        // A device that gets another token at this moment is removed by neither call.
        query(with_lock::<DB>(sql::DEVICE_EXISTS)).bind(device_id).exists(&mut tx).await?;
        query(sql::REMOVE_DEVICE).bind(device_id).execute(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(devices.len())
}

pub(super) async fn credentials<DB: Backend>(
    store: &Store<DB>,
    username_key: String,
) -> Result<Option<Credentials>, Failure> {
    let query = query(sql::CREDENTIALS).bind(username_key);
    let row = query.first(&mut store.read().await?).await?;
    Ok(row.map(CredentialsRow::read).transpose()?)
}

pub(super) async fn access<DB: Backend>(
    store: &Store<DB>,
    token: TokenHash,
) -> Result<Option<Access>, Failure> {
    let query = query(sql::ACCESS).bind(token.as_bytes().to_vec());
    let row = query.first::<AccessRow>(&mut store.read().await?).await?;
    Ok(row.map(|row| row.read(token)).transpose()?)
}

pub(super) async fn user<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
) -> Result<Option<User>, Failure> {
    let query = query(sql::USER).bind(stored_id(user_id.get()));
    let row = query.first(&mut store.read().await?).await?;
    Ok(row.map(UserRow::read).transpose()?)
}

pub(super) async fn users_by_prefix<DB: Backend>(
    store: &Store<DB>,
    prefix: String,
    limit: usize,
) -> Result<Vec<User>, Failure> {
    let rows = query(sql::USERS_FROM)
        .bind(&*prefix)
        .bind(stored_limit(limit))
        .all::<UserRow>(&mut store.read().await?)
        .await?;
    let mut users = Vec::with_capacity(rows.len());
    for row in rows {
        let user = row.read()?;
        if !username_key(&user.username).starts_with(&prefix) {
            break;
        }
        users.push(user);
    }
    Ok(users)
}

pub(super) async fn change_profile<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    change: ProfileChange,
) -> Result<User, Failure> {
    let mut tx = store.write().await?;
    let row = query(sql::CHANGE_PROFILE)
        .bind(stored_id(user_id.get()))
        .bind(change.display_name)
        .bind(change.status_text)
        .bind(change.avatar_url)
        .first::<UserRow>(&mut tx)
        .await?;
    let user = row.ok_or(DirectoryError::UnknownUser(user_id))?.read()?;
    tx.commit().await?;
    Ok(user)
}

pub(super) async fn settings<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
) -> Result<Settings, Failure> {
    let query = query(sql::SETTINGS).bind(stored_id(user_id.get()));
    let row = query.first(&mut store.read().await?).await?;
    Ok(row.map(SettingsRow::read).transpose()?.unwrap_or_default())
}

pub(super) async fn settings_of<DB: Backend>(
    store: &Store<DB>,
    users: Vec<UserId>,
) -> Result<Vec<Settings>, Failure> {
    let mut set = HashMap::new();
    for some in users.chunks(ROWS_AT_ONCE) {
        let statement = format!("{} {}", sql::SETTINGS_AMONG, sql::tuple(1, some.len()));
        let ids = some.iter().map(|user_id| stored_id(user_id.get()));
        let query = ids.fold(query(statement).once(), Query::bind);
        for row in query.all::<UserSettingsRow>(&mut store.read().await?).await? {
            let (user_id, settings) = row.read()?;
            set.insert(user_id, settings);
        }
    }
    Ok(users.iter().map(|user_id| set.get(user_id).cloned().unwrap_or_default()).collect())
}

pub(super) async fn change_settings<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    change: SettingsChange,
) -> Result<Settings, Failure> {
    let mut tx = store.write().await?;
    require_user(&mut tx, user_id).await?;
    let row = query(sql::CHANGE_SETTINGS)
        .bind(stored_id(user_id.get()))
        .bind(change.locale)
        .bind(change.notifications.map(level_word))
        .bind(change.share_presence)
        .bind(change.share_read)
        .one::<SettingsRow>(&mut tx)
        .await?;
    let settings = row.read()?;
    tx.commit().await?;
    Ok(settings)
}
