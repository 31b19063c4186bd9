//! What the engine needs of the world, a trait a concern.
//!
//! A trait states its delivery semantics in prose. The package `pabal-contract` checks them on every
//! adapter with a conformance suite,
//! and [`crate::memory`] has a reference adapter of each.
//!
//! Configuration chooses the adapters, so ports are `Arc<dyn Port>`, and their methods return a
//! [`BoxFuture`].
//!
//! # Cancellation
//! Unless a method says otherwise, a call whose future is dropped has happened or has not: never in
//! part.
//!
//! # Errors
//! Each port has one error enum. Its `retryable` says whether the same call may succeed later, and each
//! variant says so too.

use std::sync::Arc;

pub use futures::future::BoxFuture;

mod clock;
mod trace;
mod message_log;
mod node_inbox;
mod history_store;
mod presence;
mod interest;
mod revocation;
mod relation_limits;
mod directory;
mod accounts;
mod push_notifier;
mod node_registry;

pub use accounts::{Account, Accounts, DeviceAccess, KNOWN_NETWORKS};
pub use clock::Clock;
pub use directory::{
    Access, Credentials, Directory, DirectoryError, ProfileChange, PushTarget, PutMember,
    RemovedMember, SettingsChange,
};
pub use history_store::{
    Appended, HistoryError, HistoryStore, Page, PageFilling, PageFrom, PageLimit, SEND_KEY_WINDOW,
    Unread,
};
pub use interest::{Interest, InterestError};
pub use message_log::{LogEntry, LogError, MessageLog, Origin, Sequenced};
pub use node_inbox::{
    Audience, Delivery, InboxEntry, InboxError, InboxPosition, NodeInbox, Revoked,
};
pub use node_registry::{Lease, NodeInfo, NodeRegistry, RegistryError};
pub use presence::{Presence, PresenceError};
pub use push_notifier::{Notification, PushError, PushNotifier, PushPosition, QueuedNotification};
pub use relation_limits::{MAX_DEVICES, Relation, RelationLimits};
pub use revocation::{Revocation, RevokedAccess};
pub use trace::{Stage, TARGET as TRACE_TARGET, Trace};

/// One adapter of each port: what an engine runs on. Cheap to clone.
#[derive(Clone)]
pub struct Ports {
    /// The wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// The log of each partition, between acceptance and storage.
    pub log: Arc<dyn MessageLog>,
    /// The inbox of each node, between routing and delivery.
    pub inbox: Arc<dyn NodeInbox>,
    /// The record of every message.
    pub history: Arc<dyn HistoryStore>,
    /// Which users are connected, and on which nodes.
    pub presence: Arc<dyn Presence>,
    /// Which nodes have sessions that subscribe to a channel.
    pub interest: Arc<dyn Interest>,
    /// Users, channels, members and tokens.
    pub directory: Arc<dyn Directory>,
    /// The queue of notifications to offline users.
    pub push: Arc<dyn PushNotifier>,
    /// The nodes, and the partitions that they own.
    pub registry: Arc<dyn NodeRegistry>,
}
