//! Memberships in a relational database: joining, roles, read positions and leaving.

use pabal_core::model::{ChannelId, GroupChange, Member, Membership, MessageId, Role, UserId};
use pabal_core::ports::{DirectoryError, PushTarget, PutMember, RelationLimits, RemovedMember};

use super::admission::{admit, lock_users, require_all};
use super::checks::{lock_membership, role_of};
use super::revocations::record_channel;
use crate::directory::error::Failure;
use crate::directory::query::query;
use crate::directory::rows::{
    MemberRow, MembershipRow, PushTargetRow, role_word, stored_id, stored_limit, stored_start,
};
use crate::directory::sql;
use crate::directory::store::{Backend, Store, Writer};

pub(super) async fn memberships_after<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    after: Option<ChannelId>,
    limit: usize,
) -> Result<Vec<Membership>, Failure> {
    let rows = query(sql::MEMBERSHIPS)
        .bind(stored_id(user_id.get()))
        .bind(stored_start(after.map(ChannelId::get)))
        .bind(stored_limit(limit))
        .all(&mut store.read().await?)
        .await?;
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

pub(super) async fn members_after<DB: Backend>(
    store: &Store<DB>,
    channel_id: ChannelId,
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<Member>, Failure> {
    let rows = query(sql::MEMBERS)
        .bind(stored_id(channel_id.get()))
        .bind(stored_start(after.map(UserId::get)))
        .bind(stored_limit(limit))
        .all(&mut store.read().await?)
        .await?;
    Ok(rows.into_iter().map(MemberRow::read).collect::<Result<_, _>>()?)
}

pub(super) async fn put_member<DB: Backend>(
    store: &Store<DB>,
    by: UserId,
    channel_id: ChannelId,
    user_id: UserId,
    role: Option<Role>,
    limits: RelationLimits,
) -> Result<PutMember, Failure> {
    let mut tx = store.write().await?;
    // First the user, then the group: the order of all locks.
    let known = lock_users(&mut tx, &[user_id]).await?;
    let (channel, mine) = lock_membership(&mut tx, by, channel_id).await?;
    let before = role_of(&mut tx, channel_id, user_id).await?;
    let change = GroupChange::Put { before, role };
    change.allowed_to(channel.kind, mine).map_err(DirectoryError::from)?;
    let role = match before {
        Some(old) => change_role(&mut tx, channel_id, user_id, old, role.unwrap_or(old)).await?,
        None => {
            require_all(&[user_id], &known)?;
            let count = query(sql::MEMBER_COUNT).bind(stored_id(channel_id.get()));
            let (count,) = count.one::<(i64,)>(&mut tx).await?;
            if usize::try_from(count).is_ok_and(|count| count >= limits.group_members) {
                return Err(DirectoryError::GroupFull.into());
            }
            let by_stranger = admit(&mut tx, by, &[user_id], limits).await?[0];
            let role = role.unwrap_or(Role::Member);
            join(&mut tx, channel_id, user_id, role, by_stranger).await?;
            role
        }
    };
    tx.commit().await?;
    Ok(PutMember { channel, before, role })
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
    by_stranger: bool,
) -> Result<(), Failure> {
    let channel_id = stored_id(channel_id.get());
    let arrival = query(sql::NEXT_ARRIVAL).bind(channel_id);
    let (arrival,) = arrival.one::<(i64,)>(tx).await?;
    query(sql::ADD_MEMBER)
        .bind(channel_id)
        .bind(stored_id(user_id.get()))
        .bind(role_word(role))
        .bind(arrival)
        .bind(by_stranger)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn remove_member<DB: Backend>(
    store: &Store<DB>,
    by: UserId,
    channel_id: ChannelId,
    user_id: UserId,
) -> Result<Option<RemovedMember>, Failure> {
    let mut tx = store.write().await?;
    let (channel, mine) = lock_membership(&mut tx, by, channel_id).await?;
    let theirs = role_of(&mut tx, channel_id, user_id).await?;
    let change = match by == user_id {
        true => GroupChange::Leave,
        false => GroupChange::Remove { theirs },
    };
    change.allowed_to(channel.kind, mine).map_err(DirectoryError::from)?;
    let Some(role) = theirs else { return Ok(None) };
    let removal = query(sql::REMOVE_MEMBER).bind(stored_id(channel_id.get()));
    removal.bind(stored_id(user_id.get())).execute(&mut tx).await?;
    // A group always has an owner, so only the removal of an owner requires a successor.
    let (successor, ended) = match role {
        Role::Owner => promote_successor(&mut tx, channel_id).await?,
        Role::Member | Role::Admin => (None, false),
    };
    record_channel(&mut tx, user_id, channel_id).await?;
    tx.commit().await?;
    Ok(Some(RemovedMember { channel, successor, ended }))
}

/// After an owner was removed: promotes a successor if no owner is left, or deletes the empty
/// group. Returns the successor, and whether the group was deleted.
async fn promote_successor<DB: Backend>(
    tx: &mut Writer<DB>,
    channel_id: ChannelId,
) -> Result<(Option<UserId>, bool), Failure> {
    let channel_id = stored_id(channel_id.get());
    let successor = query(sql::SUCCESSOR).bind(channel_id);
    let Some(successor) = successor.first::<MemberRow>(tx).await? else {
        query(sql::REMOVE_GROUP).bind(channel_id).execute(tx).await?;
        return Ok((None, true));
    };
    let successor = successor.read()?;
    if successor.role == Role::Owner {
        return Ok((None, false));
    }
    query(sql::CHANGE_ROLE)
        .bind(channel_id)
        .bind(stored_id(successor.user_id.get()))
        .bind(role_word(Role::Owner))
        .execute(tx)
        .await?;
    Ok((Some(successor.user_id), false))
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
