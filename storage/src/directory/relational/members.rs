//! Memberships in a relational database: joining, roles, read positions and leaving.

use pabal_core::model::{ChannelId, Member, Membership, MessageId, Role, UserId};
use pabal_core::ports::{DirectoryError, PushTarget};

use super::checks::{lock_group, require_user};
use crate::directory::error::Failure;
use crate::directory::query::query;
use crate::directory::rows::{self, MemberRow, MembershipRow, PushTargetRow, role_word, stored_id};
use crate::directory::sql;
use crate::directory::store::{Backend, Store, Writer};

pub(super) async fn memberships<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
) -> Result<Vec<Membership>, Failure> {
    let query = query(sql::MEMBERSHIPS).bind(stored_id(user_id.get()));
    let rows = query.all(&mut store.read().await?).await?;
    Ok(rows.into_iter().map(MembershipRow::read).collect::<Result<_, _>>()?)
}

pub(super) async fn membership<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    channel_id: ChannelId,
) -> Result<Option<Membership>, Failure> {
    let row = query(sql::MEMBERSHIP)
        .bind(stored_id(user_id.get()))
        .bind(stored_id(channel_id.get()))
        .first(&mut store.read().await?)
        .await?;
    Ok(row.map(MembershipRow::read).transpose()?)
}

pub(super) async fn members<DB: Backend>(
    store: &Store<DB>,
    channel_id: ChannelId,
) -> Result<Vec<Member>, Failure> {
    let query = query(sql::MEMBERS).bind(stored_id(channel_id.get()));
    let rows = query.all(&mut store.read().await?).await?;
    Ok(rows.into_iter().map(MemberRow::read).collect::<Result<_, _>>()?)
}

pub(super) async fn put_member<DB: Backend>(
    store: &Store<DB>,
    channel_id: ChannelId,
    user_id: UserId,
    role: Option<Role>,
    at_most: usize,
) -> Result<(bool, Role), Failure> {
    let id = stored_id(channel_id.get());
    let mut tx = store.write().await?;
    if !lock_group(&mut tx, channel_id).await? {
        return Err(DirectoryError::UnknownChannel.into());
    }
    require_user(&mut tx, user_id).await?;
    let member = query(sql::ROLE)
        .bind(id)
        .bind(stored_id(user_id.get()))
        .first::<(String,)>(&mut tx)
        .await?;
    let outcome = match member {
        Some((old,)) => {
            let old = rows::role(&old)?;
            (false, change_role(&mut tx, channel_id, user_id, old, role.unwrap_or(old)).await?)
        }
        None => {
            let count = query(sql::MEMBER_COUNT).bind(id);
            let (count,) = count.one::<(i64,)>(&mut tx).await?;
            if usize::try_from(count).is_ok_and(|count| count >= at_most) {
                return Err(DirectoryError::GroupFull.into());
            }
            let role = role.unwrap_or(Role::Member);
            join(&mut tx, channel_id, user_id, role).await?;
            (true, role)
        }
    };
    tx.commit().await?;
    Ok(outcome)
}

/// Changes the role of a member, unless the group would have no owner then. Returns the resulting
/// role.
async fn change_role<DB: Backend>(
    tx: &mut Writer<DB>,
    channel_id: ChannelId,
    user_id: UserId,
    old: Role,
    new: Role,
) -> Result<Role, Failure> {
    let [channel_id, user_id] = [stored_id(channel_id.get()), stored_id(user_id.get())];
    if new == old {
        return Ok(old);
    }
    if old == Role::Owner {
        let other = query(sql::OTHER_OWNER).bind(channel_id).bind(user_id);
        if !other.exists(tx).await? {
            return Ok(old);
        }
    }
    let change = query(sql::CHANGE_ROLE).bind(channel_id).bind(user_id).bind(role_word(new));
    change.execute(tx).await?;
    Ok(new)
}

async fn join<DB: Backend>(
    tx: &mut Writer<DB>,
    channel_id: ChannelId,
    user_id: UserId,
    role: Role,
) -> Result<(), Failure> {
    let channel_id = stored_id(channel_id.get());
    let arrival = query(sql::NEXT_ARRIVAL).bind(channel_id);
    let (arrival,) = arrival.one::<(i64,)>(tx).await?;
    query(sql::ADD_MEMBER)
        .bind(channel_id)
        .bind(stored_id(user_id.get()))
        .bind(role_word(role))
        .bind(arrival)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn remove_member<DB: Backend>(
    store: &Store<DB>,
    channel_id: ChannelId,
    user_id: UserId,
) -> Result<bool, Failure> {
    let mut tx = store.write().await?;
    if !lock_group(&mut tx, channel_id).await? {
        return Ok(false);
    }
    let role = query(sql::REMOVE_MEMBER)
        .bind(stored_id(channel_id.get()))
        .bind(stored_id(user_id.get()))
        .first::<(String,)>(&mut tx)
        .await?;
    let Some((role,)) = role else { return Ok(false) };
    // A group always has an owner, so only the removal of an owner requires a successor.
    if rows::role(&role)? == Role::Owner {
        promote_successor(&mut tx, channel_id).await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// After an owner was removed: promotes a successor if no owner is left, or deletes the empty
/// group.
async fn promote_successor<DB: Backend>(
    tx: &mut Writer<DB>,
    channel_id: ChannelId,
) -> Result<(), Failure> {
    let channel_id = stored_id(channel_id.get());
    let successor = query(sql::SUCCESSOR).bind(channel_id);
    let Some(successor) = successor.first::<MemberRow>(tx).await? else {
        query(sql::REMOVE_GROUP).bind(channel_id).execute(tx).await?;
        return Ok(());
    };
    let successor = successor.read()?;
    if successor.role != Role::Owner {
        query(sql::CHANGE_ROLE)
            .bind(channel_id)
            .bind(stored_id(successor.user_id.get()))
            .bind(role_word(Role::Owner))
            .execute(tx)
            .await?;
    }
    Ok(())
}

pub(super) async fn mark_read<DB: Backend>(
    store: &Store<DB>,
    channel_id: ChannelId,
    user_id: UserId,
    message_id: MessageId,
) -> Result<bool, Failure> {
    let mut tx = store.write().await?;
    let moved = query(sql::MARK_READ)
        .bind(stored_id(channel_id.get()))
        .bind(stored_id(user_id.get()))
        .bind(stored_id(message_id.get()))
        .execute(&mut tx)
        .await?;
    tx.commit().await?;
    Ok(moved > 0)
}

pub(super) async fn push_targets<DB: Backend>(
    store: &Store<DB>,
    channel_id: ChannelId,
) -> Result<Vec<PushTarget>, Failure> {
    let query = query(sql::PUSH_TARGETS).bind(stored_id(channel_id.get()));
    let rows = query.all(&mut store.read().await?).await?;
    Ok(rows.into_iter().map(PushTargetRow::read).collect::<Result<_, _>>()?)
}
