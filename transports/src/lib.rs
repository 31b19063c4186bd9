//! How clients reach the engine. A transport only reads from a session: short polling responds at once,
//! long polling with the first event or at the deadline, WebSocket and SSE are loops of the same read.
//! What each of them costs is metered the same way, so that they can be compared.
//!
//! In reading order: [`transport`] says what a transport is; `short_poll`, `long_poll`, `websocket` and
//! `sse` are four of them; [`layers`] are what applies to each; [`close`] lists why the server ends a
//! stream; [`Transports`] mounts them below `/v1/sessions`; [`http`] is the HTTP that they share with the
//! API service.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod transport;
mod short_poll;
mod long_poll;
mod websocket;
mod sse;
pub mod close;
mod commands;
mod sessions;
mod mounted;
pub mod layers;
pub mod http;
mod admission;
mod requests;
mod unwritten;
mod meter;
mod connection;

pub use admission::{Admission, AdmissionLimits, Permit, Refused, RefusedSoFar};
pub use connection::{Connection, Wire};
pub use http::{
    Body, BodyError, BodyLimits, Held, RequestBody, problem_response, problem_response_with_status,
    read_body, read_held_body,
};
pub use long_poll::LongPolling;
pub use meter::{ConnectionMeter, LATENCY_BOUNDS, MeterReading, Meters};
pub use requests::{Requests, network};
pub use sessions::{Transports, TransportsBuilder, TransportsConfig};
pub use short_poll::ShortPolling;
pub use sse::ServerSentEvents;
pub use transport::{Attach, ResponseFuture, Transport};
pub use websocket::{WebSocket, WhileOpen};
