//! How many channels the users hold who are added to one. A user is added by a friend, by themselves, or
//! by a stranger; each kind has its limit.

use std::collections::HashSet;

use pabal_core::model::UserId;
use pabal_core::ports::{DirectoryError, Relation, RelationLimits};

use crate::directory::error::Failure;
use crate::directory::query::{Query, query};
use crate::directory::rows::{stored_id, stored_limit};
use crate::directory::sql;
use crate::directory::store::{Backend, Writer, with_lock};

/// The ids of those among `users` who exist. Locks their rows until the transaction ends, in the order
/// of their ids: what they hold is then counted by one transaction at a time.
pub(super) async fn lock_users<DB: Backend>(
    tx: &mut Writer<DB>,
    users: &[UserId],
) -> Result<HashSet<i64>, Failure> {
    let [start, end] = sql::USERS_AMONG;
    let statement = format!("{start} {} {}", sql::tuple(1, users.len()), with_lock::<DB>(end));
    let found = bound(query(statement), users).once().all::<(i64,)>(tx).await?;
    Ok(found.into_iter().map(|(id,)| id).collect())
}

/// Refuses the first of `users` who is not among those that [`lock_users`] found.
pub(super) fn require_all(users: &[UserId], known: &HashSet<i64>) -> Result<(), DirectoryError> {
    match users.iter().find(|user_id| !known.contains(&stored_id(user_id.get()))) {
        Some(unknown) => Err(DirectoryError::UnknownUser(*unknown)),
        None => Ok(()),
    }
}

/// Decides whether `by` may add each of `users`, whose rows are locked, to a group. Returns for each
/// whether `by` is a stranger.
pub(super) async fn admit<DB: Backend>(
    tx: &mut Writer<DB>,
    by: UserId,
    users: &[UserId],
    limits: RelationLimits,
) -> Result<Vec<bool>, Failure> {
    let statement = format!("{} {}", sql::FRIENDS_AMONG, sql::tuple(2, users.len()));
    let friends = bound(query(statement).bind(stored_id(by.get())), users).once();
    let friends = friends.all::<(i64,)>(tx).await?;
    let friends: HashSet<i64> = friends.into_iter().map(|(id,)| id).collect();
    let by_stranger =
        |user_id: &UserId| by != *user_id && !friends.contains(&stored_id(user_id.get()));
    let by_strangers: Vec<bool> = users.iter().map(by_stranger).collect();
    let full = [
        full(tx, users, false, limits.channels).await?,
        full(tx, users, true, limits.groups_by_strangers).await?,
    ];
    for (user_id, &by_stranger) in users.iter().zip(&by_strangers) {
        if full[usize::from(by_stranger)].contains(&stored_id(user_id.get())) {
            let relation = if by_stranger { Relation::GroupByStranger } else { Relation::Channel };
            return Err(DirectoryError::AtLimit(*user_id, relation).into());
        }
    }
    Ok(by_strangers)
}

/// Refuses the first of `users`, whose rows are locked, who holds as many channels as allowed.
pub(super) async fn require_room_for_channel<DB: Backend>(
    tx: &mut Writer<DB>,
    users: &[UserId],
    limits: RelationLimits,
) -> Result<(), Failure> {
    let full = full(tx, users, false, limits.channels).await?;
    match users.iter().find(|user_id| full.contains(&stored_id(user_id.get()))) {
        Some(user_id) => Err(DirectoryError::AtLimit(*user_id, Relation::Channel).into()),
        None => Ok(()),
    }
}

/// Those among `users` who hold at least `limit` channels of a kind.
async fn full<DB: Backend>(
    tx: &mut Writer<DB>,
    users: &[UserId],
    by_stranger: bool,
    limit: usize,
) -> Result<HashSet<i64>, Failure> {
    if limit == 0 {
        // No row is counted for a user who holds none.
        return Ok(users.iter().map(|user_id| stored_id(user_id.get())).collect());
    }
    let [start, end] = sql::FULL_AMONG;
    let statement = format!("{start} {} {end}", sql::tuple(3, users.len()));
    let full = query(statement).bind(by_stranger).bind(stored_limit(limit));
    let full = bound(full, users).once().all::<(i64,)>(tx).await?;
    Ok(full.into_iter().map(|(id,)| id).collect())
}

fn bound(query: Query, users: &[UserId]) -> Query {
    users.iter().fold(query, |query, user_id| query.bind(stored_id(user_id.get())))
}
