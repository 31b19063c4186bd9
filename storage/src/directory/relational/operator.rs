//! What an operator does with accounts, in a relational database.

use pabal_core::model::UserId;
use pabal_core::ports::{Access, Account, DirectoryError, Ending};

use super::{Backend, Failure, Store, Writer, held, hold, query, sql};
use crate::directory::rows::{AccountRow, EndingRow, HeldRow, stored_id, stored_limit};

pub(super) async fn account<DB: Backend>(
    store: &Store<DB>,
    username_key: String,
) -> Result<Option<Account>, Failure> {
    let query = query(sql::ACCOUNT).bind(username_key);
    Ok(query.first(&mut store.read().await?).await?.map(AccountRow::read).transpose()?)
}

pub(super) async fn accounts<DB: Backend>(
    store: &Store<DB>,
    after: String,
    limit: usize,
) -> Result<Vec<Account>, Failure> {
    let rows = query(sql::ACCOUNTS_AFTER)
        .bind(after)
        .bind(stored_limit(limit))
        .all(&mut store.read().await?)
        .await?;
    Ok(rows.into_iter().map(AccountRow::read).collect::<Result<_, _>>()?)
}

pub(super) async fn accesses<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
) -> Result<Vec<Access>, Failure> {
    let query = query(sql::ACCESSES).bind(stored_id(user_id.get()));
    let rows = query.all(&mut store.read().await?).await?;
    Ok(rows.into_iter().map(HeldRow::read).collect::<Result<_, _>>()?)
}

pub(super) async fn set_disabled<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    disabled: bool,
) -> Result<bool, Failure> {
    let mut tx = store.write().await?;
    hold(&mut tx, user_id).await?;
    let query = query(sql::SET_DISABLED).bind(stored_id(user_id.get())).bind(disabled);
    let changed = query.execute(&mut tx).await? > 0;
    if disabled {
        take_access(&mut tx, user_id).await?;
    }
    tx.commit().await?;
    Ok(changed)
}

pub(super) async fn change_password<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    hash: String,
) -> Result<(), Failure> {
    let mut tx = store.write().await?;
    hold(&mut tx, user_id).await?;
    let query = query(sql::CHANGE_PASSWORD).bind(stored_id(user_id.get())).bind(hash);
    query.execute(&mut tx).await?;
    take_access(&mut tx, user_id).await?;
    tx.commit().await
}

pub(super) async fn end_access<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
) -> Result<usize, Failure> {
    let mut tx = store.write().await?;
    hold(&mut tx, user_id).await?;
    let ended = take_access(&mut tx, user_id).await?;
    tx.commit().await?;
    Ok(ended)
}

/// Removes every token of a user with its device, and asks for their sessions to end.
async fn take_access<DB: Backend>(tx: &mut Writer<DB>, user_id: UserId) -> Result<usize, Failure> {
    let id = stored_id(user_id.get());
    let ended = query(sql::REMOVE_TOKENS).bind(id).execute(tx).await?;
    query(sql::REMOVE_DEVICES).bind(id).execute(tx).await?;
    query(sql::ASK_ENDING).bind(id).execute(tx).await?;
    Ok(usize::try_from(ended).unwrap_or(usize::MAX))
}

pub(super) async fn endings<DB: Backend>(
    store: &Store<DB>,
    limit: usize,
) -> Result<Vec<Ending>, Failure> {
    let limit = stored_limit(limit);
    let query = query(sql::ENDINGS).bind(limit);
    let rows = query.all(&mut store.read().await?).await?;
    Ok(rows.into_iter().map(EndingRow::read).collect::<Result<_, _>>()?)
}

pub(super) async fn forget_endings<DB: Backend>(
    store: &Store<DB>,
    numbers: Vec<u64>,
) -> Result<(), Failure> {
    let mut tx = store.write().await?;
    for number in numbers {
        query(sql::FORGET_ENDING).bind(stored_id(number)).execute(&mut tx).await?;
    }
    tx.commit().await
}

/// That a user may log in, until the transaction ends.
pub(super) async fn enabled<DB: Backend>(
    tx: &mut Writer<DB>,
    user_id: UserId,
) -> Result<(), Failure> {
    let query = query(held::<DB>(sql::DISABLED)).bind(stored_id(user_id.get()));
    match query.first::<(bool,)>(tx).await? {
        Some((false,)) => Ok(()),
        Some((true,)) => Err(DirectoryError::UserDisabled(user_id).into()),
        None => Err(DirectoryError::UnknownUser(user_id).into()),
    }
}
