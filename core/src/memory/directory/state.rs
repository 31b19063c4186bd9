//! The data of the directory in memory, and the rules about accounts, friends and blocks. Those about
//! channels are in [`super::conversations`]. A method has exclusive access, and checks everything before
//! it changes anything.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::{Bound, RangeBounds};

use crate::model::{
    ChannelId, Device, DeviceId, Friend, FriendState, Settings, Timestamp, TokenHash, User, UserId,
};
use crate::ports::{
    Access, Credentials, DirectoryError, MAX_DEVICES, ProfileChange, Relation, RelationLimits,
    Revocation, Revoked, RevokedAccess, SettingsChange,
};

use super::conversations::Conversation;

/// All data of the directory.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) accounts: HashMap<UserId, Account>,
    /// By case-folded username, in the order of code points.
    pub(super) usernames: BTreeMap<String, UserId>,
    pub(super) devices: HashMap<DeviceId, Device>,
    pub(super) tokens: HashMap<TokenHash, (DeviceId, Timestamp)>,
    /// The state as the first user of the pair sees it. The reverse pair has the other user's view.
    friends: BTreeMap<(UserId, UserId), FriendState>,
    /// The first user of the pair has blocked the second.
    pub(super) blocks: BTreeSet<(UserId, UserId)>,
    pub(super) conversations: HashMap<ChannelId, Conversation>,
    /// The direct channel of a pair, smaller id first.
    pub(super) direct: HashMap<[UserId; 2], ChannelId>,
    pub(super) memberships: BTreeSet<(UserId, ChannelId)>,
    /// When a user was last seen from a network.
    pub(super) seen: BTreeMap<(UserId, IpAddr), Timestamp>,
    /// The access that was taken away, by number of the entry.
    revocations: BTreeMap<u64, Revocation>,
    last_revocation: u64,
}

#[derive(Debug)]
pub(super) struct Account {
    pub(super) user: User,
    pub(super) password_hash: String,
    pub(super) disabled: bool,
    pub(super) settings: Settings,
}

/// A case-folded username. Folding goes character by character, so a prefix stays a prefix.
pub(super) fn folded(username: &str) -> String {
    username.chars().flat_map(char::to_lowercase).collect()
}

impl State {
    pub(super) fn sign_up(
        &mut self,
        user: User,
        password_hash: String,
        access: Access,
    ) -> Result<(), DirectoryError> {
        let username = folded(&user.username);
        if access.device.user_id != user.user_id {
            return Err(DirectoryError::UnknownUser(access.device.user_id));
        }
        if self.usernames.contains_key(&username) {
            return Err(DirectoryError::UsernameTaken);
        }
        if self.accounts.contains_key(&user.user_id) || self.clashes(&access) {
            return Err(DirectoryError::IdTaken);
        }
        self.usernames.insert(username, user.user_id);
        let settings = Settings::default();
        let account = Account { user, password_hash, disabled: false, settings };
        self.accounts.insert(account.user.user_id, account);
        self.admit(access);
        Ok(())
    }

    pub(super) fn log_in(&mut self, access: Access) -> Result<(), DirectoryError> {
        let user_id = access.device.user_id;
        if self.account(user_id)?.disabled {
            return Err(DirectoryError::UserDisabled(user_id));
        }
        if self.clashes(&access) {
            return Err(DirectoryError::IdTaken);
        }
        self.admit(access);
        let mut accesses = self.accesses(user_id);
        accesses.sort_unstable_by_key(|it| Reverse((it.expires_at, it.device.device_id)));
        let mut known = BTreeSet::new();
        // Of each device the token that expires last.
        accesses.retain(|access| known.insert(access.device.device_id));
        for surplus in accesses.into_iter().skip(MAX_DEVICES).take(MAX_DEVICES) {
            self.log_out(surplus.token);
        }
        Ok(())
    }

    pub(super) fn log_out(&mut self, token: TokenHash) -> bool {
        let Some(&(device_id, _)) = self.tokens.get(&token) else { return false };
        self.tokens.retain(|_, (of, _)| *of != device_id);
        let Some(device) = self.devices.remove(&device_id) else { return false };
        let revoked = Revoked::Device { device_id, token };
        self.record(device.user_id, RevokedAccess::Sessions(revoked));
        true
    }

    /// Removes a token, with its device if that has no other.
    pub(super) fn remove_token(&mut self, token: TokenHash) {
        if let Some((device_id, _)) = self.tokens.remove(&token)
            && !self.tokens.values().any(|(of, _)| *of == device_id)
        {
            self.devices.remove(&device_id);
        }
    }

    /// Enters access that was taken away into the list.
    pub(super) fn record(&mut self, user_id: UserId, revoked: RevokedAccess) {
        self.last_revocation += 1;
        let number = self.last_revocation;
        self.revocations.insert(number, Revocation { number, user_id, revoked });
    }

    pub(super) fn revocations(&self, limit: usize) -> Vec<Revocation> {
        self.revocations.values().take(limit).cloned().collect()
    }

    pub(super) fn forget_revocations(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.revocations.remove(number);
        }
    }

    pub(super) fn remove_expired(&mut self, now: Timestamp, at_most: usize) -> usize {
        let tokens = self.tokens.iter().map(|(&token, &(_, expires_at))| (expires_at, token));
        let mut expired: Vec<_> = tokens.filter(|(expires_at, _)| *expires_at <= now).collect();
        expired.sort_unstable_by_key(|(expires_at, _)| *expires_at);
        expired.truncate(at_most);
        for (_, token) in &expired {
            self.remove_token(*token);
        }
        expired.len()
    }

    pub(super) fn credentials(&self, username: &str) -> Option<Credentials> {
        let account = &self.accounts[self.usernames.get(&folded(username))?];
        let password_hash = account.password_hash.clone();
        Some(Credentials { user: account.user.clone(), password_hash })
    }

    pub(super) fn access(&self, token: TokenHash) -> Option<Access> {
        let &(device_id, expires_at) = self.tokens.get(&token)?;
        Some(Access { token, device: self.devices[&device_id].clone(), expires_at })
    }

    pub(super) fn user(&self, user_id: UserId) -> Option<User> {
        self.accounts.get(&user_id).map(|account| account.user.clone())
    }

    pub(super) fn users_by_prefix(&self, prefix: &str, limit: usize) -> Vec<User> {
        let prefix = folded(prefix);
        self.usernames
            .range(prefix.clone()..)
            .take_while(|(username, _)| username.starts_with(&prefix))
            .take(limit)
            .map(|(_, user_id)| self.accounts[user_id].user.clone())
            .collect()
    }

    pub(super) fn change_profile(
        &mut self,
        user_id: UserId,
        change: ProfileChange,
    ) -> Result<User, DirectoryError> {
        let user = &mut self.account(user_id)?.user;
        replace(&mut user.display_name, change.display_name);
        replace(&mut user.status_text, change.status_text);
        replace(&mut user.avatar_url, change.avatar_url);
        Ok(user.clone())
    }

    pub(super) fn settings(&self, user_id: UserId) -> Settings {
        self.accounts.get(&user_id).map(|account| account.settings.clone()).unwrap_or_default()
    }

    pub(super) fn change_settings(
        &mut self,
        user_id: UserId,
        change: SettingsChange,
    ) -> Result<Settings, DirectoryError> {
        let settings = &mut self.account(user_id)?.settings;
        replace(&mut settings.locale, change.locale);
        replace(&mut settings.notifications, change.notifications);
        replace(&mut settings.share_presence, change.share_presence);
        replace(&mut settings.share_read, change.share_read);
        Ok(settings.clone())
    }

    pub(super) fn friends_after(
        &self,
        user_id: UserId,
        after: Option<UserId>,
        limit: usize,
    ) -> Vec<Friend> {
        self.friends
            .range(following(user_id, after))
            .take_while(|((from, _), _)| *from == user_id)
            .take(limit)
            .map(|(&(_, user_id), &state)| Friend { user_id, state })
            .collect()
    }

    pub(super) fn befriend(
        &mut self,
        user_id: UserId,
        other: UserId,
        limits: RelationLimits,
    ) -> Result<FriendState, DirectoryError> {
        self.pair(user_id, other)?;
        if self.blocks.contains(&(other, user_id)) || self.blocks.contains(&(user_id, other)) {
            return Err(DirectoryError::Blocked);
        }
        let before = self.friends.get(&(user_id, other));
        if before.is_none() {
            let list =
                |of| self.friends.range(following(of, None)).take_while(move |it| it.0.0 == of);
            let sent = list(user_id).filter(|(_, state)| **state != FriendState::Received);
            let received = list(other).filter(|(_, state)| **state != FriendState::Requested);
            at_limit(user_id, Relation::Friend, sent.count(), limits.friends)?;
            at_limit(other, Relation::Friend, received.count(), limits.friends)?;
        }
        let (mine, theirs) = match before {
            None | Some(FriendState::Requested) => (FriendState::Requested, FriendState::Received),
            Some(FriendState::Received | FriendState::Friends) => {
                (FriendState::Friends, FriendState::Friends)
            }
        };
        self.friends.insert((user_id, other), mine);
        self.friends.insert((other, user_id), theirs);
        Ok(mine)
    }

    pub(super) fn unfriend(&mut self, user_id: UserId, other: UserId) -> bool {
        self.friends.remove(&(other, user_id));
        self.friends.remove(&(user_id, other)).is_some()
    }

    pub(super) fn blocks_after(
        &self,
        user_id: UserId,
        after: Option<UserId>,
        limit: usize,
    ) -> Vec<UserId> {
        self.blocks
            .range(following(user_id, after))
            .take_while(|(from, _)| *from == user_id)
            .take(limit)
            .map(|&(_, blocked)| blocked)
            .collect()
    }

    pub(super) fn block(
        &mut self,
        user_id: UserId,
        other: UserId,
        limits: RelationLimits,
    ) -> Result<(), DirectoryError> {
        self.pair(user_id, other)?;
        if !self.blocks.contains(&(user_id, other)) {
            let blocked = self.blocks_after(user_id, None, usize::MAX).len();
            at_limit(user_id, Relation::Block, blocked, limits.blocks)?;
        }
        if self.blocks.insert((user_id, other))
            && let Some(channel) = self.find_direct_channel([user_id, other])
        {
            let channel_id = channel.channel_id;
            self.record(other, RevokedAccess::Channel { channel_id });
        }
        Ok(())
    }

    pub(super) fn unblock(&mut self, user_id: UserId, other: UserId) -> Result<(), DirectoryError> {
        self.blocks.remove(&(user_id, other));
        Ok(())
    }

    /// Whether each of the two has asked the other.
    pub(super) fn are_friends(&self, one: UserId, other: UserId) -> bool {
        self.friends.get(&(one, other)) == Some(&FriendState::Friends)
    }

    pub(super) fn known(&self, user_id: UserId) -> Result<(), DirectoryError> {
        if self.accounts.contains_key(&user_id) {
            Ok(())
        } else {
            Err(DirectoryError::UnknownUser(user_id))
        }
    }

    /// Checks that both users exist and differ.
    pub(super) fn pair(&self, user_id: UserId, other: UserId) -> Result<(), DirectoryError> {
        self.known(user_id)?;
        self.known(other)?;
        if user_id == other { Err(DirectoryError::UnknownUser(other)) } else { Ok(()) }
    }

    pub(super) fn account(&mut self, user_id: UserId) -> Result<&mut Account, DirectoryError> {
        self.accounts.get_mut(&user_id).ok_or(DirectoryError::UnknownUser(user_id))
    }

    fn clashes(&self, access: &Access) -> bool {
        self.devices.contains_key(&access.device.device_id)
            || self.tokens.contains_key(&access.token)
    }

    fn admit(&mut self, access: Access) {
        let Access { token, device, expires_at } = access;
        self.tokens.insert(token, (device.device_id, expires_at));
        self.devices.insert(device.device_id, device);
    }
}

/// Refuses one more of a relation of which a user has `count`.
pub(super) fn at_limit(
    user_id: UserId,
    relation: Relation,
    count: usize,
    limit: usize,
) -> Result<(), DirectoryError> {
    if count < limit { Ok(()) } else { Err(DirectoryError::AtLimit(user_id, relation)) }
}

/// The keys that begin with `first` and whose second part is above `after`, and all larger keys.
pub(super) fn following<A, B: Default>(first: A, after: Option<B>) -> impl RangeBounds<(A, B)> {
    let start = match after {
        Some(after) => Bound::Excluded((first, after)),
        None => Bound::Included((first, B::default())),
    };
    (start, Bound::<(A, B)>::Unbounded)
}

/// Applies the change, if there is one.
fn replace<T>(value: &mut T, change: Option<T>) {
    if let Some(change) = change {
        *value = change;
    }
}
