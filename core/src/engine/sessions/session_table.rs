//! The sessions of this node, and the channels to which they subscribe.
//!
//! The sessions of a channel are a shared list that is replaced on change, so a fan-out iterates over
//! it without a lock.

use std::collections::HashSet;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::RandomState;

use super::session::Session;
use crate::model::{ChannelId, SessionId, UserId};

type Sessions = Arc<Vec<Arc<Session>>>;

/// The sessions of this node by id, by user and by channel.
#[derive(Debug, Default)]
pub(in crate::engine) struct SessionTable {
    sessions: DashMap<u64, Arc<Session>, RandomState>,
    users: DashMap<UserId, UserEntry, RandomState>,
    channels: DashMap<ChannelId, Sessions, RandomState>,
}

/// A user with at least one session on this node.
#[derive(Debug, Default)]
struct UserEntry {
    sessions: Vec<Arc<Session>>,
    channels: HashSet<ChannelId, RandomState>,
    /// The sessions that are being opened, and the membership changes of the user meanwhile: the
    /// list of memberships that is being read from the directory may be older.
    opening: Vec<u64>,
    changes: Vec<(ChannelId, bool)>,
}

/// What follows from the removal of a session.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// The user has no other session on this node.
    pub(super) user_gone: bool,
    /// Channels without a subscribed session on this node.
    pub(super) unsubscribed: Vec<ChannelId>,
}

/// The user already has as many sessions as allowed.
#[derive(Debug)]
pub(super) struct TooManySessions;

impl SessionTable {
    pub(super) fn session(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.sessions.get(&id.key()).map(|session| Arc::clone(&session))
    }

    /// How many sessions this node has.
    pub(in crate::engine) fn count(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.sessions.iter().map(|session| Arc::clone(&session)).collect()
    }

    /// The sessions of a user.
    pub(in crate::engine) fn of_user(&self, user_id: UserId) -> Vec<Arc<Session>> {
        self.users.get(&user_id).map(|user| user.sessions.clone()).unwrap_or_default()
    }

    /// The sessions that subscribe to a channel.
    pub(in crate::engine) fn of_channel(&self, channel_id: ChannelId) -> Option<Sessions> {
        self.channels.get(&channel_id).map(|sessions| Arc::clone(&sessions))
    }

    /// All channels to which a session of this node subscribes.
    pub(super) fn channels(&self) -> Vec<ChannelId> {
        self.channels.iter().map(|channel| *channel.key()).collect()
    }

    /// Inserts a session that is being opened. From now on the membership changes of its user are
    /// recorded for [`subscribe`](Self::subscribe).
    pub(super) fn insert(
        &self,
        session: &Arc<Session>,
        max_per_user: usize,
    ) -> Result<(), TooManySessions> {
        let mut user = self.users.entry(session.user_id()).or_default();
        if user.sessions.len() >= max_per_user {
            return Err(TooManySessions);
        }
        user.opening.push(session.id().key());
        user.sessions.push(Arc::clone(session));
        self.sessions.insert(session.id().key(), Arc::clone(session));
        Ok(())
    }

    /// Ends the opening of a session: it subscribes to `memberships`, which were read after its
    /// insertion, corrected by what changed since. Returns the channels to which no other session of
    /// this node subscribed.
    pub(super) fn subscribe(
        &self,
        session: &Arc<Session>,
        memberships: impl Iterator<Item = ChannelId>,
    ) -> Vec<ChannelId> {
        let Some(mut user) = self.users.get_mut(&session.user_id()) else {
            return Vec::new();
        };
        if !user.sessions.iter().any(|other| Arc::ptr_eq(other, session)) {
            return Vec::new();
        }
        user.channels.extend(memberships);
        for (channel_id, joined) in user.changes.clone() {
            if joined {
                user.channels.insert(channel_id);
            } else {
                user.channels.remove(&channel_id);
            }
        }
        user.finish_opening(session);
        user.channels.iter().copied().filter(|&id| self.add_to_channel(id, session)).collect()
    }

    /// Removes a session from the lists of channels: the reverse of [`subscribe`](Self::subscribe).
    pub(super) fn unsubscribe(&self, session: &Arc<Session>) {
        if let Some(user) = self.users.get(&session.user_id()) {
            for &channel_id in &user.channels {
                self.remove_from_channel(channel_id, session);
            }
        }
    }

    /// A user joined a channel: the user's sessions subscribe to it. Returns whether the channel has
    /// a subscribed session on this node now.
    pub(super) fn join(&self, user_id: UserId, channel_id: ChannelId) -> bool {
        if let Some(mut user) = self.users.get_mut(&user_id) {
            user.record_change(channel_id, true);
            user.channels.insert(channel_id);
            for session in &user.sessions {
                self.add_to_channel(channel_id, session);
            }
        }
        self.channels.contains_key(&channel_id)
    }

    /// A user left a channel: the user's sessions unsubscribe. Returns whether the channel still has
    /// a subscribed session on this node.
    pub(super) fn leave(&self, user_id: UserId, channel_id: ChannelId) -> bool {
        if let Some(mut user) = self.users.get_mut(&user_id) {
            user.record_change(channel_id, false);
            user.channels.remove(&channel_id);
            for session in &user.sessions {
                self.remove_from_channel(channel_id, session);
                session.forget_channel(channel_id);
            }
        }
        self.channels.contains_key(&channel_id)
    }

    /// A channel was deleted: all sessions unsubscribe.
    pub(super) fn end_channel(&self, channel_id: ChannelId) {
        let sessions = self.channels.remove(&channel_id).map(|(_, sessions)| sessions);
        for session in sessions.iter().flat_map(|sessions| sessions.iter()) {
            session.forget_channel(channel_id);
            if let Some(mut user) = self.users.get_mut(&session.user_id()) {
                user.record_change(channel_id, false);
                user.channels.remove(&channel_id);
            }
        }
    }

    /// Removes a session.
    pub(super) fn remove(&self, session: &Arc<Session>) -> Removed {
        let mut removed = Removed::default();
        if self.sessions.remove(&session.id().key()).is_none() {
            return removed;
        }
        if let Entry::Occupied(mut entry) = self.users.entry(session.user_id()) {
            let user = entry.get_mut();
            user.sessions.retain(|other| !Arc::ptr_eq(other, session));
            user.finish_opening(session);
            for &channel_id in &user.channels {
                if self.remove_from_channel(channel_id, session) {
                    removed.unsubscribed.push(channel_id);
                }
            }
            if user.sessions.is_empty() {
                debug_assert!(user.opening.is_empty(), "a session that is being opened is listed");
                entry.remove();
                removed.user_gone = true;
            }
        }
        removed
    }

    /// Adds `session` to the list of a channel. Returns whether it is the first one there.
    fn add_to_channel(&self, channel_id: ChannelId, session: &Arc<Session>) -> bool {
        let mut list = self.channels.entry(channel_id).or_default();
        let first = list.is_empty();
        if !list.iter().any(|other| Arc::ptr_eq(other, session)) {
            Arc::make_mut(&mut list).push(Arc::clone(session));
        }
        first
    }

    /// Removes `session` from the list of a channel. Returns whether the list became empty.
    fn remove_from_channel(&self, channel_id: ChannelId, session: &Arc<Session>) -> bool {
        let Entry::Occupied(mut entry) = self.channels.entry(channel_id) else {
            return false;
        };
        let list = entry.get_mut();
        if let Some(index) = list.iter().position(|other| Arc::ptr_eq(other, session)) {
            Arc::make_mut(list).swap_remove(index);
        }
        if list.is_empty() {
            entry.remove();
            return true;
        }
        false
    }
}

impl UserEntry {
    fn record_change(&mut self, channel_id: ChannelId, joined: bool) {
        if !self.opening.is_empty() {
            self.changes.push((channel_id, joined));
        }
    }

    fn finish_opening(&mut self, session: &Session) {
        self.opening.retain(|key| *key != session.id().key());
        if self.opening.is_empty() {
            self.changes = Vec::new();
        }
    }
}
