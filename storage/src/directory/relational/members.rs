//! Memberships in a relational database: who is where, how they come, lead, read and leave.

use pabal_core::model::{ChannelId, Member, Membership, MessageId, Role, UserId};
use pabal_core::ports::{DirectoryError, PushTarget};

use super::{Backend, Failure, Store, Writer, hold_group, known, query, sql};
use crate::directory::rows::{
    self, MemberRow, MembershipRow, PushTargetRow, role_word, stored_id, stored_limit, stored_start,
};

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
    channel_id: ChannelId,
    user_id: UserId,
    role: Option<Role>,
    at_most: usize,
) -> Result<(bool, Role), Failure> {
    let id = stored_id(channel_id.get());
    let mut tx = store.write().await?;
    if !hold_group(&mut tx, channel_id).await? {
        return Err(DirectoryError::UnknownChannel.into());
    }
    known(&mut tx, user_id).await?;
    let place = query(sql::ROLE)
        .bind(id)
        .bind(stored_id(user_id.get()))
        .first::<(String,)>(&mut tx)
        .await?;
    let answer = match place {
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
    Ok(answer)
}

/// Gives a member another role, unless that would leave the group without an owner. Answers the
/// role they have then.
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
    if !hold_group(&mut tx, channel_id).await? {
        return Ok(false);
    }
    let role = query(sql::REMOVE_MEMBER)
        .bind(stored_id(channel_id.get()))
        .bind(stored_id(user_id.get()))
        .first::<(String,)>(&mut tx)
        .await?;
    let Some((role,)) = role else { return Ok(false) };
    // A group always has an owner: as long as none goes, one is there.
    if rows::role(&role)? == Role::Owner {
        succeed(&mut tx, channel_id).await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// After an owner went: sees to it that the group has one, or ends it if nobody is left.
async fn succeed<DB: Backend>(tx: &mut Writer<DB>, channel_id: ChannelId) -> Result<(), Failure> {
    let channel_id = stored_id(channel_id.get());
    let heir = query(sql::HEIR).bind(channel_id);
    let Some(heir) = heir.first::<MemberRow>(tx).await? else {
        query(sql::REMOVE_GROUP).bind(channel_id).execute(tx).await?;
        return Ok(());
    };
    let heir = heir.read()?;
    if heir.role != Role::Owner {
        query(sql::CHANGE_ROLE)
            .bind(channel_id)
            .bind(stored_id(heir.user_id.get()))
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
