//! Creation and deletion of groups. Large groups take several transactions, because every other write
//! waits for each of them: in SQLite for the one writer, in PostgreSQL for the rows of the users. Until
//! the last one the group is hidden: no statement returns it.

use std::collections::HashSet;
use std::time::Duration;

use pabal_core::model::{Channel, ChannelId, ChannelKind, GroupChange, Role, Timestamp, UserId};
use pabal_core::ports::{DirectoryError, RelationLimits};
use tokio::time::timeout;

use super::admission::{admit, lock_users, require_all};
use super::channels::{NewMember, add_channel, add_members};
use super::checks::lock_group;
use super::revocations::record_group;
use crate::directory::error::Failure;
use crate::directory::query::query;
use crate::directory::rows::{self, stored_id, stored_limit, stored_moment};
use crate::directory::sql;
use crate::directory::store::{Backend, Store, Writer, with_lock};

/// The number of members that one transaction adds or removes: about 20 ms of SQLite's writer.
const MEMBERS_AT_ONCE: usize = 250;

/// The deadline of a creation.
const CREATE_TIMEOUT: Duration = Duration::from_secs(60);

/// The number of interrupted groups that are looked up at once.
const LEFTOVERS_AT_ONCE: usize = 100;

pub(super) async fn create_group<DB: Backend>(
    store: &Store<DB>,
    channel: Channel,
    owner: UserId,
    invited: Vec<UserId>,
    limits: RelationLimits,
) -> Result<(), DirectoryError> {
    let mut seen = HashSet::from([owner]);
    let mut members = vec![owner];
    members.extend(invited.into_iter().filter(|user_id| seen.insert(*user_id)));
    let channel = Channel { kind: ChannelKind::Group, ..channel };
    let mut creation = Creation { store, channel, owner, members, limits, began: false };
    let outcome = match timeout(CREATE_TIMEOUT, creation.run()).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let why = format!("the group was not created within {CREATE_TIMEOUT:?}");
            Err(DirectoryError::Unavailable(why))
        }
    };
    if outcome.is_err() && creation.began {
        remove_in_steps(store, creation.channel.channel_id).await;
    }
    outcome
}

/// A group that is being created.
struct Creation<'a, DB: Backend> {
    store: &'a Store<DB>,
    channel: Channel,
    owner: UserId,
    /// The owner first.
    members: Vec<UserId>,
    limits: RelationLimits,
    /// Whether a part of the group is stored, hidden.
    began: bool,
}

impl<DB: Backend> Creation<'_, DB> {
    async fn run(&mut self) -> Result<(), DirectoryError> {
        let mut start = 0;
        while start < self.members.len() {
            let end = self.members.len().min(start + MEMBERS_AT_ONCE);
            let this = &*self;
            this.store.call(|| this.add(start..end)).await?;
            self.began = end < self.members.len();
            start = end;
        }
        Ok(())
    }

    /// Adds some members; with the first of them the group, and with the last of them it is shown.
    async fn add(&self, part: std::ops::Range<usize>) -> Result<(), Failure> {
        let (first, last) = (part.start == 0, part.end == self.members.len());
        let (channel_id, users) = (self.channel.channel_id, &self.members[part.clone()]);
        let mut tx = self.store.write().await?;
        let known = lock_users(&mut tx, users).await?;
        require_all(users, &known)?;
        let by_stranger = admit(&mut tx, self.owner, users, self.limits).await?;
        if first {
            add_channel(&mut tx, &self.channel, None, self.members.len(), !last).await?;
        } else {
            lock_hidden(&mut tx, channel_id).await?.ok_or_else(|| {
                let why = "the group was removed while it was created".to_owned();
                DirectoryError::Unavailable(why)
            })?;
        }
        let member = |(&user_id, by_stranger)| {
            let role = if user_id == self.owner { Role::Owner } else { Role::Member };
            NewMember { user_id, role, by_stranger }
        };
        let members: Vec<_> = users.iter().zip(by_stranger).map(member).collect();
        let arrival = stored_id(part.start as u64 + 1);
        add_members(&mut tx, channel_id, arrival, &members).await?;
        if last && !first {
            query(sql::SHOW_GROUP).bind(stored_id(channel_id.get())).execute(&mut tx).await?;
        }
        tx.commit().await
    }
}

pub(super) async fn delete_group<DB: Backend>(
    store: &Store<DB>,
    by: UserId,
    channel_id: ChannelId,
) -> Result<(Channel, Vec<UserId>), DirectoryError> {
    let deleted = store.call(|| hide_or_delete(store, by, channel_id)).await?;
    if deleted.1.len() > MEMBERS_AT_ONCE {
        remove_in_steps(store, channel_id).await;
    }
    Ok(deleted)
}

/// Deletes a group, or hides it if it is large.
async fn hide_or_delete<DB: Backend>(
    store: &Store<DB>,
    by: UserId,
    channel_id: ChannelId,
) -> Result<(Channel, Vec<UserId>), Failure> {
    let id = stored_id(channel_id.get());
    let mut tx = store.write().await?;
    let channel = lock_group(&mut tx, by, channel_id, GroupChange::Delete).await?;
    let members = query(sql::MEMBER_IDS).bind(id).all::<(i64,)>(&mut tx).await?;
    let end = if members.len() > MEMBERS_AT_ONCE { sql::HIDE_GROUP } else { sql::REMOVE_GROUP };
    query(end).bind(id).execute(&mut tx).await?;
    record_group(&mut tx, by, channel_id, channel.name.as_deref()).await?;
    tx.commit().await?;
    let members = members.into_iter().map(|(id,)| rows::user_id(id)).collect::<Result<_, _>>()?;
    Ok((channel, members))
}

pub(super) async fn remove_leftovers<DB: Backend>(
    store: &Store<DB>,
    created_before: Timestamp,
) -> Result<usize, DirectoryError> {
    let mut removed = 0;
    loop {
        let groups = store.call(|| hidden_groups(store, created_before)).await?;
        for &channel_id in &groups {
            while store.call(|| remove_some(store, channel_id)).await? {}
            removed += 1;
        }
        if groups.len() < LEFTOVERS_AT_ONCE {
            return Ok(removed);
        }
    }
}

async fn hidden_groups<DB: Backend>(
    store: &Store<DB>,
    created_before: Timestamp,
) -> Result<Vec<ChannelId>, Failure> {
    let groups = query(sql::HIDDEN_GROUPS)
        .bind(stored_moment(created_before))
        .bind(stored_limit(LEFTOVERS_AT_ONCE))
        .all::<(i64,)>(&mut store.read().await?)
        .await?;
    let ids = groups.into_iter().map(|(id,)| rows::channel_id(id));
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Removes a hidden group. If that fails, [`remove_leftovers`] will do it.
async fn remove_in_steps<DB: Backend>(store: &Store<DB>, channel_id: ChannelId) {
    loop {
        match store.call(|| remove_some(store, channel_id)).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, %channel_id, "a hidden group is removed later");
                return;
            }
        }
    }
}

/// Removes some members of a hidden group, or the group with the last of them. Returns whether there
/// is more to remove.
async fn remove_some<DB: Backend>(
    store: &Store<DB>,
    channel_id: ChannelId,
) -> Result<bool, Failure> {
    let id = stored_id(channel_id.get());
    let mut tx = store.write().await?;
    if lock_hidden(&mut tx, channel_id).await?.is_none() {
        return Ok(false);
    }
    let removal = query(sql::REMOVE_SOME_MEMBERS).bind(id).bind(stored_limit(MEMBERS_AT_ONCE));
    let more = removal.execute(&mut tx).await? == MEMBERS_AT_ONCE as u64;
    if !more {
        query(sql::REMOVE_GROUP).bind(id).execute(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(more)
}

/// Locks the row of a hidden group until the transaction ends; absent if it is not hidden, or removed.
async fn lock_hidden<DB: Backend>(
    tx: &mut Writer<DB>,
    channel_id: ChannelId,
) -> Result<Option<()>, Failure> {
    let hidden = query(with_lock::<DB>(sql::IS_HIDDEN)).bind(stored_id(channel_id.get()));
    Ok(hidden.exists(tx).await?.then_some(()))
}
