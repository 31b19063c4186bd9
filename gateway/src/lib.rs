//! The pabal server: configuration, API service and the running node.
//!
//! In reading order: [`config`] is the configuration of a node,
//! [`stores`] opens what it keeps and queues in, [`app`] builds it on them, [`server`] accepts
//! connections and hands each request to the transports or to the [`api`]. [`auth`], [`discovery`],
//! [`push`] and [`telemetry`] are what the API and the node need besides.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
pub mod stores;
pub mod app;
pub mod backup;
pub mod control;
pub mod server;
mod descriptors;
mod https;
mod peers;
pub mod api;
pub mod auth;
pub mod discovery;
pub mod push;
pub mod telemetry;
