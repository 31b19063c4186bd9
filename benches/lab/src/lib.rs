//! What a transport costs. `pabal lab` starts a fresh server for each cell of a grid, drives it with
//! [`pabal_load`], fits a cost model to what it measured and writes a report.
//!
//! In reading order: [`record`] is what a cell measures, [`peers`] are the measurements of other systems.
//! [`process`] starts a server and reads what it uses, [`cpu`] the CPU of its threads. To saturate a server,
//! [`api`] makes users and channels, [`wire`] cuts a byte stream into frames and responses, [`dialect`] replies
//! as the clients of a system do, [`swarm`] reads thousands of connections on one core, and [`group`] sends
//! to them and counts.

/// What can go wrong: a measurement that fails ends the run and says why.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub mod record;
pub mod grid;
pub mod fit;
pub mod peers;
pub mod svg;
pub mod report;
pub mod ledger;
pub mod runner;
pub mod command;
pub mod cpu;
pub mod process;
pub mod api;
pub mod wire;
pub mod dialect;
pub mod swarm;
pub mod group;
