//! The engine on in-memory ports under paused time: a file an invariant, and one for what follows
//! sessions. Every test of an invariant fails when the mechanism behind it is taken out.

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
mod shares;
mod sessions;
mod presence;
mod push;
mod events;
mod seeded;
