//! Backends behind the ports of `pabal-core`.

pub mod directory;
