//! Memberships in SQLite: who is where, how they come, lead, read and leave.

use pabal_core::model::{ChannelId, Member, Membership, MessageId, Role, UserId};
use pabal_core::ports::{DirectoryError, PushTarget};
use sqlx::SqliteConnection;

use super::{Failure, Store, known, sql};
use crate::directory::rows::{self, MemberRow, MembershipRow, PushTargetRow, role_word, stored_id};

pub(super) async fn memberships(
    store: &Store,
    user_id: UserId,
) -> Result<Vec<Membership>, Failure> {
    let query = sqlx::query_as::<_, MembershipRow>(sql::MEMBERSHIPS).bind(stored_id(user_id.get()));
    let rows = query.fetch_all(&store.readers).await?;
    Ok(rows.into_iter().map(MembershipRow::read).collect::<Result<_, _>>()?)
}

pub(super) async fn membership(
    store: &Store,
    user_id: UserId,
    channel_id: ChannelId,
) -> Result<Option<Membership>, Failure> {
    let row = sqlx::query_as::<_, MembershipRow>(sql::MEMBERSHIP)
        .bind(stored_id(user_id.get()))
        .bind(stored_id(channel_id.get()))
        .fetch_optional(&store.readers)
        .await?;
    Ok(row.map(MembershipRow::read).transpose()?)
}

pub(super) async fn members(store: &Store, channel_id: ChannelId) -> Result<Vec<Member>, Failure> {
    let query = sqlx::query_as::<_, MemberRow>(sql::MEMBERS).bind(stored_id(channel_id.get()));
    let rows = query.fetch_all(&store.readers).await?;
    Ok(rows.into_iter().map(MemberRow::read).collect::<Result<_, _>>()?)
}

pub(super) async fn put_member(
    store: &Store,
    channel_id: ChannelId,
    user_id: UserId,
    role: Option<Role>,
    at_most: usize,
) -> Result<(bool, Role), Failure> {
    let id = stored_id(channel_id.get());
    let mut tx = store.write().await?;
    let group = sqlx::query(sql::GROUP_EXISTS).bind(id).fetch_optional(&mut *tx).await?;
    group.ok_or(DirectoryError::UnknownChannel)?;
    known(&mut tx, user_id).await?;
    let place = sqlx::query_scalar::<_, String>(sql::ROLE)
        .bind(id)
        .bind(stored_id(user_id.get()))
        .fetch_optional(&mut *tx)
        .await?;
    let answer = match place {
        Some(old) => {
            let old = rows::role(&old)?;
            (false, change_role(&mut tx, channel_id, user_id, old, role.unwrap_or(old)).await?)
        }
        None => {
            let count = sqlx::query_scalar::<_, i64>(sql::MEMBER_COUNT).bind(id);
            let count = count.fetch_one(&mut *tx).await?;
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
async fn change_role(
    tx: &mut SqliteConnection,
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
        let other = sqlx::query(sql::OTHER_OWNER).bind(channel_id).bind(user_id);
        if other.fetch_optional(&mut *tx).await?.is_none() {
            return Ok(old);
        }
    }
    let change = sqlx::query(sql::CHANGE_ROLE).bind(channel_id).bind(user_id).bind(role_word(new));
    change.execute(tx).await?;
    Ok(new)
}

async fn join(
    tx: &mut SqliteConnection,
    channel_id: ChannelId,
    user_id: UserId,
    role: Role,
) -> Result<(), Failure> {
    let channel_id = stored_id(channel_id.get());
    let arrival = sqlx::query_scalar::<_, i64>(sql::NEXT_ARRIVAL).bind(channel_id);
    let arrival = arrival.fetch_one(&mut *tx).await?;
    sqlx::query(sql::ADD_MEMBER)
        .bind(channel_id)
        .bind(stored_id(user_id.get()))
        .bind(role_word(role))
        .bind(arrival)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn remove_member(
    store: &Store,
    channel_id: ChannelId,
    user_id: UserId,
) -> Result<bool, Failure> {
    let mut tx = store.write().await?;
    let role = sqlx::query_scalar::<_, String>(sql::REMOVE_MEMBER)
        .bind(stored_id(channel_id.get()))
        .bind(stored_id(user_id.get()))
        .fetch_optional(&mut *tx)
        .await?;
    let Some(role) = role else { return Ok(false) };
    // A group always has an owner: as long as none goes, one is there.
    if rows::role(&role)? == Role::Owner {
        succeed(&mut tx, channel_id).await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// After an owner went: sees to it that the group has one, or ends it if nobody is left.
async fn succeed(tx: &mut SqliteConnection, channel_id: ChannelId) -> Result<(), Failure> {
    let channel_id = stored_id(channel_id.get());
    let heir = sqlx::query_as::<_, MemberRow>(sql::HEIR).bind(channel_id);
    let Some(heir) = heir.fetch_optional(&mut *tx).await? else {
        sqlx::query(sql::REMOVE_GROUP).bind(channel_id).execute(tx).await?;
        return Ok(());
    };
    let heir = heir.read()?;
    if heir.role != Role::Owner {
        sqlx::query(sql::CHANGE_ROLE)
            .bind(channel_id)
            .bind(stored_id(heir.user_id.get()))
            .bind(role_word(Role::Owner))
            .execute(tx)
            .await?;
    }
    Ok(())
}

pub(super) async fn mark_read(
    store: &Store,
    channel_id: ChannelId,
    user_id: UserId,
    message_id: MessageId,
) -> Result<bool, Failure> {
    let mut tx = store.write().await?;
    let moved = sqlx::query(sql::MARK_READ)
        .bind(stored_id(channel_id.get()))
        .bind(stored_id(user_id.get()))
        .bind(stored_id(message_id.get()))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(moved.rows_affected() > 0)
}

pub(super) async fn push_targets(
    store: &Store,
    channel_id: ChannelId,
) -> Result<Vec<PushTarget>, Failure> {
    let query =
        sqlx::query_as::<_, PushTargetRow>(sql::PUSH_TARGETS).bind(stored_id(channel_id.get()));
    let rows = query.fetch_all(&store.readers).await?;
    Ok(rows.into_iter().map(PushTargetRow::read).collect::<Result<_, _>>()?)
}
