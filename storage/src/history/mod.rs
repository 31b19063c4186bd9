//! History on local disk, where the database and its writer belong to
//! [`embedded`](crate::embedded), and in Cassandra. Owns how messages, stored positions and send
//! keys are stored and read.

mod codec;
#[cfg(test)]
pub(crate) mod fuzz;
mod stage;
mod sent;
mod positions;
mod fjall;
mod verify;
mod cassandra;

pub use self::cassandra::CassandraHistoryStore;
pub use self::fjall::FjallHistoryStore;

pub(crate) use codec::{DecodeError, decode_message, encode_message, sent_key};
pub(crate) use positions::{StoredPositions, load_positions};
pub(crate) use sent::ExpiredSendFilter;
pub(crate) use stage::AppendStage;
pub(crate) use verify::verify;
