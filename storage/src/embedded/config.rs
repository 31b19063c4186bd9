//! The limits of an embedded store and their defaults.

#[cfg(doc)]
use pabal_core::model::MAX_PARTITIONS;

/// The limits of an embedded store. [`Default`] suits a node with at least 1 GiB: a process that
/// stored a million messages and read some of them used 100 to 225 MiB
/// (`examples/history_cost.rs`).
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// The number of partitions, 1 to [`MAX_PARTITIONS`]. Fixed when the folder is created: another
    /// number would move channels to other partitions and break the order of their ids. Default 64.
    pub partitions: u16,
    /// Memory for table blocks, shared by all keyspaces. Other blocks are read from the disk or
    /// from the system's page cache. Default 64 MiB.
    pub cache_bytes: u64,
    /// The size of the message memtable before it is written as a table. Memory use can reach five
    /// times this value briefly, when writes are faster than the disk; then appends are slowed
    /// down. Fixed when the folder is created. Default 32 MiB.
    pub message_memtable_bytes: u64,
    /// The most journal that may wait for its tables. It determines disk use and the time to open
    /// after a crash (a few seconds for a full journal). At least 64 MiB. Default 256 MiB.
    pub max_journal_bytes: u64,
    /// Threads that write and merge tables. Default 2.
    pub table_threads: usize,
    /// Open table files. Default 256.
    pub max_open_files: usize,
    /// The most requests queued for the writer; callers wait when it is full. Default 1,024.
    pub waiting_requests: usize,
    /// The number of messages at which a group accepts no further request; one sync makes a group
    /// durable. Default 4,096.
    pub group_messages: usize,
    /// The number of bytes at which a group accepts no further request. It bounds the latency that
    /// a group adds to the next one. Default 4 MiB.
    pub group_bytes: usize,
    /// The capacity of the push queue in notifications. Default 100,000.
    pub push_capacity: usize,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            partitions: 64,
            cache_bytes: 64 << 20,
            message_memtable_bytes: 32 << 20,
            max_journal_bytes: 256 << 20,
            table_threads: 2,
            max_open_files: 256,
            waiting_requests: 1_024,
            group_messages: 4_096,
            group_bytes: 4 << 20,
            push_capacity: 100_000,
        }
    }
}
