//! Channels in SQLite: how they are made, named and deleted.

use std::collections::HashSet;

use pabal_core::model::{Channel, ChannelId, ChannelKind, Role, UserId};
use pabal_core::ports::DirectoryError;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{Failure, Store, known_pair, sql};
use crate::directory::rows::{ChannelRow, kind_word, role_word, stored_id, stored_moment};

/// How many rows one statement of a large group names; five values each, well below SQLite's bound
/// of 32,766 a statement.
const ROWS_AT_ONCE: usize = 500;

pub(super) async fn direct_channel(
    store: &Store,
    users: [UserId; 2],
    new: Channel,
) -> Result<(Channel, bool), Failure> {
    let mut pair = users;
    pair.sort_unstable();
    // Most calls are for a channel that is there, and need not queue for the writer. One that is
    // there stays.
    let found = sqlx::query_as::<_, ChannelRow>(sql::DIRECT_CHANNEL)
        .bind(stored_id(pair[0].get()))
        .bind(stored_id(pair[1].get()));
    if let Some(row) = found.fetch_optional(&store.readers).await? {
        return Ok((row.read()?, false));
    }
    let mut tx = store.write().await?;
    known_pair(&mut tx, users).await?;
    let found = sqlx::query_as::<_, ChannelRow>(sql::DIRECT_CHANNEL)
        .bind(stored_id(pair[0].get()))
        .bind(stored_id(pair[1].get()));
    if let Some(row) = found.fetch_optional(&mut *tx).await? {
        return Ok((row.read()?, false));
    }
    let channel = Channel { kind: ChannelKind::Direct, name: None, ..new };
    add_channel(&mut tx, &channel, Some(pair), 2).await?;
    let places = users.map(|user_id| (user_id, Role::Member));
    add_members(&mut tx, channel.channel_id, &places).await?;
    tx.commit().await?;
    Ok((channel, true))
}

pub(super) async fn create_group(
    store: &Store,
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
    Ok(tx.commit().await?)
}

pub(super) async fn rename_group(
    store: &Store,
    channel_id: ChannelId,
    name: String,
) -> Result<Channel, Failure> {
    let mut tx = store.write().await?;
    let row = sqlx::query_as::<_, ChannelRow>(sql::RENAME_GROUP)
        .bind(stored_id(channel_id.get()))
        .bind(name)
        .fetch_optional(&mut *tx)
        .await?;
    let channel = row.ok_or(DirectoryError::UnknownChannel)?.read()?;
    tx.commit().await?;
    Ok(channel)
}

pub(super) async fn delete_group(store: &Store, channel_id: ChannelId) -> Result<bool, Failure> {
    let mut tx = store.write().await?;
    let removal = sqlx::query(sql::REMOVE_GROUP).bind(stored_id(channel_id.get()));
    let removed = removal.execute(&mut *tx).await?.rows_affected() > 0;
    tx.commit().await?;
    Ok(removed)
}

/// That there are all of these users; names the first that is not.
async fn all_known(tx: &mut SqliteConnection, places: &[(UserId, Role)]) -> Result<(), Failure> {
    for places in places.chunks(ROWS_AT_ONCE) {
        let mut query = QueryBuilder::<Sqlite>::new(sql::USERS_AMONG);
        let mut ids = query.separated(", ");
        for (user_id, _) in places {
            ids.push_bind(stored_id(user_id.get()));
        }
        query.push(")");
        let known = query.build_query_scalar::<i64>().persistent(false).fetch_all(&mut *tx).await?;
        let known = HashSet::<i64>::from_iter(known);
        let unknown = places.iter().find(|(id, _)| !known.contains(&stored_id(id.get())));
        if let Some((user_id, _)) = unknown {
            return Err(DirectoryError::UnknownUser(*user_id).into());
        }
    }
    Ok(())
}

async fn add_channel(
    tx: &mut SqliteConnection,
    channel: &Channel,
    pair: Option<[UserId; 2]>,
    arrivals: usize,
) -> Result<(), Failure> {
    sqlx::query(sql::ADD_CHANNEL)
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
async fn add_members(
    tx: &mut SqliteConnection,
    channel_id: ChannelId,
    places: &[(UserId, Role)],
) -> Result<(), Failure> {
    let channel_id = stored_id(channel_id.get());
    let mut arrivals = 1_i64..;
    for places in places.chunks(ROWS_AT_ONCE) {
        let mut query = QueryBuilder::<Sqlite>::new(sql::ADD_MEMBERS);
        query.push_values(
            places.iter().zip(&mut arrivals),
            |mut row, ((user_id, role), arrival)| {
                row.push_bind(channel_id)
                    .push_bind(stored_id(user_id.get()))
                    .push_bind(role_word(*role))
                    .push_bind(arrival)
                    .push_bind(0_i64);
            },
        );
        query.build().persistent(false).execute(&mut *tx).await?;
    }
    Ok(())
}
