//! The only source of wall-clock time in the engine.

use crate::model::Timestamp;

/// Tells the time of day. It may stand still, step forward and step back: nothing that must only
/// grow may be built on it alone. Waiting and deadlines use tokio's monotonic timer instead.
pub trait Clock: Send + Sync + 'static {
    /// The time now. Never blocks.
    fn now(&self) -> Timestamp;
}
