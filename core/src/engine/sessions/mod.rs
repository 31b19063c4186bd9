//! Sessions: what a device receives from this node, and what the node publishes because of them.
//!
//! In reading order: a [`mailbox`] holds events, with [`moments`] beside it, [`channel_gates`] decide
//! about each message, a [`session`] joins them under one lock. The [`session_table`] finds sessions,
//! and [`mailbox_budget`] counts the memory of all mailboxes. [`node_interest`]
//! and [`user_presence`] publish to other nodes what the table holds, under [`node_leases`].
//! [`catch_up`] joins history to live messages, and the [`lifecycle`] opens and ends sessions.
//!
//! Nothing here imports the stages of a message (`engine/message`); its deliverer imports this.

mod mailbox;
mod moments;
mod channel_gates;
mod end_reason;
mod session;
mod session_table;
mod mailbox_budget;
mod node_interest;
mod user_presence;
mod catch_up;
mod lifecycle;
mod node_leases;

pub use end_reason::EndReason;
pub use session::{Reader, Session, Streamed, View, WakeReason};

pub(super) use catch_up::CatchUpReader;
pub(super) use channel_gates::MessageEvent;
pub(super) use lifecycle::SessionLifecycle;
pub(super) use mailbox_budget::MailboxBudget;
pub(super) use node_interest::NodeInterest;
pub(super) use node_leases::NodeLeases;
pub(super) use session_table::SessionTable;
pub(super) use user_presence::{PresenceLock, UserPresence};
