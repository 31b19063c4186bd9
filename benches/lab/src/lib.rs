//! What a transport costs. `pabal lab` starts a fresh server for each cell of a grid, drives it with
//! [`pabal_load`], fits a cost model to what it measured and writes a report.
//!
//! In reading order: [`record`] is what a cell measures, [`peers`] what other systems were seen to do.

pub mod record;
pub mod peers;
