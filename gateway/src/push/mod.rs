//! From the queue of notifications to the third party that reaches phones. Which users are away is
//! the engine's business.

mod none;
mod retry;
mod client;
mod webhook;

pub use client::ClientError;
pub use none::NoPush;
pub use webhook::Webhook;
