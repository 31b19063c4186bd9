//! The way of a message.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod model;
pub mod protocol;
pub mod engine;
mod error;
pub mod ports;
pub mod memory;
