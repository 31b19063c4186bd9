//! Backends behind the ports of `pabal-core`.

pub mod error;
pub mod embedded;
pub mod directory;
pub mod history;
pub mod push;
