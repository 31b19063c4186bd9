//! The sessions of this node and which channels they want.
//!
//! A channel's sessions are a shared list that is replaced on change, so that a fan-out walks it
//! without a lock.

use std::collections::HashSet;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::RandomState;

use super::session::Session;
use crate::model::{ChannelId, SessionId, UserId};

type Sessions = Arc<Vec<Arc<Session>>>;

/// Who is here.
#[derive(Debug, Default)]
pub(super) struct Local {
    sessions: DashMap<u64, Arc<Session>, RandomState>,
    users: DashMap<UserId, LocalUser, RandomState>,
    channels: DashMap<ChannelId, Sessions, RandomState>,
}

/// A user with at least one session here.
#[derive(Debug, Default)]
struct LocalUser {
    sessions: Vec<Arc<Session>>,
    channels: HashSet<ChannelId, RandomState>,
    /// Which of the sessions are being opened, and what happened to the user's memberships
    /// meanwhile: the list they read from the directory may be older.
    opening: Vec<u64>,
    changes: Vec<(ChannelId, bool)>,
}

/// What the removal of a session left behind.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// Its user has no session here any more.
    pub(super) user_gone: bool,
    /// Channels that nobody here wants any more.
    pub(super) unwanted: Vec<ChannelId>,
}

impl Local {
    pub(super) fn session(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.sessions.get(&id.key()).map(|session| Arc::clone(&session))
    }

    pub(super) fn count(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.sessions.iter().map(|session| Arc::clone(&session)).collect()
    }

    pub(super) fn of_user(&self, user_id: UserId) -> Vec<Arc<Session>> {
        self.users.get(&user_id).map(|user| user.sessions.clone()).unwrap_or_default()
    }

    pub(super) fn of_channel(&self, channel_id: ChannelId) -> Option<Sessions> {
        self.channels.get(&channel_id).map(|sessions| Arc::clone(&sessions))
    }

    /// All channels that sessions here want.
    pub(super) fn wanted(&self) -> Vec<ChannelId> {
        self.channels.iter().map(|channel| *channel.key()).collect()
    }

    /// Enters a session that is being opened; refused at `at_most` sessions of its user. From now on
    /// changes of the user's memberships are noted for [`subscribe`](Self::subscribe).
    pub(super) fn enter(&self, session: &Arc<Session>, at_most: usize) -> Result<(), ()> {
        let mut user = self.users.entry(session.user_id()).or_default();
        if user.sessions.len() >= at_most {
            return Err(());
        }
        user.opening.push(session.id().key());
        user.sessions.push(Arc::clone(session));
        self.sessions.insert(session.id().key(), Arc::clone(session));
        Ok(())
    }

    /// Ends the opening of a session: it wants `memberships`, as read since it entered, and what
    /// changed since. Answers the channels that nobody here wanted before.
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
        user.channels.iter().copied().filter(|&id| self.want(id, session)).collect()
    }

    /// Takes back what [`subscribe`](Self::subscribe) did for the lists of channels.
    pub(super) fn unsubscribe(&self, session: &Arc<Session>) {
        if let Some(user) = self.users.get(&session.user_id()) {
            for &channel_id in &user.channels {
                self.unwant(channel_id, session);
            }
        }
    }

    /// A user came to a channel: their sessions want it. Answers whether anybody here does now.
    pub(super) fn join(&self, user_id: UserId, channel_id: ChannelId) -> bool {
        if let Some(mut user) = self.users.get_mut(&user_id) {
            user.note(channel_id, true);
            user.channels.insert(channel_id);
            for session in &user.sessions {
                self.want(channel_id, session);
            }
        }
        self.channels.contains_key(&channel_id)
    }

    /// A user left a channel: their sessions want it no more. Answers whether nobody here does.
    pub(super) fn leave(&self, user_id: UserId, channel_id: ChannelId) -> bool {
        if let Some(mut user) = self.users.get_mut(&user_id) {
            user.note(channel_id, false);
            user.channels.remove(&channel_id);
            for session in &user.sessions {
                self.unwant(channel_id, session);
                session.forget_channel(channel_id);
            }
        }
        !self.channels.contains_key(&channel_id)
    }

    /// A channel is no more.
    pub(super) fn end_channel(&self, channel_id: ChannelId) {
        let sessions = self.channels.remove(&channel_id).map(|(_, sessions)| sessions);
        for session in sessions.iter().flat_map(|sessions| sessions.iter()) {
            session.forget_channel(channel_id);
            if let Some(mut user) = self.users.get_mut(&session.user_id()) {
                user.note(channel_id, false);
                user.channels.remove(&channel_id);
            }
        }
    }

    /// Takes a session out.
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
                if self.unwant(channel_id, session) {
                    removed.unwanted.push(channel_id);
                }
            }
            if user.sessions.is_empty() {
                entry.remove();
                removed.user_gone = true;
            }
        }
        removed
    }

    /// Adds `session` to a channel's list; answers whether it is the first there.
    fn want(&self, channel_id: ChannelId, session: &Arc<Session>) -> bool {
        let mut list = self.channels.entry(channel_id).or_default();
        let first = list.is_empty();
        if !list.iter().any(|other| Arc::ptr_eq(other, session)) {
            Arc::make_mut(&mut list).push(Arc::clone(session));
        }
        first
    }

    /// Takes `session` from a channel's list; answers whether nobody is left there.
    fn unwant(&self, channel_id: ChannelId, session: &Arc<Session>) -> bool {
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

impl LocalUser {
    fn note(&mut self, channel_id: ChannelId, joined: bool) {
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
