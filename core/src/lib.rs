//! The core of Pabal: the routing engine, the ports through which it sees the world, and an in-memory
//! adapter of every port.
//!
//! An [`Engine`](engine::Engine) runs on one node. A client's command enters it as a method call, and
//! a message takes this way:
//!
//! ```text
//! authorize → sequence + enqueue → store → acknowledge → route → deliver | push
//! ```
//!
//! - *authorize* checks rate, content, membership and blocks.
//! - *sequence + enqueue* is one atomic step of the partition's log, which assigns the message id.
//! - *store* makes the message durable. The owner of the partition does it, in the order of the log.
//! - *acknowledge* and *route* come after that: the sender gets its result, and each interested node
//!   gets one copy.
//! - *deliver* appends the message to the mailbox of each session of its channel. Transports read from
//!   there and own no delivery state.
//! - *push* notifies members without a session.
//!
//! What a client can rely on: an acknowledged message is durable; a repeated send is stored once; each
//! session receives the messages of a channel in order, without gap or repeat; and a read removes
//! nothing until the client confirms it. `docs/invariants.md` lists the mechanisms behind that, with the
//! test that fails without each.
//!
//! # Modules
//! [`model`] has ids, messages, channels and users as plain values, and [`protocol`] the wire contract:
//! events, commands and problems. [`ports`] are the traits that the engine needs, and [`memory`] their
//! in-memory adapters. [`engine`] is the rest.
//!
//! This crate does no network or disk access of its own, and does not import adapters for real
//! backends.
//!
//! # Example
//! One node on in-memory ports; one user sends a message, another one reads it:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use pabal_core::engine::{Engine, EngineConfig, Limits, SendRequest};
//! use pabal_core::memory::{
//!     MemoryDirectory, MemoryHistoryStore, MemoryInterest, MemoryMessageLog, MemoryNodeInbox,
//!     MemoryNodeRegistry, MemoryPresence, MemoryPushNotifier, SystemClock,
//! };
//! use pabal_core::model::{
//!     Channel, ChannelId, ChannelKind, Device, DeviceId, Timestamp, TokenHash, User, UserId,
//! };
//! use pabal_core::ports::{Access, Directory, Ports};
//!
//! # fn user(id: u64, name: &str) -> (User, Access) {
//! #     let user_id = UserId::new(id);
//! #     let user = User {
//! #         user_id,
//! #         username: name.into(),
//! #         display_name: name.into(),
//! #         status_text: String::new(),
//! #         avatar_url: String::new(),
//! #         created_at: Timestamp::default(),
//! #     };
//! #     let device = Device { device_id: DeviceId::new(id), user_id, name: String::new() };
//! #     let expires_at = Timestamp::from_millis(u64::MAX / 1_000);
//! #     (user, Access { token: TokenHash::of(name), device, expires_at })
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Arc::new(SystemClock);
//! let directory = Arc::new(MemoryDirectory::default());
//! let ports = Ports {
//!     clock: clock.clone(),
//!     log: Arc::new(MemoryMessageLog::new(clock, 1_000)),
//!     inbox: Arc::new(MemoryNodeInbox::new(1_000)),
//!     history: Arc::new(MemoryHistoryStore::new()),
//!     presence: Arc::new(MemoryPresence::new()),
//!     interest: Arc::new(MemoryInterest::new()),
//!     directory: directory.clone(),
//!     push: Arc::new(MemoryPushNotifier::new(1_000)),
//!     registry: Arc::new(MemoryNodeRegistry::new()),
//! };
//! let config = EngineConfig { node: "n1".parse()?, partitions: 16, limits: Limits::default() };
//! let engine = Engine::start(config, ports).await?;
//!
//! // Two users and their direct channel. `user` makes a user and a token, see the source.
//! let (ann, ann_access) = user(1, "ann");
//! let (ben, ben_access) = user(2, "ben");
//! let users = [ann.user_id, ben.user_id];
//! directory.sign_up(ann, "a password hash".into(), ann_access).await?;
//! directory.sign_up(ben, "a password hash".into(), ben_access.clone()).await?;
//! let channel = Channel {
//!     channel_id: ChannelId::new(7),
//!     kind: ChannelKind::Direct,
//!     name: None,
//!     created_at: Timestamp::default(),
//! };
//! let (channel, _) = directory.direct_channel(users, channel).await?;
//!
//! // Ben's device opens a session, and Ann sends. The message is durable when `submit` returns.
//! let session = engine.open_session(&ben_access, None).await.expect("opens");
//! let send = SendRequest {
//!     channel_id: channel.channel_id,
//!     content: "hello".into(),
//!     client_message_id: Some("a1".into()),
//! };
//! let sent = engine.submit(users[0], send).await.expect("is stored");
//! assert!(!sent.repeat);
//!
//! // Ben's transport waits for an event, reads the batch, and confirms it with the next read.
//! let start = session.start();
//! session.attach().wait(start).await;
//! let (next, batch) = session
//!     .read(Some(start), 100, |view| {
//!         let mut batch = Vec::new();
//!         view.batch().write(&mut batch);
//!         (view.next(), String::from_utf8(batch))
//!     })
//!     .expect("is in range");
//! assert!(batch?.contains(r#""content":"hello""#));
//! session.confirm(next);
//!
//! engine.drain(Duration::ZERO).await;
//! engine.shutdown().await;
//! # Ok(())
//! # }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod model;
pub mod protocol;
pub mod engine;
mod backoff;
mod error;
pub mod ports;
pub mod memory;

pub use self::backoff::Backoff;
