//! An in-memory adapter of every port: the reference for the semantics, the ground of the engine's
//! tests, and, for the log, the inbox, presence, interest and the registry, what a single node runs
//! on in production.

