//! Push notifications: takes them from the queue and posts them to a webhook. The engine decides
//! which users are notified.

mod none;
mod client;
mod webhook;

pub use client::ClientError;
pub use none::NoPush;
pub use webhook::Webhook;
