//! A client of Pabal: sign up, talk, and receive every message once, in order, on whatever transport
//! gets through.
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
//! - [`Client`] is a server: sign up, log in, discover.
//! - [`Account`] is a user on this device: every call of the API, one request each.
//! - [`Connection`] is what happens by itself: a stream of [`Event`]s, sends that are repeated until they
//!   are confirmed, reconnecting, falling back from WebSocket over SSE and long polling to short
//!   polling, and up again. What it guarantees stands there.
//! - [`Error`] says what went wrong and whether to try again.
//!
//! It needs tokio, takes time only from tokio, and imports nothing of the server.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod ids;
mod time;
mod error;
mod token;
mod base;
mod tls;
mod net;
mod http;
mod model;
mod client;
mod account;
mod api;
mod event;
mod connect;

pub use account::Account;
pub use client::{Client, ClientBuilder};
pub use connect::{
    Backoff, Connection, Cost, Fallback, Options, Policy, SendHandle, Sender, State, Status,
    Transport,
};
pub use error::{Code, Error, FieldError, Problem};
pub use event::{ChannelAction, Event};
pub use ids::{ChannelId, DeviceId, InvalidId, MessageId, UserId};
pub use model::{
    Advice, Beyond, Channel, ChannelKind, Cursors, Discovered, Friend, FriendState, Member,
    Message, Node, Notifications, Page, PageFrom, ProfileChange, Role, Settings, SettingsChange,
    Situation, User,
};
pub use token::Token;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
