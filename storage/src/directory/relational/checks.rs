//! Checks and row locks that several calls share. A lock keeps a decision valid until the transaction
//! ends, see [`Backend`].

use pabal_core::model::{Channel, ChannelId, GroupChange, Role, UserId};
use pabal_core::ports::{DirectoryError, Relation};

use crate::directory::error::Failure;
use crate::directory::query::query;
use crate::directory::rows::{self, ChannelRow, stored_id};
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
    if users[0] == users[1] {
        lock_user(tx, users[0]).await?;
        return Err(DirectoryError::UnknownUser(users[1]).into());
    }
    // The error names the first unknown user in the order given.
    require_user(tx, users[0]).await?;
    // Always in the order of ids; otherwise two calls could deadlock.
    lock_user(tx, users[0].min(users[1])).await?;
    lock_user(tx, users[0].max(users[1])).await
}

/// Refuses one more of a relation of which a user has as many as the query counts.
pub(super) async fn require_room<DB: Backend>(
    tx: &mut Writer<DB>,
    user_id: UserId,
    relation: Relation,
    count: &'static str,
    limit: usize,
) -> Result<(), Failure> {
    let (count,) = query(count).bind(stored_id(user_id.get())).one::<(i64,)>(tx).await?;
    match usize::try_from(count).is_ok_and(|count| count < limit) {
        true => Ok(()),
        false => Err(DirectoryError::AtLimit(user_id, relation).into()),
    }
}

/// Decides whether `by` may change a group, and returns it. Locks its row until the transaction ends:
/// every change of its members takes the same lock, so no role changes meanwhile.
pub(super) async fn lock_group<DB: Backend>(
    tx: &mut Writer<DB>,
    by: UserId,
    channel_id: ChannelId,
    change: GroupChange,
) -> Result<Channel, Failure> {
    let (channel, role) = lock_membership(tx, by, channel_id).await?;
    change.allowed_to(channel.kind, role).map_err(DirectoryError::from)?;
    Ok(channel)
}

/// The channel, and the role of `by` in it. Locks its row until the transaction ends.
pub(super) async fn lock_membership<DB: Backend>(
    tx: &mut Writer<DB>,
    by: UserId,
    channel_id: ChannelId,
) -> Result<(Channel, Role), Failure> {
    let locked = query(with_lock::<DB>(sql::CHANNEL)).bind(stored_id(channel_id.get()));
    let channel = locked.first::<ChannelRow>(tx).await?.ok_or(DirectoryError::NotAMember)?;
    let role = role_of(tx, channel_id, by).await?.ok_or(DirectoryError::NotAMember)?;
    Ok((channel.read()?, role))
}

/// The role of a member.
pub(super) async fn role_of<DB: Backend>(
    tx: &mut Writer<DB>,
    channel_id: ChannelId,
    user_id: UserId,
) -> Result<Option<Role>, Failure> {
    let role = query(sql::ROLE).bind(stored_id(channel_id.get())).bind(stored_id(user_id.get()));
    let role = role.first::<(String,)>(tx).await?;
    Ok(role.map(|(word,)| rows::role(&word)).transpose()?)
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
