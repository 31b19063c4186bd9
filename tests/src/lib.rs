//! The harness of the end-to-end tests: real nodes as child processes, clients that speak each
//! transport and check every batch, a proxy that injects faults, and an oracle that compares what
//! clients received with what was acknowledged. It knows the wire contract and nothing of the
//! server's insides, so it imports none of the other packages.

pub mod binary;
pub mod clock;
pub mod node;
pub mod address;
pub mod proxy;
pub mod http;
pub mod account;
pub mod line;
pub mod journal;
pub mod ledger;
pub mod oracle;
pub mod client;
pub mod sending;
pub mod http2;
pub mod metrics;
pub mod wait;
pub mod balancer;
pub mod faulty_proxy;
pub mod cluster;
pub mod faults;
pub mod attack;
