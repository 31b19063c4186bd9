//! History: on local disk, where the database and its writer are [`embedded`](crate::embedded)'s, and
//! in Cassandra. Owns how messages, stored positions and known sends are kept and read.

mod codec;
#[cfg(test)]
pub(crate) mod fuzz;
mod stage;
mod sent;
mod positions;
mod fjall;
mod verify;
#[cfg(feature = "cassandra")]
mod cassandra;

#[cfg(feature = "cassandra")]
pub use self::cassandra::CassandraHistoryStore;
pub use self::fjall::FjallHistoryStore;

#[cfg(feature = "cassandra")]
pub(crate) use codec::sent_key;
pub(crate) use codec::{DecodeError, decode_message, encode_message};
pub(crate) use positions::{StoredPositions, load_positions};
pub(crate) use sent::ForgetOldSends;
pub(crate) use stage::AppendStage;
pub(crate) use verify::verify;
