//! Access that was taken away, as the directory records it for the nodes.

use super::node_inbox::Revoked;
use crate::model::{ChannelId, UserId};

/// An entry of the list of access that was taken away.
///
/// A change that takes access away enters it into the list of the [`Directory`](super::Directory) in the
/// same transaction. A node tells it to all nodes that have a session concerned, and then removes the
/// entry: at least once, even if a node dies in between. Telling one twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The number of the entry; never assigned twice. A later entry has a higher number.
    pub number: u64,
    /// The user whose access, or whose change, it is.
    pub user_id: UserId,
    /// What to tell.
    pub revoked: RevokedAccess,
}

/// What a user can no longer do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokedAccess {
    /// Tokens of the user were removed: what they gave ends.
    Sessions(Revoked),
    /// What the user may do in a channel has changed: the user left it, was removed, or was blocked in
    /// a direct channel. The node that tells it reads what holds by then.
    Channel {
        /// The channel.
        channel_id: ChannelId,
    },
    /// The user deleted a group.
    Group {
        /// The group.
        channel_id: ChannelId,
        /// Its name.
        name: Option<String>,
    },
}
