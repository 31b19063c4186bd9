//! The semantics of each port as a conformance suite. A suite takes a factory of fresh, empty
//! adapters and panics where one breaks the contract; every adapter runs the same suite against the
//! real server.

