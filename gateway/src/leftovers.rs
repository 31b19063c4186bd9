//! Removes what interrupted creations and deletions of groups have left in the directory. No call sees it;
//! it takes room, and counts for what its members hold.

use std::sync::Arc;
use std::time::Duration;

use pabal_core::model::Timestamp;
use pabal_core::ports::{Clock, Directory};

/// The pause between two looks.
const EVERY: Duration = Duration::from_secs(10 * 60);

/// How old a group must be, because another node may be creating it: far longer than a creation takes,
/// even with clocks that differ.
const AGE: Duration = Duration::from_secs(10 * 60);

/// Removes leftovers at once and then every ten minutes. Never returns. A node that is `alone` on its
/// directory removes all of them at the start: no other node creates groups.
pub(crate) async fn keep_removing_leftovers(
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    alone: bool,
) {
    let started = clock.now();
    let mut before = if alone { started } else { older(&*clock) };
    loop {
        match directory.remove_leftovers(before).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed groups that were left incomplete"),
            Err(error) => tracing::warn!(%error, "cannot remove incomplete groups; retrying later"),
        }
        tokio::time::sleep(EVERY).await;
        before = older(&*clock);
    }
}

fn older(clock: &dyn Clock) -> Timestamp {
    let age = u64::try_from(AGE.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(clock.now().as_micros().saturating_sub(age))
}
