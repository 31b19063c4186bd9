//! A client of Pabal: sign up, send messages, and receive every message once and in order, on any transport
//! that works.
//!
//! ```no_run
//! use pabal_client::{Client, Event, Options};
//!
//! # async fn example() -> Result<(), pabal_client::Error> {
//! let client = Client::builder("http://127.0.0.1:8080").build()?;
//! let mina = client.log_in("mina", "correct horse").await?;
//! let mut connection = mina.connect(Options::default()).await?;
//! let lunch = mina.create_group("Lunch", &[]).await?;
//!
//! let sent = connection.send(lunch.channel_id, "who is hungry?");
//! println!("durable as {}", sent.await?);
//! while let Some(event) = connection.next().await {
//!     if let Event::Message(message) = event? {
//!         println!("{}: {}", message.message_from, message.content);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`Client`] is a server: sign up, log in, discover nodes.
//! - [`Account`] is a user on this device: every call of the API, one request each.
//! - [`Connection`] works by itself: it yields [`Event`]s, repeats sends until they are confirmed, reconnects,
//!   and falls back from WebSocket over SSE and long polling to short polling, and up again. Its
//!   documentation states what it guarantees.
//! - [`Error`] says what failed and whether a retry can help.
//!
//! The crate needs tokio, takes time only from tokio, and depends on no package of the server.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod ids;
mod time;
mod error;
mod token;
mod base;
mod meter;
mod tls;
mod net;
mod http;
mod model;
mod client;
mod account;
mod log_in;
mod api;
mod event;
mod connect;

pub use account::Account;
pub use client::{Client, ClientBuilder};
pub use connect::{
    Backoff, Connection, Cost, Fallback, Options, Policy, Renewal, SendHandle, Sender, State,
    Status, Transport,
};
pub use error::{Code, Error, FieldError, Problem};
pub use event::{ChannelAction, Event};
pub use ids::{ChannelId, DeviceId, InvalidId, MessageId, UserId};
pub use model::{
    Advice, Beyond, Channel, ChannelKind, Cursors, Device, Discovered, Friend, FriendState, Member,
    Message, Node, Notifications, Page, PageFrom, ProfileChange, Role, Settings, SettingsChange,
    Situation, User,
};
pub use token::Token;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
