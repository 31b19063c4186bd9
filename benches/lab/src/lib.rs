//! What a transport costs. `pabal lab` starts a fresh server for each cell of a grid, drives it with
//! [`pabal_load`], fits a cost model to what it measured and writes a report.
//!
//! In reading order: [`record`] is what a cell measures, [`peers`] what other systems were seen to do.
//! [`process`] starts a server and reads what it uses. For a server that is to be saturated,
//! [`api`] sets the scene, [`wire`] cuts a byte stream into frames and answers, [`dialect`] answers as the
//! clients of a system do, [`swarm`] reads thousands of connections on one core, and [`group`] sends to
//! them and counts.

/// What can go wrong: a measurement that fails ends the run and says why.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub mod record;
pub mod grid;
pub mod fit;
pub mod peers;
pub mod report;
pub mod ledger;
pub mod runner;
pub mod command;
pub mod process;
pub mod api;
pub mod wire;
pub mod dialect;
pub mod histogram;
pub mod swarm;
pub mod group;
