//! The nouns of the chat: ids, messages, channels, users, time. Plain values without behaviour of
//! the engine and without any knowledge of how they travel.

mod ids;
mod time;
mod message;
mod channel;
mod user;

pub use channel::{Channel, ChannelKind, Member, Membership, Role};
pub(crate) use ids::mixed;
pub use ids::{
    ChannelId, DeviceId, InvalidId, MAX_PARTITIONS, MessageId, NodeId, Partition, Seq, SessionId,
    UserId,
};
pub use message::{Draft, Message, SendKey};
pub use time::Timestamp;
pub use user::{Device, Friend, FriendState, NotificationLevel, Settings, TokenHash, User};
