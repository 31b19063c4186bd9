//! Ends the sessions of revoked access: of requests to this node, and of users whose access an operator has
//! revoked with another process.

use std::sync::Arc;
use std::time::Duration;

use pabal_core::engine::Engine;
use pabal_core::model::UserId;
use pabal_core::ports::{Accounts, Delivery, DirectoryError, Revoked};

/// How many entries are read at a time.
const PAGE: usize = 100;

/// Reads the list of revoked users with a pause of `every`, and ends their sessions. Never returns.
/// The list is nearly always empty, so a read costs one page that is in memory.
pub async fn keep_ending_sessions(engine: Engine, accounts: Arc<dyn Accounts>, every: Duration) {
    let mut failing = false;
    loop {
        match end_sessions(&engine, &*accounts).await {
            Ok(()) => failing = false,
            // Logged once per outage, not once per attempt.
            Err(error) if !failing => {
                tracing::warn!(%error, "cannot read which sessions operators have ended; retrying");
                failing = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(every).await;
    }
}

/// Ends what the revoked access of a user gave: on this node at once, on other nodes through their
/// inboxes.
pub async fn revoke(engine: &Engine, user_id: UserId, revoked: Revoked) {
    engine.revoke(user_id, revoked).await;
    engine.publish(Delivery::EndSessions { user_id, revoked }).await;
}

async fn end_sessions(engine: &Engine, accounts: &dyn Accounts) -> Result<(), DirectoryError> {
    loop {
        let endings = accounts.endings(PAGE).await?;
        for ending in &endings {
            let user_id = ending.user_id;
            tracing::info!(%user_id, "ending the sessions of a user, as an operator requested");
            revoke(engine, user_id, Revoked::All).await;
        }
        // Removed last: if the node crashes before this, the next read ends the sessions again.
        let numbers: Vec<_> = endings.iter().map(|ending| ending.number).collect();
        if numbers.is_empty() {
            return Ok(());
        }
        accounts.forget_endings(&numbers).await?;
    }
}
