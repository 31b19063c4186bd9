//! Friends and blocks in SQLite.

use pabal_core::model::{Friend, FriendState, UserId};

use super::{Failure, Store, known_pair, sql};
use crate::directory::rows::{self, FriendRow, stored_id};

pub(super) async fn friends(store: &Store, user_id: UserId) -> Result<Vec<Friend>, Failure> {
    let query = sqlx::query_as::<_, FriendRow>(sql::FRIENDS).bind(stored_id(user_id.get()));
    let rows = query.fetch_all(&store.readers).await?;
    Ok(rows.into_iter().map(FriendRow::read).collect::<Result<_, _>>()?)
}

pub(super) async fn befriend(
    store: &Store,
    user_id: UserId,
    other: UserId,
) -> Result<FriendState, Failure> {
    let [mine, theirs] = [stored_id(user_id.get()), stored_id(other.get())];
    let mut tx = store.write().await?;
    known_pair(&mut tx, [user_id, other]).await?;
    sqlx::query(sql::ASK).bind(mine).bind(theirs).execute(&mut *tx).await?;
    let asked_back = sqlx::query(sql::HAS_ASKED).bind(theirs).bind(mine);
    let asked_back = asked_back.fetch_optional(&mut *tx).await?.is_some();
    tx.commit().await?;
    Ok(if asked_back { FriendState::Friends } else { FriendState::Requested })
}

pub(super) async fn unfriend(
    store: &Store,
    user_id: UserId,
    other: UserId,
) -> Result<bool, Failure> {
    let mut tx = store.write().await?;
    let removal =
        sqlx::query(sql::UNFRIEND).bind(stored_id(user_id.get())).bind(stored_id(other.get()));
    let removed = removal.execute(&mut *tx).await?.rows_affected() > 0;
    tx.commit().await?;
    Ok(removed)
}

pub(super) async fn blocks(store: &Store, user_id: UserId) -> Result<Vec<UserId>, Failure> {
    let query = sqlx::query_scalar::<_, i64>(sql::BLOCKS).bind(stored_id(user_id.get()));
    let ids = query.fetch_all(&store.readers).await?;
    Ok(ids.into_iter().map(rows::user_id).collect::<Result<_, _>>()?)
}

pub(super) async fn block(store: &Store, user_id: UserId, other: UserId) -> Result<(), Failure> {
    let mut tx = store.write().await?;
    known_pair(&mut tx, [user_id, other]).await?;
    let block = sqlx::query(sql::BLOCK).bind(stored_id(user_id.get())).bind(stored_id(other.get()));
    block.execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

pub(super) async fn unblock(store: &Store, user_id: UserId, other: UserId) -> Result<(), Failure> {
    let mut tx = store.write().await?;
    let end = sqlx::query(sql::UNBLOCK).bind(stored_id(user_id.get())).bind(stored_id(other.get()));
    end.execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}
