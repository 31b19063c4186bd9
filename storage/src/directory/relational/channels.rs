//! Channels in a relational database: how they are made, named and deleted.

use std::collections::HashSet;

use pabal_core::model::{Channel, ChannelId, ChannelKind, Role, UserId};
use pabal_core::ports::DirectoryError;

use super::{Backend, Failure, Query, Store, Writer, hold_pair, query, sql};
use crate::directory::rows::{ChannelRow, kind_word, role_word, stored_id, stored_moment};

/// How many rows one statement of a large group names; five values each, well below the bounds of
/// SQLite, 32,766 a statement, and of PostgreSQL, 65,535.
pub(super) const ROWS_AT_ONCE: usize = 500;

pub(super) async fn direct_channel<DB: Backend>(
    store: &Store<DB>,
    users: [UserId; 2],
    new: Channel,
) -> Result<(Channel, bool), Failure> {
    // Most calls are for a channel that is there, and need not queue for the writer. One that is
    // there stays.
    if let Some(channel) = find_direct_channel(store, users).await? {
        return Ok((channel, false));
    }
    let pair = sorted(users);
    let mut tx = store.write().await?;
    hold_pair(&mut tx, users).await?;
    if let Some(row) = direct_of(pair).first::<ChannelRow>(&mut tx).await? {
        return Ok((row.read()?, false));
    }
    let channel = Channel { kind: ChannelKind::Direct, name: None, ..new };
    add_channel(&mut tx, &channel, Some(pair), 2).await?;
    let places = users.map(|user_id| (user_id, Role::Member));
    add_members(&mut tx, channel.channel_id, &places).await?;
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
    members: Vec<UserId>,
) -> Result<(), Failure> {
    let mut seen = HashSet::from([owner]);
    let mut places = vec![(owner, Role::Owner)];
    let others = members.into_iter().filter(|user_id| seen.insert(*user_id));
    places.extend(others.map(|user_id| (user_id, Role::Member)));

    let channel = Channel { kind: ChannelKind::Group, ..channel };
    let mut tx = store.write().await?;
    all_known(&mut tx, &places).await?;
    add_channel(&mut tx, &channel, None, places.len()).await?;
    add_members(&mut tx, channel.channel_id, &places).await?;
    tx.commit().await
}

pub(super) async fn rename_group<DB: Backend>(
    store: &Store<DB>,
    channel_id: ChannelId,
    name: String,
) -> Result<Channel, Failure> {
    let mut tx = store.write().await?;
    let row = query(sql::RENAME_GROUP)
        .bind(stored_id(channel_id.get()))
        .bind(name)
        .first::<ChannelRow>(&mut tx)
        .await?;
    let channel = row.ok_or(DirectoryError::UnknownChannel)?.read()?;
    tx.commit().await?;
    Ok(channel)
}

pub(super) async fn delete_group<DB: Backend>(
    store: &Store<DB>,
    channel_id: ChannelId,
) -> Result<bool, Failure> {
    let mut tx = store.write().await?;
    let removal = query(sql::REMOVE_GROUP).bind(stored_id(channel_id.get()));
    let removed = removal.execute(&mut tx).await? > 0;
    tx.commit().await?;
    Ok(removed)
}

/// That there are all of these users; names the first that is not.
async fn all_known<DB: Backend>(
    tx: &mut Writer<DB>,
    places: &[(UserId, Role)],
) -> Result<(), Failure> {
    for places in places.chunks(ROWS_AT_ONCE) {
        let statement = format!("{} {}", sql::USERS_AMONG, sql::tuple(1, places.len()));
        let ids = places.iter().map(|(user_id, _)| stored_id(user_id.get()));
        let known = ids.fold(query(statement).once(), Query::bind).all::<(i64,)>(tx).await?;
        let known: HashSet<i64> = known.into_iter().map(|(id,)| id).collect();
        let unknown = places.iter().find(|(id, _)| !known.contains(&stored_id(id.get())));
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

/// Adds the members of a new channel, who arrive in this order, from 1.
async fn add_members<DB: Backend>(
    tx: &mut Writer<DB>,
    channel_id: ChannelId,
    places: &[(UserId, Role)],
) -> Result<(), Failure> {
    let channel_id = stored_id(channel_id.get());
    let mut arrivals = 1_i64..;
    for places in places.chunks(ROWS_AT_ONCE) {
        let rows: Vec<_> = (0..places.len()).map(|row| sql::tuple(1 + row * 5, 5)).collect();
        let statement = format!("{} {}", sql::ADD_MEMBERS, rows.join(", "));
        let mut addition = query(statement).once();
        for ((user_id, role), arrival) in places.iter().zip(&mut arrivals) {
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
