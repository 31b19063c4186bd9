//! The server as a library: configuration, the API service and the running node.
//!
//! A program loads a [`config::Config`], binds [`server::Listeners`], builds an [`app::App`] and
//! starts a [`server::Server`] on it. To stop, it closes the server, drains the app, finishes the
//! server and shuts the app down, in this order.
//!
//! In reading order: [`config`] is the configuration of a node, [`stores`] opens the stores that it
//! names, [`app`] builds the node on them, [`server`] accepts connections and passes each request
//! to the transports or to the [`api`]. [`auth`], [`discovery`], [`push`] and [`telemetry`] serve
//! the API and the node. Imports go one way: `app` knows every module, and no module knows `app`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
pub mod stores;
pub mod app;
pub mod backup;
pub mod control;
pub mod server;
pub mod tls;
mod descriptors;
mod https;
mod peers;
mod leftovers;
mod revocations;
pub mod api;
pub mod auth;
pub mod discovery;
pub mod push;
pub mod telemetry;
