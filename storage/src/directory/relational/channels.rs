//! Direct channels, and the names of groups, in a relational database. Groups are created and deleted in
//! [`super::groups`].

use pabal_core::model::{Channel, ChannelId, ChannelKind, GroupChange, Role, UserId};
use pabal_core::ports::RelationLimits;

use super::admission::require_room_for_channel;
use super::checks::{lock_group, lock_pair};
use crate::directory::error::Failure;
use crate::directory::query::{Query, query};
use crate::directory::rows::{ChannelRow, kind_word, role_word, stored_id, stored_moment};
use crate::directory::sql;
use crate::directory::store::{Backend, Store, Writer};

/// The number of rows in one statement. Each has up to six values, far below the limits of SQLite
/// (32,766 values) and PostgreSQL (65,535).
pub(super) const ROWS_AT_ONCE: usize = 500;

/// A member of a new channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewMember {
    pub(super) user_id: UserId,
    pub(super) role: Role,
    /// Whether added by another user who is no friend.
    pub(super) by_stranger: bool,
}

pub(super) async fn direct_channel<DB: Backend>(
    store: &Store<DB>,
    users: [UserId; 2],
    new: Channel,
    limits: RelationLimits,
) -> Result<(Channel, bool), Failure> {
    // Most calls find an existing channel and need not wait for the writer. A direct channel is
    // never deleted.
    if let Some(channel) = find_direct_channel(store, users).await? {
        return Ok((channel, false));
    }
    let pair = sorted(users);
    let mut tx = store.write().await?;
    lock_pair(&mut tx, users).await?;
    if let Some(row) = direct_of(pair).first::<ChannelRow>(&mut tx).await? {
        return Ok((row.read()?, false));
    }
    let channel = Channel { kind: ChannelKind::Direct, name: None, ..new };
    require_room_for_channel(&mut tx, &users, limits).await?;
    add_channel(&mut tx, &channel, Some(pair), 2, false).await?;
    let member = |user_id| NewMember { user_id, role: Role::Member, by_stranger: false };
    add_members(&mut tx, channel.channel_id, 1, &users.map(member)).await?;
    tx.commit().await?;
    Ok((channel, true))
}

pub(super) async fn find_direct_channel<DB: Backend>(
    store: &Store<DB>,
    users: [UserId; 2],
) -> Result<Option<Channel>, Failure> {
    let row = direct_of(sorted(users)).first(&mut store.read().await?).await?;
    Ok(row.map(ChannelRow::read).transpose()?)
}

/// A pair of users in the order in which a direct channel names them.
pub(super) fn sorted(mut users: [UserId; 2]) -> [UserId; 2] {
    users.sort_unstable();
    users
}

pub(super) fn direct_of([low, high]: [UserId; 2]) -> Query {
    query(sql::DIRECT_CHANNEL).bind(stored_id(low.get())).bind(stored_id(high.get()))
}

pub(super) async fn rename_group<DB: Backend>(
    store: &Store<DB>,
    by: UserId,
    channel_id: ChannelId,
    name: String,
) -> Result<Channel, Failure> {
    let mut tx = store.write().await?;
    let channel = lock_group(&mut tx, by, channel_id, GroupChange::Rename).await?;
    let renaming = query(sql::RENAME_GROUP).bind(stored_id(channel_id.get())).bind(&*name);
    renaming.execute(&mut tx).await?;
    tx.commit().await?;
    Ok(Channel { name: Some(name), ..channel })
}

/// Adds a channel without members. If it is hidden, no call sees it yet.
pub(super) async fn add_channel<DB: Backend>(
    tx: &mut Writer<DB>,
    channel: &Channel,
    pair: Option<[UserId; 2]>,
    arrivals: usize,
    hidden: bool,
) -> Result<(), Failure> {
    query(sql::ADD_CHANNEL)
        .bind(stored_id(channel.channel_id.get()))
        .bind(kind_word(channel.kind))
        .bind(channel.name.as_deref())
        .bind(stored_moment(channel.created_at))
        .bind(pair.map(|[low, _]| stored_id(low.get())))
        .bind(pair.map(|[_, high]| stored_id(high.get())))
        .bind(stored_id(arrivals as u64))
        .bind(hidden)
        .execute(tx)
        .await?;
    Ok(())
}

/// Adds members of a new channel, with arrival numbers from `first` in this order; at most
/// [`ROWS_AT_ONCE`].
pub(super) async fn add_members<DB: Backend>(
    tx: &mut Writer<DB>,
    channel_id: ChannelId,
    first: i64,
    members: &[NewMember],
) -> Result<(), Failure> {
    let rows: Vec<_> = (0..members.len()).map(|row| sql::tuple(1 + row * 6, 6)).collect();
    let statement = format!("{} {}", sql::ADD_MEMBERS, rows.join(", "));
    let mut addition = query(statement).once();
    for (member, arrival) in members.iter().zip(first..) {
        addition = addition
            .bind(stored_id(channel_id.get()))
            .bind(stored_id(member.user_id.get()))
            .bind(role_word(member.role))
            .bind(arrival)
            .bind(0)
            .bind(member.by_stranger);
    }
    addition.execute(tx).await?;
    Ok(())
}
