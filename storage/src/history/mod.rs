//! The adapters of the [`HistoryStore`](pabal_core::ports::HistoryStore) port: on local disk, as a part
//! of the [`embedded`](crate::embedded) store, and in Cassandra.

mod cassandra;

pub use self::cassandra::CassandraHistoryStore;
pub use crate::embedded::FjallHistoryStore;
