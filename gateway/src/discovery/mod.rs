//! Service discovery: ranks the live nodes by distance to a client and by free capacity, and
//! advises a transport. A node on its own returns itself.

mod advice;
mod distance;
mod geo;
mod rank;
mod announce;

pub use advice::{Advice, advise};
pub use announce::{announce, keep_announced, node_info};
pub use distance::distance_km;
pub use geo::GeoDatabase;
pub use rank::{Ranked, rank};
