//! Friends and blocks in a relational database.

use pabal_core::model::{Friend, FriendState, UserId};
use pabal_core::ports::{DirectoryError, Relation, RelationLimits};

use super::channels::{direct_of, sorted};
use super::checks::{lock_pair, require_room};
use super::revocations::record_channel;
use crate::directory::error::Failure;
use crate::directory::query::query;
use crate::directory::rows::{self, ChannelRow, FriendRow, stored_id, stored_limit, stored_start};
use crate::directory::sql;
use crate::directory::store::{Backend, Store};

pub(super) async fn friends_after<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<Friend>, Failure> {
    let rows = query(sql::FRIENDS)
        .bind(stored_id(user_id.get()))
        .bind(stored_start(after.map(UserId::get)))
        .bind(stored_limit(limit))
        .all(&mut store.read().await?)
        .await?;
    Ok(rows.into_iter().map(FriendRow::read).collect::<Result<_, _>>()?)
}

pub(super) async fn befriend<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    other: UserId,
    limits: RelationLimits,
) -> Result<FriendState, Failure> {
    let [mine, theirs] = [stored_id(user_id.get()), stored_id(other.get())];
    let mut tx = store.write().await?;
    lock_pair(&mut tx, [user_id, other]).await?;
    if query(sql::BLOCK_BETWEEN).bind(mine).bind(theirs).exists(&mut tx).await? {
        return Err(DirectoryError::Blocked.into());
    }
    let is_mutual = query(sql::HAS_REQUEST).bind(theirs).bind(mine);
    let is_mutual = is_mutual.exists(&mut tx).await?;
    if !is_mutual && !query(sql::HAS_REQUEST).bind(mine).bind(theirs).exists(&mut tx).await? {
        let (relation, limit) = (Relation::Friend, limits.friends);
        require_room(&mut tx, user_id, relation, sql::SENT_COUNT, limit).await?;
        require_room(&mut tx, other, relation, sql::RECEIVED_COUNT, limit).await?;
    }
    query(sql::ADD_REQUEST).bind(mine).bind(theirs).execute(&mut tx).await?;
    tx.commit().await?;
    Ok(if is_mutual { FriendState::Friends } else { FriendState::Requested })
}

pub(super) async fn unfriend<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    other: UserId,
) -> Result<bool, Failure> {
    let mut tx = store.write().await?;
    let removal = query(sql::UNFRIEND).bind(stored_id(user_id.get())).bind(stored_id(other.get()));
    let removed = removal.execute(&mut tx).await? > 0;
    tx.commit().await?;
    Ok(removed)
}

pub(super) async fn blocks_after<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<UserId>, Failure> {
    let ids = query(sql::BLOCKS)
        .bind(stored_id(user_id.get()))
        .bind(stored_start(after.map(UserId::get)))
        .bind(stored_limit(limit))
        .all::<(i64,)>(&mut store.read().await?)
        .await?;
    Ok(ids.into_iter().map(|(id,)| rows::user_id(id)).collect::<Result<_, _>>()?)
}

pub(super) async fn block<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    other: UserId,
    limits: RelationLimits,
) -> Result<(), Failure> {
    let [mine, theirs] = [stored_id(user_id.get()), stored_id(other.get())];
    let mut tx = store.write().await?;
    // The lock that a friend request takes, which must see the block or come before it.
    lock_pair(&mut tx, [user_id, other]).await?;
    if !query(sql::HAS_BLOCKED).bind(mine).bind(theirs).exists(&mut tx).await? {
        let (relation, count) = (Relation::Block, sql::BLOCK_COUNT);
        require_room(&mut tx, user_id, relation, count, limits.blocks).await?;
        query(sql::BLOCK).bind(mine).bind(theirs).execute(&mut tx).await?;
        let channel = direct_of(sorted([user_id, other])).first::<ChannelRow>(&mut tx).await?;
        if let Some(channel) = channel {
            record_channel(&mut tx, other, channel.read()?.channel_id).await?;
        }
    }
    tx.commit().await
}

pub(super) async fn unblock<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    other: UserId,
) -> Result<(), Failure> {
    let mut tx = store.write().await?;
    let end = query(sql::UNBLOCK).bind(stored_id(user_id.get())).bind(stored_id(other.get()));
    end.execute(&mut tx).await?;
    tx.commit().await
}
