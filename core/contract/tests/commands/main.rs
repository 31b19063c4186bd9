//! The command codec on mutated inputs.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod fuzz;
