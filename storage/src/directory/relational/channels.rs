//! Creation, renaming and deletion of channels in a relational database.

use std::collections::HashSet;

use pabal_core::model::{Channel, ChannelId, ChannelKind, GroupChange, Role, UserId};
use pabal_core::ports::DirectoryError;

use super::checks::{lock_group, lock_pair};
use crate::directory::error::Failure;
use crate::directory::query::{Query, query};
use crate::directory::rows::{self, ChannelRow, kind_word, role_word, stored_id, stored_moment};
use crate::directory::sql;
use crate::directory::store::{Backend, Store, Writer};

/// The number of rows in one statement for a large group. Each has five values, far below the
/// limits of SQLite (32,766 values) and PostgreSQL (65,535).
pub(super) const ROWS_AT_ONCE: usize = 500;

pub(super) async fn direct_channel<DB: Backend>(
    store: &Store<DB>,
    users: [UserId; 2],
    new: Channel,
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
    add_channel(&mut tx, &channel, Some(pair), 2).await?;
    let members = users.map(|user_id| (user_id, Role::Member));
    add_members(&mut tx, channel.channel_id, &members).await?;
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
fn sorted(mut users: [UserId; 2]) -> [UserId; 2] {
    users.sort_unstable();
    users
}

fn direct_of([low, high]: [UserId; 2]) -> Query {
    query(sql::DIRECT_CHANNEL).bind(stored_id(low.get())).bind(stored_id(high.get()))
}

pub(super) async fn create_group<DB: Backend>(
    store: &Store<DB>,
    channel: Channel,
    owner: UserId,
    invited: Vec<UserId>,
) -> Result<(), Failure> {
    let mut seen = HashSet::from([owner]);
    let mut members = vec![(owner, Role::Owner)];
    let others = invited.into_iter().filter(|user_id| seen.insert(*user_id));
    members.extend(others.map(|user_id| (user_id, Role::Member)));

    let channel = Channel { kind: ChannelKind::Group, ..channel };
    let mut tx = store.write().await?;
    require_users(&mut tx, &members).await?;
    add_channel(&mut tx, &channel, None, members.len()).await?;
    add_members(&mut tx, channel.channel_id, &members).await?;
    tx.commit().await
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

pub(super) async fn delete_group<DB: Backend>(
    store: &Store<DB>,
    by: UserId,
    channel_id: ChannelId,
) -> Result<(Channel, Vec<UserId>), Failure> {
    let id = stored_id(channel_id.get());
    let mut tx = store.write().await?;
    let channel = lock_group(&mut tx, by, channel_id, GroupChange::Delete).await?;
    let members = query(sql::MEMBER_IDS).bind(id).all::<(i64,)>(&mut tx).await?;
    query(sql::REMOVE_GROUP).bind(id).execute(&mut tx).await?;
    tx.commit().await?;
    let members = members.into_iter().map(|(id,)| rows::user_id(id)).collect::<Result<_, _>>()?;
    Ok((channel, members))
}

/// Checks that all of these users exist; the error names the first one that does not.
async fn require_users<DB: Backend>(
    tx: &mut Writer<DB>,
    members: &[(UserId, Role)],
) -> Result<(), Failure> {
    for members in members.chunks(ROWS_AT_ONCE) {
        let statement = format!("{} {}", sql::USERS_AMONG, sql::tuple(1, members.len()));
        let ids = members.iter().map(|(user_id, _)| stored_id(user_id.get()));
        let known = ids.fold(query(statement).once(), Query::bind).all::<(i64,)>(tx).await?;
        let known: HashSet<i64> = known.into_iter().map(|(id,)| id).collect();
        let unknown = members.iter().find(|(id, _)| !known.contains(&stored_id(id.get())));
        if let Some((user_id, _)) = unknown {
            return Err(DirectoryError::UnknownUser(*user_id).into());
        }
    }
    Ok(())
}

async fn add_channel<DB: Backend>(
    tx: &mut Writer<DB>,
    channel: &Channel,
    pair: Option<[UserId; 2]>,
    arrivals: usize,
) -> Result<(), Failure> {
    query(sql::ADD_CHANNEL)
        .bind(stored_id(channel.channel_id.get()))
        .bind(kind_word(channel.kind))
        .bind(channel.name.as_deref())
        .bind(stored_moment(channel.created_at))
        .bind(pair.map(|[low, _]| stored_id(low.get())))
        .bind(pair.map(|[_, high]| stored_id(high.get())))
        .bind(stored_id(arrivals as u64))
        .execute(tx)
        .await?;
    Ok(())
}

/// Adds the members of a new channel, with arrival numbers from 1 in this order.
async fn add_members<DB: Backend>(
    tx: &mut Writer<DB>,
    channel_id: ChannelId,
    members: &[(UserId, Role)],
) -> Result<(), Failure> {
    let channel_id = stored_id(channel_id.get());
    let mut arrivals = 1_i64..;
    for members in members.chunks(ROWS_AT_ONCE) {
        let rows: Vec<_> = (0..members.len()).map(|row| sql::tuple(1 + row * 5, 5)).collect();
        let statement = format!("{} {}", sql::ADD_MEMBERS, rows.join(", "));
        let mut addition = query(statement).once();
        for ((user_id, role), arrival) in members.iter().zip(&mut arrivals) {
            addition = addition
                .bind(channel_id)
                .bind(stored_id(user_id.get()))
                .bind(role_word(*role))
                .bind(arrival)
                .bind(0);
        }
        addition.execute(tx).await?;
    }
    Ok(())
}
