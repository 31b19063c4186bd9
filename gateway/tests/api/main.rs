//! The API service as clients use it: each test starts a node on a free port. One file per resource.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod support;
mod line;
mod certificate;
mod users;
mod login;
mod me;
mod friends;
mod blocks;
mod channels;
mod members;
mod messages;
mod sync;
mod budget;
mod discover;
mod geo;
mod health;
mod requests;
mod contract;
mod connections;
mod reads;
mod tls;
mod browsers;
mod limits;
mod proxies;
mod readers;
mod streams;
mod frames;
mod enclosed;
mod smuggling;
mod host;
mod bad_input;
mod fuzz;
mod push;
