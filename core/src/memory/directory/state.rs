//! What the directory in memory knows, and the rules of the port over it. It knows nothing of locks
//! and futures: each method runs alone, and checks everything before it changes anything.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{
    Channel, ChannelId, ChannelKind, Device, DeviceId, Friend, FriendState, Member, Membership,
    MessageId, NotificationLevel, Role, Settings, Timestamp, TokenHash, User, UserId,
};
use crate::ports::{
    Access, Credentials, DirectoryError, ProfileChange, PushTarget, SettingsChange,
};

/// Everything that the directory knows.
#[derive(Debug, Default)]
pub(super) struct State {
    accounts: HashMap<UserId, Account>,
    /// By username without case, in the order of code points.
    usernames: BTreeMap<String, UserId>,
    devices: HashMap<DeviceId, Device>,
    tokens: HashMap<TokenHash, (DeviceId, Timestamp)>,
    /// How it stands, seen from the first of the pair; the reverse pair holds the other's view.
    friends: BTreeMap<(UserId, UserId), FriendState>,
    /// The first of the pair has blocked the second.
    blocks: BTreeSet<(UserId, UserId)>,
    conversations: HashMap<ChannelId, Conversation>,
    /// The direct channel of a pair, smaller id first.
    direct: HashMap<[UserId; 2], ChannelId>,
    memberships: BTreeSet<(UserId, ChannelId)>,
}

#[derive(Debug)]
struct Account {
    user: User,
    password_hash: String,
    settings: Settings,
}

#[derive(Debug)]
struct Conversation {
    channel: Channel,
    /// Where the next to come stands among those who came.
    next_arrival: u64,
    places: BTreeMap<UserId, Place>,
}

#[derive(Debug)]
struct Place {
    role: Role,
    /// Smaller for those who came earlier.
    arrival: u64,
    read_up_to: MessageId,
}

/// A username without case, character by character, so that the prefix of a name stays a prefix.
fn folded(username: &str) -> String {
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
        self.accounts.insert(
            user.user_id,
            Account {
                user,
                password_hash,
                settings,
            },
        );
        self.admit(access);
        Ok(())
    }

    pub(super) fn log_in(&mut self, access: Access) -> Result<(), DirectoryError> {
        self.known(access.device.user_id)?;
        if self.clashes(&access) {
            return Err(DirectoryError::IdTaken);
        }
        self.admit(access);
        Ok(())
    }

    pub(super) fn log_out(&mut self, token: TokenHash) -> bool {
        self.tokens.remove(&token).is_some()
    }

    pub(super) fn credentials(&self, username: &str) -> Option<Credentials> {
        let account = &self.accounts[self.usernames.get(&folded(username))?];
        let password_hash = account.password_hash.clone();
        Some(Credentials {
            user: account.user.clone(),
            password_hash,
        })
    }

    pub(super) fn access(&self, token: TokenHash) -> Option<Access> {
        let &(device_id, expires_at) = self.tokens.get(&token)?;
        Some(Access {
            token,
            device: self.devices[&device_id].clone(),
            expires_at,
        })
    }

    pub(super) fn user(&self, user_id: UserId) -> Option<User> {
        self.accounts
            .get(&user_id)
            .map(|account| account.user.clone())
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
        self.accounts
            .get(&user_id)
            .map(|account| account.settings.clone())
            .unwrap_or_default()
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

    pub(super) fn friends(&self, user_id: UserId) -> Vec<Friend> {
        self.friends
            .range((user_id, UserId::new(0))..)
            .take_while(|((from, _), _)| *from == user_id)
            .map(|(&(_, user_id), &state)| Friend { user_id, state })
            .collect()
    }

    pub(super) fn befriend(
        &mut self,
        user_id: UserId,
        other: UserId,
    ) -> Result<FriendState, DirectoryError> {
        self.pair(user_id, other)?;
        let (mine, theirs) = match self.friends.get(&(user_id, other)) {
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

    pub(super) fn blocks(&self, user_id: UserId) -> Vec<UserId> {
        self.blocks
            .range((user_id, UserId::new(0))..)
            .take_while(|(from, _)| *from == user_id)
            .map(|&(_, blocked)| blocked)
            .collect()
    }

    pub(super) fn block(&mut self, user_id: UserId, other: UserId) -> Result<(), DirectoryError> {
        self.pair(user_id, other)?;
        self.blocks.insert((user_id, other));
        Ok(())
    }

    pub(super) fn unblock(&mut self, user_id: UserId, other: UserId) {
        self.blocks.remove(&(user_id, other));
    }

    pub(super) fn direct_channel(
        &mut self,
        users: [UserId; 2],
        new: Channel,
    ) -> Result<(Channel, bool), DirectoryError> {
        self.pair(users[0], users[1])?;
        let mut pair = users;
        pair.sort_unstable();
        if let Some(channel_id) = self.direct.get(&pair) {
            return Ok((self.conversations[channel_id].channel.clone(), false));
        }
        let channel = Channel {
            kind: ChannelKind::Direct,
            name: None,
            ..new
        };
        self.converse(
            channel.clone(),
            users.map(|user_id| (user_id, Role::Member)).to_vec(),
        )?;
        self.direct.insert(pair, channel.channel_id);
        Ok((channel, true))
    }

    pub(super) fn create_group(
        &mut self,
        channel: Channel,
        owner: UserId,
        members: Vec<UserId>,
    ) -> Result<(), DirectoryError> {
        let mut seen = BTreeSet::from([owner]);
        let mut places = vec![(owner, Role::Owner)];
        places.extend(
            members
                .into_iter()
                .filter(|id| seen.insert(*id))
                .map(|id| (id, Role::Member)),
        );
        for (user_id, _) in &places {
            self.known(*user_id)?;
        }
        self.converse(
            Channel {
                kind: ChannelKind::Group,
                ..channel
            },
            places,
        )
    }

    pub(super) fn memberships(&self, user_id: UserId) -> Vec<Membership> {
        self.memberships
            .range((user_id, ChannelId::new(0))..)
            .take_while(|(member, _)| *member == user_id)
            .filter_map(|&(_, channel_id)| self.membership(user_id, channel_id))
            .collect()
    }

    pub(super) fn membership(&self, user_id: UserId, channel_id: ChannelId) -> Option<Membership> {
        let conversation = self.conversations.get(&channel_id)?;
        let place = conversation.places.get(&user_id)?;
        let peer = match conversation.channel.kind {
            ChannelKind::Direct => conversation
                .places
                .keys()
                .find(|id| **id != user_id)
                .copied(),
            ChannelKind::Group => None,
        };
        Some(Membership {
            channel: conversation.channel.clone(),
            role: place.role,
            peer,
            blocked: peer.is_some_and(|peer| self.blocks.contains(&(peer, user_id))),
            read_up_to: place.read_up_to,
        })
    }

    pub(super) fn rename_group(
        &mut self,
        channel_id: ChannelId,
        name: String,
    ) -> Result<Channel, DirectoryError> {
        let group = self
            .group(channel_id)
            .ok_or(DirectoryError::UnknownChannel)?;
        group.channel.name = Some(name);
        Ok(group.channel.clone())
    }

    pub(super) fn delete_group(&mut self, channel_id: ChannelId) -> bool {
        if self.group(channel_id).is_none() {
            return false;
        }
        if let Some(group) = self.conversations.remove(&channel_id) {
            for user_id in group.places.into_keys() {
                self.memberships.remove(&(user_id, channel_id));
            }
        }
        true
    }

    pub(super) fn members(&self, channel_id: ChannelId) -> Vec<Member> {
        let places = self
            .conversations
            .get(&channel_id)
            .into_iter()
            .flat_map(|c| &c.places);
        places
            .map(|(&user_id, place)| Member {
                user_id,
                role: place.role,
            })
            .collect()
    }

    pub(super) fn put_member(
        &mut self,
        channel_id: ChannelId,
        user_id: UserId,
        role: Option<Role>,
        at_most: usize,
    ) -> Result<(bool, Role), DirectoryError> {
        self.group(channel_id)
            .ok_or(DirectoryError::UnknownChannel)?;
        self.known(user_id)?;
        let group = self
            .group(channel_id)
            .ok_or(DirectoryError::UnknownChannel)?;
        let other_owner = group.other_owner(user_id);
        if let Some(place) = group.places.get_mut(&user_id) {
            if place.role != Role::Owner || other_owner {
                place.role = role.unwrap_or(place.role);
            }
            return Ok((false, place.role));
        }
        if group.places.len() >= at_most {
            return Err(DirectoryError::GroupFull);
        }
        let role = role.unwrap_or(Role::Member);
        group.arrive(user_id, role);
        self.memberships.insert((user_id, channel_id));
        Ok((true, role))
    }

    pub(super) fn remove_member(&mut self, channel_id: ChannelId, user_id: UserId) -> bool {
        let Some(group) = self.group(channel_id) else {
            return false;
        };
        if group.places.remove(&user_id).is_none() {
            return false;
        }
        // The highest role, and among equals the one who came first.
        let heir = group
            .places
            .values_mut()
            .min_by_key(|p| (std::cmp::Reverse(p.role), p.arrival));
        match heir {
            Some(heir) => heir.role = Role::Owner,
            None => drop(self.conversations.remove(&channel_id)),
        }
        self.memberships.remove(&(user_id, channel_id));
        true
    }

    pub(super) fn mark_read(
        &mut self,
        channel_id: ChannelId,
        user_id: UserId,
        message_id: MessageId,
    ) -> bool {
        let conversation = self.conversations.get_mut(&channel_id);
        let Some(place) = conversation.and_then(|c| c.places.get_mut(&user_id)) else {
            return false;
        };
        let moved = message_id > place.read_up_to;
        place.read_up_to = place.read_up_to.max(message_id);
        moved
    }

    pub(super) fn push_targets(&self, channel_id: ChannelId) -> Vec<PushTarget> {
        let places = self
            .conversations
            .get(&channel_id)
            .into_iter()
            .flat_map(|c| &c.places);
        let target = |user_id: &UserId| {
            let account = &self.accounts[user_id];
            let level: NotificationLevel = account.settings.notifications;
            PushTarget {
                user_id: *user_id,
                username: account.user.username.clone(),
                level,
            }
        };
        places.map(|(user_id, _)| target(user_id)).collect()
    }

    fn known(&self, user_id: UserId) -> Result<(), DirectoryError> {
        if self.accounts.contains_key(&user_id) {
            Ok(())
        } else {
            Err(DirectoryError::UnknownUser(user_id))
        }
    }

    /// Two users, who must be two.
    fn pair(&self, user_id: UserId, other: UserId) -> Result<(), DirectoryError> {
        self.known(user_id)?;
        self.known(other)?;
        if user_id == other {
            Err(DirectoryError::UnknownUser(other))
        } else {
            Ok(())
        }
    }

    fn account(&mut self, user_id: UserId) -> Result<&mut Account, DirectoryError> {
        self.accounts
            .get_mut(&user_id)
            .ok_or(DirectoryError::UnknownUser(user_id))
    }

    fn group(&mut self, channel_id: ChannelId) -> Option<&mut Conversation> {
        let conversation = self.conversations.get_mut(&channel_id)?;
        (conversation.channel.kind == ChannelKind::Group).then_some(conversation)
    }

    fn clashes(&self, access: &Access) -> bool {
        self.devices.contains_key(&access.device.device_id)
            || self.tokens.contains_key(&access.token)
    }

    fn admit(&mut self, access: Access) {
        let Access {
            token,
            device,
            expires_at,
        } = access;
        self.tokens.insert(token, (device.device_id, expires_at));
        self.devices.insert(device.device_id, device);
    }

    fn converse(
        &mut self,
        channel: Channel,
        places: Vec<(UserId, Role)>,
    ) -> Result<(), DirectoryError> {
        let channel_id = channel.channel_id;
        if self.conversations.contains_key(&channel_id) {
            return Err(DirectoryError::IdTaken);
        }
        let mut conversation = Conversation {
            channel,
            next_arrival: 0,
            places: BTreeMap::default(),
        };
        for (user_id, role) in places {
            conversation.arrive(user_id, role);
            self.memberships.insert((user_id, channel_id));
        }
        self.conversations.insert(channel_id, conversation);
        Ok(())
    }
}

impl Conversation {
    fn arrive(&mut self, user_id: UserId, role: Role) {
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        self.places.insert(
            user_id,
            Place {
                role,
                arrival,
                read_up_to: MessageId::new(0),
            },
        );
    }

    /// Whether someone other than `user_id` is an owner.
    fn other_owner(&self, user_id: UserId) -> bool {
        self.places
            .iter()
            .any(|(id, place)| *id != user_id && place.role == Role::Owner)
    }
}

/// Puts the change in, if there is one.
fn replace<T>(value: &mut T, change: Option<T>) {
    if let Some(change) = change {
        *value = change;
    }
}
