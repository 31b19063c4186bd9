//! An in-memory adapter of every port: the reference for the semantics, the ground of the engine's
//! tests, and, for the log, the inbox, presence, interest and the registry, what a single node runs
//! on in production.

use std::future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ports::BoxFuture;

mod clock;
mod message_log;
mod node_inbox;
mod history_store;
mod leased_nodes;
mod presence;
mod interest;
mod push_notifier;
mod node_registry;
mod directory;

pub use clock::{ManualClock, SystemClock};
pub use directory::MemoryDirectory;
pub use history_store::MemoryHistoryStore;
pub use interest::MemoryInterest;
pub use message_log::MemoryMessageLog;
pub use node_inbox::MemoryNodeInbox;
pub use node_registry::MemoryNodeRegistry;
pub use presence::MemoryPresence;
pub use push_notifier::MemoryPushNotifier;

/// Locks, also after another thread panicked under the lock: no adapter leaves its state half
/// changed where it could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer of a call that has nothing to wait for.
fn ready<T: Send + 'static>(answer: T) -> BoxFuture<'static, T> {
    Box::pin(future::ready(answer))
}
