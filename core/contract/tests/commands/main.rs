//! The command codec under inputs that are nearly right.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod fuzz;
