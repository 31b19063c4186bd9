//! The networks from which users log in, in a relational database.

use std::net::IpAddr;

use pabal_core::model::{Timestamp, UserId};
use pabal_core::ports::KNOWN_NETWORKS;

use super::checks::lock_user;
use crate::directory::error::Failure;
use crate::directory::query::query;
use crate::directory::rows::{moment, stored_id, stored_limit, stored_moment};
use crate::directory::sql;
use crate::directory::store::{Backend, Store};

pub(super) async fn seen_from<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    network: IpAddr,
) -> Result<Option<Timestamp>, Failure> {
    let query = query(sql::SEEN_FROM).bind(stored_id(user_id.get())).bind(network.to_string());
    let row = query.first::<(i64,)>(&mut store.read().await?).await?;
    Ok(row.map(|(at,)| moment(at)).transpose()?)
}

pub(super) async fn note_seen_from<DB: Backend>(
    store: &Store<DB>,
    user_id: UserId,
    network: IpAddr,
    at: Timestamp,
) -> Result<(), Failure> {
    let id = stored_id(user_id.get());
    let mut tx = store.write().await?;
    lock_user(&mut tx, user_id).await?;
    query(sql::NOTE_SEEN)
        .bind(id)
        .bind(network.to_string())
        .bind(stored_moment(at))
        .execute(&mut tx)
        .await?;
    query(sql::KEEP_LAST_SEEN)
        .bind(id)
        .bind(stored_limit(KNOWN_NETWORKS))
        .bind(i64::from(u32::MAX))
        .execute(&mut tx)
        .await?;
    tx.commit().await
}

pub(super) async fn forget_seen<DB: Backend>(
    store: &Store<DB>,
    before: Timestamp,
    at_most: usize,
) -> Result<usize, Failure> {
    let mut tx = store.write().await?;
    let query = query(sql::FORGET_SEEN).bind(stored_moment(before)).bind(stored_limit(at_most));
    let forgotten = query.execute(&mut tx).await?;
    tx.commit().await?;
    Ok(usize::try_from(forgotten).unwrap_or(usize::MAX))
}
