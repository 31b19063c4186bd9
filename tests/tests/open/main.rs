//! Fit for the open: what a node on a public address meets beside its clients, against the real
//! program. After each, others have been served, and the node holds no more than before.

mod h2spec;
mod floods;
mod stalled_streams;
mod crowd;
mod vanished;
