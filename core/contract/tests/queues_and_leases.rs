//! The in-memory log, inbox, presence, interest and registry fulfil the contracts of their ports,
//! under paused time and with several threads.

use std::sync::Arc;

use pabal_contract::{interest, message_log, node_inbox, node_registry, presence};
use pabal_core::memory::{
    MemoryInterest, MemoryMessageLog, MemoryNodeInbox, MemoryNodeRegistry, MemoryPresence,
    SystemClock,
};
use pabal_core::ports::{Interest, MessageLog, NodeInbox, NodeRegistry, Presence};

/// Runs a suite under paused time, where waits take no real time, and on threads, where calls race.
macro_rules! keeps_its_contract {
    ($name:ident, $suite:expr) => {
        mod $name {
            use super::*;

            #[tokio::test(start_paused = true)]
            async fn under_paused_time() {
                $suite.await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn under_threads() {
                $suite.await;
            }
        }
    };
}

keeps_its_contract!(
    memory_message_log,
    message_log::run(async |capacity| {
        Arc::new(MemoryMessageLog::new(Arc::new(SystemClock), capacity)) as Arc<dyn MessageLog>
    })
);
keeps_its_contract!(
    memory_message_log_with_clock,
    message_log::run_with_clock(async |clock| {
        Arc::new(MemoryMessageLog::new(clock, 10_000)) as Arc<dyn MessageLog>
    })
);
keeps_its_contract!(
    memory_node_inbox,
    node_inbox::run(async |capacity| {
        Arc::new(MemoryNodeInbox::new(capacity)) as Arc<dyn NodeInbox>
    })
);
keeps_its_contract!(
    memory_presence,
    presence::run(async || Arc::new(MemoryPresence::new()) as Arc<dyn Presence>)
);
keeps_its_contract!(
    memory_interest,
    interest::run(async || Arc::new(MemoryInterest::new()) as Arc<dyn Interest>)
);
keeps_its_contract!(
    memory_node_registry,
    node_registry::run(async || Arc::new(MemoryNodeRegistry::new()) as Arc<dyn NodeRegistry>)
);
