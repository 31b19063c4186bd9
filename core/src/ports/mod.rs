//! What the engine needs of the world, a trait a concern. The traits state delivery semantics in
//! prose; `crate::contract` holds each of them as a suite that every adapter passes;
//! [`crate::memory`] has an adapter of each.
//!
//! Ports are stored as `Arc<dyn Port>`, because configuration chooses the backends, so their
//! methods return [`BoxFuture`]. Unless a method says otherwise, dropping its future leaves the
//! port in a state as if the call had happened or had not: never in between.

use std::sync::Arc;

pub use futures::future::BoxFuture;

mod clock;
mod trace;
mod message_log;
mod node_inbox;
mod history_store;
mod presence;
mod interest;
mod directory;
mod accounts;
mod push_notifier;
mod node_registry;

pub use accounts::{Account, Accounts, Ending};
pub use clock::Clock;
pub use directory::{
    Access, Credentials, Directory, DirectoryError, ProfileChange, PushTarget, SettingsChange,
};
pub use history_store::{Appended, HistoryError, HistoryStore, Page, PageFrom, SEND_KEY_WINDOW};
pub use interest::{Interest, InterestError};
pub use message_log::{LogEntry, LogError, MessageLog, Origin, Sequenced};
pub use node_inbox::{Audience, Delivery, InboxEntry, InboxError, InboxPosition, NodeInbox};
pub use node_registry::{Lease, NodeInfo, NodeRegistry, RegistryError};
pub use presence::{Presence, PresenceError};
pub use push_notifier::{Notification, PushError, PushNotifier, PushPosition, QueuedNotification};
pub use trace::{Stage, TARGET as TRACE_TARGET, Trace};

/// One adapter for each port: what an engine is started with.
#[derive(Clone)]
pub struct Ports {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The sync queue of each partition.
    pub log: Arc<dyn MessageLog>,
    /// What other nodes, and this one, have for a node's sessions.
    pub inbox: Arc<dyn NodeInbox>,
    /// Every message there is.
    pub history: Arc<dyn HistoryStore>,
    /// Which users are connected, and where.
    pub presence: Arc<dyn Presence>,
    /// Which nodes have sessions that want a channel.
    pub interest: Arc<dyn Interest>,
    /// Users, channels, members, tokens.
    pub directory: Arc<dyn Directory>,
    /// The queue to those who are offline.
    pub push: Arc<dyn PushNotifier>,
    /// The nodes and what they own.
    pub registry: Arc<dyn NodeRegistry>,
}
