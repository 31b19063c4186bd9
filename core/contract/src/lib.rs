//! The semantics of each port as a conformance suite. A suite takes a factory of fresh, empty
//! adapters and panics where one breaks the contract; every adapter runs the same suite against the
//! real server.
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
