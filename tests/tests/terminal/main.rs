//! The terminal chat client: without its terminal against the real server, on every transport, and at a
//! pseudo-terminal, which it must restore however it ends.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod conversation;
mod pty;
