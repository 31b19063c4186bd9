//! The domain: ids, messages, channels, users and time, as plain values. The model knows neither the
//! engine nor the wire format; only ids and a few enums serialise, because they look the same
//! everywhere.

mod ids;
mod time;
mod message;
mod channel;
mod permission;
mod user;

pub use channel::{Channel, ChannelKind, Member, Membership, Role};
pub(crate) use ids::mixed;
pub use ids::{
    ChannelId, DeviceId, InvalidId, MAX_PARTITIONS, MessageId, NodeId, Partition, Seq, SessionId,
    UserId,
};
pub use message::{Draft, Message, SendKey};
pub use permission::{Denied, GroupChange};
pub use time::Timestamp;
pub use user::{Device, Friend, FriendState, NotificationLevel, Settings, TokenHash, User};
