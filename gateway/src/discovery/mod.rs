//! Service discovery: which nodes there are, how far they are from a client and how full, and which
//! transport suits it. For one node it names that node.

mod advice;
mod distance;
mod places;
mod rank;
mod announce;

pub use advice::{Advice, advise};
pub use announce::{announce, keep_announced, node_info};
pub use distance::distance_km;
pub use places::Places;
pub use rank::{Ranked, rank};
