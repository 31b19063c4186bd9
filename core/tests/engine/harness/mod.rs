//! What the tests have in common: a world of in-memory ports with doors and faults in them, users
//! and channels in it, engines on it, and clients that check what every client may rely on.

mod gate;
mod history;
mod queues;
mod relations;
mod world;
mod client;
mod doors;

pub(crate) use client::{Client, message_id_of, read, stream};
pub(crate) use doors::{DOORS, door, opening_at};
pub(crate) use gate::Gate;
pub(crate) use history::{TestHistory, Trouble};
pub(crate) use queues::{TestInbox, TestLog};
pub(crate) use relations::{TestDirectory, TestInterest, TestPresence, TestRegistry};
pub(crate) use world::{World, code, named, node, quiet, say, sending, text};
