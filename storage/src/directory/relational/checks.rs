//! Checks and row locks that several calls share. A lock keeps a decision valid until the transaction
//! ends, see [`Backend`].

use pabal_core::model::{ChannelId, UserId};
use pabal_core::ports::DirectoryError;

use crate::directory::error::Failure;
use crate::directory::query::query;
use crate::directory::rows::stored_id;
use crate::directory::sql;
use crate::directory::store::{Backend, Writer, with_lock};

/// Checks that the user exists.
pub(super) async fn require_user<DB: Backend>(
    tx: &mut Writer<DB>,
    user_id: UserId,
) -> Result<(), Failure> {
    match query(sql::USER_EXISTS).bind(stored_id(user_id.get())).exists(tx).await? {
        true => Ok(()),
        false => Err(DirectoryError::UnknownUser(user_id).into()),
    }
}

/// Checks that both users exist and differ.
pub(super) async fn require_pair<DB: Backend>(
    tx: &mut Writer<DB>,
    users: [UserId; 2],
) -> Result<(), Failure> {
    for user_id in users {
        require_user(tx, user_id).await?;
    }
    match users[0] == users[1] {
        true => Err(DirectoryError::UnknownUser(users[1]).into()),
        false => Ok(()),
    }
}

/// Checks that the user exists and locks their row until the transaction ends.
pub(super) async fn lock_user<DB: Backend>(
    tx: &mut Writer<DB>,
    user_id: UserId,
) -> Result<(), Failure> {
    let locked = query(with_lock::<DB>(sql::USER_EXISTS)).bind(stored_id(user_id.get()));
    match locked.exists(tx).await? {
        true => Ok(()),
        false => Err(DirectoryError::UnknownUser(user_id).into()),
    }
}

/// Checks that both users exist and differ, and locks their rows until the transaction ends.
pub(super) async fn lock_pair<DB: Backend>(
    tx: &mut Writer<DB>,
    users: [UserId; 2],
) -> Result<(), Failure> {
    require_pair(tx, users).await?;
    // Always in the order of ids; otherwise two calls could deadlock.
    lock_user(tx, users[0].min(users[1])).await?;
    lock_user(tx, users[0].max(users[1])).await
}

/// Whether the group exists. Locks its row until the transaction ends.
pub(super) async fn lock_group<DB: Backend>(
    tx: &mut Writer<DB>,
    channel_id: ChannelId,
) -> Result<bool, Failure> {
    query(with_lock::<DB>(sql::GROUP_EXISTS)).bind(stored_id(channel_id.get())).exists(tx).await
}

/// Checks that a user may log in, and locks the row until the transaction ends.
pub(super) async fn require_enabled<DB: Backend>(
    tx: &mut Writer<DB>,
    user_id: UserId,
) -> Result<(), Failure> {
    let query = query(with_lock::<DB>(sql::DISABLED)).bind(stored_id(user_id.get()));
    match query.first::<(bool,)>(tx).await? {
        Some((false,)) => Ok(()),
        Some((true,)) => Err(DirectoryError::UserDisabled(user_id).into()),
        None => Err(DirectoryError::UnknownUser(user_id).into()),
    }
}
