//! What an operator does with accounts, in SQLite, and the face of that port.

use pabal_core::model::UserId;
use pabal_core::ports::{Access, Account, Accounts, DirectoryError, Ending};
use sqlx::SqliteConnection;

use super::{Answer, Failure, SqliteDirectory, Store, answer, folded, known, sql};
use crate::directory::rows::{AccountRow, EndingRow, HeldRow, stored_id};

async fn account(store: &Store, username_key: String) -> Result<Option<Account>, Failure> {
    let query = sqlx::query_as::<_, AccountRow>(sql::ACCOUNT).bind(username_key);
    Ok(query.fetch_optional(&store.readers).await?.map(AccountRow::read).transpose()?)
}

async fn accounts(store: &Store, after: String, limit: usize) -> Result<Vec<Account>, Failure> {
    let rows = sqlx::query_as::<_, AccountRow>(sql::ACCOUNTS_AFTER)
        .bind(after)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&store.readers)
        .await?;
    Ok(rows.into_iter().map(AccountRow::read).collect::<Result<_, _>>()?)
}

async fn accesses(store: &Store, user_id: UserId) -> Result<Vec<Access>, Failure> {
    let query = sqlx::query_as::<_, HeldRow>(sql::ACCESSES).bind(stored_id(user_id.get()));
    let rows = query.fetch_all(&store.readers).await?;
    Ok(rows.into_iter().map(HeldRow::read).collect::<Result<_, _>>()?)
}

async fn set_disabled(store: &Store, user_id: UserId, disabled: bool) -> Result<bool, Failure> {
    let mut tx = store.write().await?;
    known(&mut tx, user_id).await?;
    let query = sqlx::query(sql::SET_DISABLED).bind(stored_id(user_id.get())).bind(disabled);
    let changed = query.execute(&mut *tx).await?.rows_affected() > 0;
    if disabled {
        take_access(&mut tx, user_id).await?;
    }
    tx.commit().await?;
    Ok(changed)
}

async fn change_password(store: &Store, user_id: UserId, hash: String) -> Result<(), Failure> {
    let mut tx = store.write().await?;
    known(&mut tx, user_id).await?;
    let query = sqlx::query(sql::CHANGE_PASSWORD).bind(stored_id(user_id.get())).bind(hash);
    query.execute(&mut *tx).await?;
    take_access(&mut tx, user_id).await?;
    Ok(tx.commit().await?)
}

async fn end_access(store: &Store, user_id: UserId) -> Result<usize, Failure> {
    let mut tx = store.write().await?;
    known(&mut tx, user_id).await?;
    let ended = take_access(&mut tx, user_id).await?;
    tx.commit().await?;
    Ok(ended)
}

/// Removes every token of a user with its device, and asks for their sessions to end.
async fn take_access(tx: &mut SqliteConnection, user_id: UserId) -> Result<usize, Failure> {
    let id = stored_id(user_id.get());
    let ended = sqlx::query(sql::REMOVE_TOKENS).bind(id).execute(&mut *tx).await?;
    sqlx::query(sql::REMOVE_DEVICES).bind(id).execute(&mut *tx).await?;
    sqlx::query(sql::ASK_ENDING).bind(id).execute(tx).await?;
    Ok(usize::try_from(ended.rows_affected()).unwrap_or(usize::MAX))
}

async fn endings(store: &Store, limit: usize) -> Result<Vec<Ending>, Failure> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = sqlx::query_as::<_, EndingRow>(sql::ENDINGS).bind(limit);
    let rows = query.fetch_all(&store.readers).await?;
    Ok(rows.into_iter().map(EndingRow::read).collect::<Result<_, _>>()?)
}

async fn forget_endings(store: &Store, numbers: Vec<u64>) -> Result<(), Failure> {
    let mut tx = store.write().await?;
    for number in numbers {
        sqlx::query(sql::FORGET_ENDING).bind(stored_id(number)).execute(&mut *tx).await?;
    }
    Ok(tx.commit().await?)
}

/// That a user may log in.
pub(super) async fn enabled(tx: &mut SqliteConnection, user_id: UserId) -> Result<(), Failure> {
    let query = sqlx::query_scalar::<_, bool>(sql::DISABLED).bind(stored_id(user_id.get()));
    match query.fetch_optional(tx).await? {
        Some(false) => Ok(()),
        Some(true) => Err(DirectoryError::UserDisabled(user_id).into()),
        None => Err(DirectoryError::UnknownUser(user_id).into()),
    }
}

impl Accounts for SqliteDirectory {
    fn account(&self, username: &str) -> Answer<'_, Option<Account>> {
        answer(account(&self.store, folded(username)))
    }

    fn accounts(&self, after: &str, limit: usize) -> Answer<'_, Vec<Account>> {
        answer(accounts(&self.store, folded(after), limit))
    }

    fn accesses(&self, user_id: UserId) -> Answer<'_, Vec<Access>> {
        answer(accesses(&self.store, user_id))
    }

    fn set_disabled(&self, user_id: UserId, disabled: bool) -> Answer<'_, bool> {
        answer(set_disabled(&self.store, user_id, disabled))
    }

    fn change_password(&self, user_id: UserId, password_hash: String) -> Answer<'_, ()> {
        answer(change_password(&self.store, user_id, password_hash))
    }

    fn end_access(&self, user_id: UserId) -> Answer<'_, usize> {
        answer(end_access(&self.store, user_id))
    }

    fn endings(&self, limit: usize) -> Answer<'_, Vec<Ending>> {
        answer(endings(&self.store, limit))
    }

    fn forget_endings(&self, numbers: &[u64]) -> Answer<'_, ()> {
        answer(forget_endings(&self.store, numbers.to_vec()))
    }
}
