//! How many devices, channels, friends and blocks a user may have in the directory.

/// How many devices a user has at most.
pub const MAX_DEVICES: usize = 100;

/// How many relations users may have. A call that would exceed a limit changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationLimits {
    /// Members of a group.
    pub group_members: usize,
    /// Groups that a user holds and was added to by users who were no friends then. A user cannot
    /// prevent that, so the number is small.
    pub groups_by_strangers: usize,
    /// All other channels that a user holds: own groups, those that friends added the user to, and
    /// direct channels.
    pub channels: usize,
    /// Friends and requests that a user has sent, and as many that a user has received.
    pub friends: usize,
    /// Users whom a user has blocked.
    pub blocks: usize,
}

impl RelationLimits {
    /// What a node allows if its configuration says nothing else.
    pub const DEFAULT: Self = Self {
        group_members: 10_000,
        groups_by_strangers: 100,
        channels: 10_000,
        friends: 10_000,
        blocks: 10_000,
    };
}

impl Default for RelationLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a user has as many of as [`RelationLimits`] allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Relation {
    /// See [`RelationLimits::groups_by_strangers`].
    #[error("groups to which people who are no friends added them")]
    GroupByStranger,
    /// See [`RelationLimits::channels`].
    #[error("channels")]
    Channel,
    /// See [`RelationLimits::friends`].
    #[error("friends and friend requests")]
    Friend,
    /// See [`RelationLimits::blocks`].
    #[error("blocks")]
    Block,
}
