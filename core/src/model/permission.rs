//! Who may change a group: one rule for every store, so that a store can apply it to the roles that hold
//! when it writes.

use super::{ChannelKind, Role};

/// A change of a group that one of its members wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// Give the group another name.
    Rename,
    /// Delete the group.
    Delete,
    /// Add a user, or change the role of a member.
    Put {
        /// The role that the user has; absent for a user who is no member.
        before: Option<Role>,
        /// The wanted role; without it a new member gets the lowest, and a member keeps the present
        /// one.
        role: Option<Role>,
    },
    /// Leave the group.
    Leave,
    /// Remove another member.
    Remove {
        /// The role of that member; absent for a user who is no member.
        theirs: Option<Role>,
    },
}

/// Why a member may not change a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// It is a direct channel, which always has the same two users.
    #[error("a direct channel cannot be changed")]
    DirectChannel,
    /// The member is neither owner nor admin.
    #[error("only an owner or admin of the group may do this")]
    NeedsAdmin,
    /// The member is no owner.
    #[error("only an owner of the group may do this")]
    NeedsOwner,
    /// The other member has the same role, or a higher one.
    #[error("you can only remove members whose role is below yours")]
    NotBelow,
}

impl GroupChange {
    /// Whether a member with `role` in a channel of this `kind` may make the change.
    ///
    /// Owners and admins rename the group and add members. Only owners give a role other than the
    /// lowest to a new member, or change that of a member; a role that a member has already is no
    /// change. Owners and admins remove members below themselves; each member may leave. Only
    /// owners delete a group.
    ///
    /// # Errors
    /// [`Denied`]; the same change may be allowed once a role has changed.
    pub fn allowed_to(self, kind: ChannelKind, role: Role) -> Result<(), Denied> {
        if kind == ChannelKind::Direct {
            return Err(Denied::DirectChannel);
        }
        let least = match self {
            Self::Leave => Role::Member,
            Self::Rename | Self::Remove { .. } => Role::Admin,
            Self::Put { before, role } => {
                let unchanged = before.unwrap_or(Role::Member);
                if role.is_some_and(|role| role != unchanged) { Role::Owner } else { Role::Admin }
            }
            Self::Delete => Role::Owner,
        };
        if role < Role::Admin && least >= Role::Admin {
            let needed = if self == Self::Delete { Denied::NeedsOwner } else { Denied::NeedsAdmin };
            return Err(needed);
        }
        if role < least {
            return Err(Denied::NeedsOwner);
        }
        match self {
            Self::Remove { theirs: Some(theirs) } if theirs >= role => Err(Denied::NotBelow),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 3] = [Role::Member, Role::Admin, Role::Owner];

    fn allowed(change: GroupChange) -> [bool; 3] {
        ROLES.map(|role| change.allowed_to(ChannelKind::Group, role).is_ok())
    }

    #[test]
    fn each_change_needs_its_role() {
        assert_eq!(allowed(GroupChange::Leave), [true, true, true]);
        assert_eq!(allowed(GroupChange::Rename), [false, true, true]);
        assert_eq!(allowed(GroupChange::Delete), [false, false, true]);
        let put = |before, role| allowed(GroupChange::Put { before, role });
        for role in [None, Some(Role::Member)] {
            assert_eq!(put(None, role), [false, true, true]);
        }
        assert_eq!(put(None, Some(Role::Admin)), [false, false, true]);
        assert_eq!(put(Some(Role::Owner), None), [false, true, true]);
        assert_eq!(put(Some(Role::Owner), Some(Role::Owner)), [false, true, true]);
        assert_eq!(put(Some(Role::Owner), Some(Role::Member)), [false, false, true]);
    }

    #[test]
    fn a_member_removes_only_members_below() {
        let remove = |theirs| allowed(GroupChange::Remove { theirs });
        assert_eq!(remove(Some(Role::Member)), [false, true, true]);
        assert_eq!(remove(Some(Role::Admin)), [false, false, true]);
        assert_eq!(remove(Some(Role::Owner)), [false, false, false]);
        assert_eq!(remove(None), [false, true, true]);
    }

    #[test]
    fn a_direct_channel_cannot_be_changed() {
        for change in [GroupChange::Rename, GroupChange::Delete, GroupChange::Leave] {
            let denied = change.allowed_to(ChannelKind::Direct, Role::Owner);
            assert_eq!(denied, Err(Denied::DirectChannel));
        }
    }
}
