//! An in-memory adapter of every port: the reference for the semantics, and the base of the engine's
//! tests. A single node also runs on the log, the inbox, presence, interest and the registry of this
//! module in production.

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

/// Locks, even if another thread panicked under the lock: no critical section can panic between two
/// changes that belong together.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The result of a call that does not wait.
fn ready<T: Send + 'static>(result: T) -> BoxFuture<'static, T> {
    Box::pin(future::ready(result))
}
