//! The semantics of each port as a conformance suite. A suite takes a factory of empty adapters and
//! panics if one breaks the contract. Every adapter runs the same suite against the real server.
//!
//! A suite is also the documentation of a port's semantics: each property is an async function
//! whose name states what must hold.
//!
//! # Example
//! ```
//! use pabal_contract::push_notifier;
//! use pabal_core::memory::MemoryPushNotifier;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! push_notifier::run(async |capacity| MemoryPushNotifier::new(capacity)).await;
//! # }
//! ```

mod property;
pub mod message_log;
pub mod node_inbox;
pub mod history_store;
pub mod presence;
pub mod interest;
pub mod push_notifier;
pub mod node_registry;
pub mod directory;
pub mod accounts;
pub mod fuzz;
