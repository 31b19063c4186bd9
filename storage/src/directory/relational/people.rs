//! Friends and blocks in a relational database.

use pabal_core::model::{Friend, FriendState, UserId};

use super::checks::{lock_pair, require_pair};
use crate::directory::error::Failure;
use crate::directory::query::query;
use crate::directory::rows::{self, FriendRow, stored_id};
use crate::directory::sql;
use crate::directory::store::{Backend, Store};

pub(super) async fn friends<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
) -> Result<Vec<Friend>, Failure> {
    let query = query(sql::FRIENDS).bind(stored_id(user_id.get()));
    let rows = query.all(&mut store.read().await?).await?;
    Ok(rows.into_iter().map(FriendRow::read).collect::<Result<_, _>>()?)
}

pub(super) async fn befriend<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    other: UserId,
) -> Result<FriendState, Failure> {
    let [mine, theirs] = [stored_id(user_id.get()), stored_id(other.get())];
    let mut tx = store.write().await?;
    lock_pair(&mut tx, [user_id, other]).await?;
    query(sql::ADD_REQUEST).bind(mine).bind(theirs).execute(&mut tx).await?;
    let is_mutual = query(sql::HAS_REQUEST).bind(theirs).bind(mine);
    let is_mutual = is_mutual.exists(&mut tx).await?;
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

pub(super) async fn blocks<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
) -> Result<Vec<UserId>, Failure> {
    let query = query(sql::BLOCKS).bind(stored_id(user_id.get()));
    let ids = query.all::<(i64,)>(&mut store.read().await?).await?;
    Ok(ids.into_iter().map(|(id,)| rows::user_id(id)).collect::<Result<_, _>>()?)
}

pub(super) async fn block<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    other: UserId,
) -> Result<(), Failure> {
    let mut tx = store.write().await?;
    require_pair(&mut tx, [user_id, other]).await?;
    let block = query(sql::BLOCK).bind(stored_id(user_id.get())).bind(stored_id(other.get()));
    block.execute(&mut tx).await?;
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
