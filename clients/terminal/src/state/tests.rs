//! The state without a terminal, a server or a clock.

mod scene;
mod conversations;
mod writing;
mod scrolling;
mod connection;
mod screens;
