//! Other users: names, friends, presence and typing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use pabal_client::{ChannelId, Friend, FriendState, User, UserId};
use tokio::time::Instant;

use crate::text;

/// How long a typing notice is valid. A user who goes on typing sends another one before that.
const TYPING: Duration = Duration::from_secs(6);
/// How many names are kept; beyond it all of them are requested again.
const NAMES: usize = 20_000;

/// The users that are known.
#[derive(Debug, Default)]
pub(crate) struct People {
    names: HashMap<UserId, String>,
    requested: HashSet<UserId>,
    friends: BTreeMap<UserId, FriendState>,
    online: BTreeSet<UserId>,
    typing: HashMap<(ChannelId, UserId), Instant>,
}

impl People {
    /// The display name of a user; dots until it is known.
    pub(crate) fn name(&self, user_id: UserId) -> &str {
        self.names.get(&user_id).map_or("…", String::as_str)
    }

    pub(crate) fn meet(&mut self, user: &User) {
        if self.names.len() >= NAMES {
            self.names.clear();
            self.requested.clear();
        }
        let shown = text::line(&user.display_name);
        let name = if shown.trim().is_empty() { text::line(&user.username) } else { shown };
        self.names.insert(user.user_id, name);
        self.requested.insert(user.user_id);
    }

    /// Whether the profile of this user has to be requested. True once for each user.
    pub(crate) fn needs_request(&mut self, user_id: UserId) -> bool {
        self.requested.insert(user_id)
    }

    /// The request for the profile failed.
    pub(crate) fn request_failed(&mut self, user_id: UserId) {
        self.requested.remove(&user_id);
    }

    pub(crate) fn befriend(&mut self, friend: &Friend) {
        self.friends.insert(friend.user_id, friend.state);
        self.presence(friend.user_id, friend.online);
    }

    pub(crate) fn only_friends(&mut self, friends: &[Friend]) {
        self.friends.clear();
        self.online.clear();
        friends.iter().for_each(|friend| self.befriend(friend));
    }

    pub(crate) fn friends(&self) -> impl Iterator<Item = (UserId, FriendState)> {
        self.friends.iter().map(|(user_id, state)| (*user_id, *state))
    }

    pub(crate) fn friendship(&self, user_id: UserId) -> Option<FriendState> {
        self.friends.get(&user_id).copied()
    }

    pub(crate) fn presence(&mut self, user_id: UserId, online: bool) {
        if online {
            self.online.insert(user_id);
        } else {
            self.online.remove(&user_id);
        }
    }

    /// Whether a friend is online; `None` for other users.
    pub(crate) fn is_online(&self, user_id: UserId) -> Option<bool> {
        let friend = self.friendship(user_id) == Some(FriendState::Friends);
        friend.then(|| self.online.contains(&user_id))
    }

    pub(crate) fn types(&mut self, channel_id: ChannelId, user_id: UserId, now: Instant) {
        self.typing.retain(|_, until| *until > now);
        self.typing.insert((channel_id, user_id), now + TYPING);
    }

    pub(crate) fn stopped(&mut self, channel_id: ChannelId, user_id: UserId) {
        self.typing.remove(&(channel_id, user_id));
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.typing.retain(|_, until| *until > now);
    }

    /// The names of the users who are typing in a channel.
    pub(crate) fn typing(&self, channel_id: ChannelId) -> Vec<&str> {
        let here = self.typing.keys().filter(|(channel, _)| *channel == channel_id);
        let mut names: Vec<_> = here.map(|(_, user_id)| self.name(*user_id)).collect();
        names.sort_unstable();
        names
    }
}
