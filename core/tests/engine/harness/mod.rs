//! What the tests have in common: in-memory ports with gates and faults, users and channels, engines
//! that run on them, and clients that check what every client can rely on.

mod gate;
mod history;
mod queues;
mod relations;
mod world;
mod client;
mod opening;

pub(crate) use client::{Client, message_id_of, read, stream};
pub(crate) use gate::Gate;
pub(crate) use history::{Fault, TestHistory};
pub(crate) use opening::{OPENING_STEPS, opening_paused_at, step_gate};
pub(crate) use queues::{TestInbox, TestLog};
pub(crate) use relations::{TestDirectory, TestInterest, TestPresence, TestRegistry};
pub(crate) use world::{World, code, named, node, send_hello, sending, settle, text};
