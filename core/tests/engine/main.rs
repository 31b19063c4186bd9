//! The engine on in-memory ports under paused time: a file for each invariant, and files for sessions,
//! presence, push and events. Every test of an invariant fails when its mechanism is removed
//! (docs/invariants.md).

mod harness;

mod durable;
mod ordering;
mod delivery;
mod repeats;
mod reads;
mod seam;
mod membership;
mod bounds;
mod owners;
mod partitions;
mod sessions;
mod presence;
mod push;
mod events;
mod moments;
mod budget;
mod sync;
mod seeded;
mod imports;
