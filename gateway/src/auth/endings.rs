//! Ends the sessions of users whose access an operator has taken away, from outside this process.

use std::sync::Arc;
use std::time::Duration;

use pabal_core::engine::Engine;
use pabal_core::ports::{Accounts, Delivery, DirectoryError};

/// As many entries as are looked at together.
const AT_ONCE: usize = 100;

/// Looks for entries again and again with a pause of `every`; it never ends by itself. The list
/// is nearly always empty, so a look is a read of one page that is in memory.
pub async fn keep_ending_sessions(engine: Engine, accounts: Arc<dyn Accounts>, every: Duration) {
    let mut away = false;
    loop {
        match end_sessions(&engine, &*accounts).await {
            Ok(()) => away = false,
            // Once, not with every look.
            Err(error) if !away => {
                tracing::warn!(%error, "it cannot be told whose sessions must end");
                away = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(every).await;
    }
}

async fn end_sessions(engine: &Engine, accounts: &dyn Accounts) -> Result<(), DirectoryError> {
    loop {
        let endings = accounts.endings(AT_ONCE).await?;
        for ending in &endings {
            let user_id = ending.user_id;
            tracing::info!(%user_id, "an operator ends the sessions of a user");
            // Here at once; on other nodes by way of their inboxes.
            engine.end_sessions(user_id, None).await;
            engine.publish(Delivery::EndSessions { user_id, token: None }).await;
        }
        // Only now: if the node dies before, another look ends them again.
        let numbers: Vec<_> = endings.iter().map(|ending| ending.number).collect();
        if numbers.is_empty() {
            return Ok(());
        }
        accounts.forget_endings(&numbers).await?;
    }
}
