//! Limits and bad input: what a node on a public address meets besides its clients, against the real server. After
//! each test other clients have been served, and the node holds no more memory than before.

mod h2spec;
mod floods;
mod stalled_streams;
mod crowd;
mod vanished;
