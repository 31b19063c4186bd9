//! The rules about channels and their members, in memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::model::{
    Channel, ChannelId, ChannelKind, GroupChange, Member, Membership, MessageId, Role, UserId,
};
use crate::ports::{
    DirectoryError, PushTarget, PutMember, Relation, RelationLimits, RemovedMember, RevokedAccess,
};

use super::state::{State, at_limit, following};

/// A channel with its members.
#[derive(Debug)]
pub(super) struct Conversation {
    channel: Channel,
    /// The number of the next member to join.
    next_arrival: u64,
    members: BTreeMap<UserId, GroupMember>,
}

#[derive(Debug)]
struct GroupMember {
    role: Role,
    /// Lower for members who joined earlier.
    arrival: u64,
    read_up_to: MessageId,
    /// Whether a user who was no friend added this one.
    by_stranger: bool,
}

impl State {
    pub(super) fn direct_channel(
        &mut self,
        users: [UserId; 2],
        new: Channel,
        limits: RelationLimits,
    ) -> Result<(Channel, bool), DirectoryError> {
        self.pair(users[0], users[1])?;
        let mut pair = users;
        pair.sort_unstable();
        if let Some(channel_id) = self.direct.get(&pair) {
            return Ok((self.conversations[channel_id].channel.clone(), false));
        }
        for user_id in users {
            at_limit(user_id, Relation::Channel, self.held(user_id, false), limits.channels)?;
        }
        let channel = Channel { kind: ChannelKind::Direct, name: None, ..new };
        let members = users.map(|user_id| (user_id, Role::Member, false)).to_vec();
        self.create(channel.clone(), members)?;
        self.direct.insert(pair, channel.channel_id);
        Ok((channel, true))
    }

    pub(super) fn find_direct_channel(&self, users: [UserId; 2]) -> Option<Channel> {
        let mut pair = users;
        pair.sort_unstable();
        let channel_id = self.direct.get(&pair)?;
        Some(self.conversations[channel_id].channel.clone())
    }

    pub(super) fn create_group(
        &mut self,
        channel: Channel,
        owner: UserId,
        members: Vec<UserId>,
        limits: RelationLimits,
    ) -> Result<(), DirectoryError> {
        let mut seen = BTreeSet::from([owner]);
        let others = members.into_iter().filter(|id| seen.insert(*id)).map(|id| (id, Role::Member));
        let members: Vec<_> = std::iter::once((owner, Role::Owner)).chain(others).collect();
        for (user_id, _) in &members {
            self.known(*user_id)?;
        }
        let admitted = |&(user_id, role): &(UserId, Role)| {
            Ok((user_id, role, self.may_add(owner, user_id, limits)?))
        };
        let members = members.iter().map(admitted).collect::<Result<_, DirectoryError>>()?;
        self.create(Channel { kind: ChannelKind::Group, ..channel }, members)
    }

    pub(super) fn memberships_after(
        &self,
        user_id: UserId,
        after: Option<ChannelId>,
        limit: usize,
    ) -> Vec<Membership> {
        self.memberships
            .range(following(user_id, after))
            .take_while(|(member, _)| *member == user_id)
            .take(limit)
            .filter_map(|&(_, channel_id)| self.membership(user_id, channel_id))
            .collect()
    }

    pub(super) fn membership(&self, user_id: UserId, channel_id: ChannelId) -> Option<Membership> {
        let conversation = self.conversations.get(&channel_id)?;
        let member = conversation.members.get(&user_id)?;
        let peer = match conversation.channel.kind {
            ChannelKind::Direct => conversation.members.keys().find(|id| **id != user_id).copied(),
            ChannelKind::Group => None,
        };
        Some(Membership {
            channel: conversation.channel.clone(),
            role: member.role,
            peer,
            blocked: peer.is_some_and(|peer| self.blocks.contains(&(peer, user_id))),
            read_up_to: member.read_up_to,
        })
    }

    pub(super) fn rename_group(
        &mut self,
        by: UserId,
        channel_id: ChannelId,
        name: String,
    ) -> Result<Channel, DirectoryError> {
        let group = self.allowed(by, channel_id, |_| GroupChange::Rename)?;
        group.channel.name = Some(name);
        Ok(group.channel.clone())
    }

    pub(super) fn delete_group(
        &mut self,
        by: UserId,
        channel_id: ChannelId,
    ) -> Result<(Channel, Vec<UserId>), DirectoryError> {
        let group = self.allowed(by, channel_id, |_| GroupChange::Delete)?;
        let members: Vec<UserId> = group.members.keys().copied().collect();
        let channel = group.channel.clone();
        self.conversations.remove(&channel_id);
        for &user_id in &members {
            self.memberships.remove(&(user_id, channel_id));
        }
        let name = channel.name.clone();
        self.record(by, RevokedAccess::Group { channel_id, name });
        Ok((channel, members))
    }

    pub(super) fn members_after(
        &self,
        channel_id: ChannelId,
        after: Option<UserId>,
        limit: usize,
    ) -> Vec<Member> {
        let Some(conversation) = self.conversations.get(&channel_id) else {
            return Vec::new();
        };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let members = conversation.members.range((start, Bound::Unbounded)).take(limit);
        members.map(|(&user_id, member)| Member { user_id, role: member.role }).collect()
    }

    pub(super) fn put_member(
        &mut self,
        by: UserId,
        channel_id: ChannelId,
        user_id: UserId,
        role: Option<Role>,
        limits: RelationLimits,
    ) -> Result<PutMember, DirectoryError> {
        let known = self.known(user_id);
        let admitted = self.may_add(by, user_id, limits);
        let change = |group: &Conversation| GroupChange::Put { before: group.role(user_id), role };
        let group = self.allowed(by, channel_id, change)?;
        known?;
        let (channel, before) = (group.channel.clone(), group.role(user_id));
        let other_owner = group.other_owner(user_id);
        if let Some(member) = group.members.get_mut(&user_id) {
            if member.role != Role::Owner || other_owner {
                member.role = role.unwrap_or(member.role);
            }
            return Ok(PutMember { channel, before, role: member.role });
        }
        if group.members.len() >= limits.group_members {
            return Err(DirectoryError::GroupFull);
        }
        let role = role.unwrap_or(Role::Member);
        group.add(user_id, role, admitted?);
        self.memberships.insert((user_id, channel_id));
        Ok(PutMember { channel, before, role })
    }

    pub(super) fn remove_member(
        &mut self,
        by: UserId,
        channel_id: ChannelId,
        user_id: UserId,
    ) -> Result<Option<RemovedMember>, DirectoryError> {
        let change = |group: &Conversation| match by == user_id {
            true => GroupChange::Leave,
            false => GroupChange::Remove { theirs: group.role(user_id) },
        };
        let group = self.allowed(by, channel_id, change)?;
        if group.members.remove(&user_id).is_none() {
            return Ok(None);
        }
        let channel = group.channel.clone();
        // The highest role, and of these the longest membership.
        let heir = group.members.iter_mut().min_by_key(|(_, it)| (Reverse(it.role), it.arrival));
        let ended = heir.is_none();
        let successor = heir.filter(|(_, heir)| heir.role != Role::Owner).map(|(&id, heir)| {
            heir.role = Role::Owner;
            id
        });
        if ended {
            self.conversations.remove(&channel_id);
        }
        self.memberships.remove(&(user_id, channel_id));
        self.record(user_id, RevokedAccess::Channel { channel_id });
        Ok(Some(RemovedMember { channel, successor, ended }))
    }

    pub(super) fn mark_read(
        &mut self,
        channel_id: ChannelId,
        user_id: UserId,
        message_id: MessageId,
    ) -> bool {
        let conversation = self.conversations.get_mut(&channel_id);
        let Some(member) = conversation.and_then(|c| c.members.get_mut(&user_id)) else {
            return false;
        };
        let moved = message_id > member.read_up_to;
        member.read_up_to = member.read_up_to.max(message_id);
        moved
    }

    pub(super) fn push_targets(&self, channel_id: ChannelId) -> Vec<PushTarget> {
        let members = self.conversations.get(&channel_id).into_iter().flat_map(|c| &c.members);
        let target = |user_id: &UserId| {
            let account = &self.accounts[user_id];
            let level = account.settings.notifications;
            let username = account.user.username.clone();
            (!account.disabled).then_some(PushTarget { user_id: *user_id, username, level })
        };
        members.filter_map(|(user_id, _)| target(user_id)).collect()
    }

    /// How many channels a user holds that strangers added the user to, or all others.
    fn held(&self, user_id: UserId, by_stranger: bool) -> usize {
        let all = self.memberships.range(following(user_id, None));
        let own = all.take_while(|(member, _)| *member == user_id);
        let member = |channel_id| &self.conversations[channel_id].members[&user_id];
        own.filter(|(_, channel_id)| member(channel_id).by_stranger == by_stranger).count()
    }

    /// Whether `by`, who adds a user to a group, is a stranger to that user, if the user may hold
    /// another such group.
    fn may_add(
        &self,
        by: UserId,
        user_id: UserId,
        limits: RelationLimits,
    ) -> Result<bool, DirectoryError> {
        let by_stranger = by != user_id && !self.are_friends(by, user_id);
        let (relation, limit) = match by_stranger {
            true => (Relation::GroupByStranger, limits.groups_by_strangers),
            false => (Relation::Channel, limits.channels),
        };
        at_limit(user_id, relation, self.held(user_id, by_stranger), limit)?;
        Ok(by_stranger)
    }

    /// The group that `by` wants to change, if `by` may.
    fn allowed(
        &mut self,
        by: UserId,
        channel_id: ChannelId,
        change: impl FnOnce(&Conversation) -> GroupChange,
    ) -> Result<&mut Conversation, DirectoryError> {
        let group = self.conversations.get_mut(&channel_id).ok_or(DirectoryError::NotAMember)?;
        let role = group.role(by).ok_or(DirectoryError::NotAMember)?;
        change(group).allowed_to(group.channel.kind, role)?;
        Ok(group)
    }

    fn create(
        &mut self,
        channel: Channel,
        members: Vec<(UserId, Role, bool)>,
    ) -> Result<(), DirectoryError> {
        let channel_id = channel.channel_id;
        if self.conversations.contains_key(&channel_id) {
            return Err(DirectoryError::IdTaken);
        }
        let mut conversation =
            Conversation { channel, next_arrival: 0, members: BTreeMap::default() };
        for (user_id, role, by_stranger) in members {
            conversation.add(user_id, role, by_stranger);
            self.memberships.insert((user_id, channel_id));
        }
        self.conversations.insert(channel_id, conversation);
        Ok(())
    }
}

impl Conversation {
    fn add(&mut self, user_id: UserId, role: Role, by_stranger: bool) {
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        let read_up_to = MessageId::new(0);
        self.members.insert(user_id, GroupMember { role, arrival, read_up_to, by_stranger });
    }

    fn role(&self, user_id: UserId) -> Option<Role> {
        self.members.get(&user_id).map(|member| member.role)
    }

    /// Whether a user other than `user_id` is an owner.
    fn other_owner(&self, user_id: UserId) -> bool {
        self.members.iter().any(|(id, member)| *id != user_id && member.role == Role::Owner)
    }
}
