//! Removes expired tokens and their devices from the directory, and networks from which users have not
//! logged in for long.

use std::sync::Arc;
use std::time::Duration;

use pabal_core::ports::{Accounts, Clock, Directory, DirectoryError};

/// How many tokens one transaction removes. Other writers wait for it.
const BATCH: usize = 500;

/// How long a network is known after the last log-in from there.
pub const NETWORK_KNOWN_FOR: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Forgets the networks of old log-ins with a pause of `every`. Never returns.
pub async fn keep_forgetting_networks(
    accounts: Arc<dyn Accounts>,
    clock: Arc<dyn Clock>,
    every: Duration,
) {
    loop {
        let before = clock.now().minus(NETWORK_KNOWN_FOR);
        match accounts.forget_seen(before, BATCH).await {
            Ok(BATCH) => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot forget old networks; retrying later"),
        }
        tokio::time::sleep(every).await;
    }
}

/// Removes expired tokens with a pause of `every`. Never returns.
pub async fn keep_removing_expired(
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    every: Duration,
) {
    loop {
        match remove_expired(&*directory, &*clock).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed expired tokens"),
            Err(error) => tracing::warn!(%error, "cannot remove expired tokens; retrying later"),
        }
        tokio::time::sleep(every).await;
    }
}

async fn remove_expired(
    directory: &dyn Directory,
    clock: &dyn Clock,
) -> Result<usize, DirectoryError> {
    let mut removed = 0;
    loop {
        let some = directory.remove_expired(clock.now(), BATCH).await?;
        removed += some;
        if some < BATCH {
            return Ok(removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use pabal_core::memory::{ManualClock, MemoryDirectory};
    use pabal_core::model::{Device, DeviceId, Timestamp, TokenHash, User, UserId};
    use pabal_core::ports::Access;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const USER: UserId = UserId::new(1);

    fn access(number: u64, expires_at: Timestamp) -> Access {
        let name = String::new();
        Access {
            token: TokenHash::of(&number.to_string()),
            device: Device { device_id: DeviceId::new(number), user_id: USER, name },
            expires_at,
        }
    }

    async fn has(directory: &MemoryDirectory, number: u64) -> bool {
        directory.access(access(number, NOW).token).await.expect("the directory").is_some()
    }

    #[tokio::test]
    async fn all_expired_tokens_are_removed_and_later_ones_when_they_expire() {
        let directory = Arc::new(MemoryDirectory::default());
        let clock = Arc::new(ManualClock::at(NOW));
        let user = User {
            user_id: USER,
            username: "mina".into(),
            display_name: String::new(),
            status_text: String::new(),
            avatar_url: String::new(),
            created_at: NOW,
        };
        let hour = Duration::from_secs(3_600);
        let later = access(0, NOW.plus(hour));
        directory.sign_up(user, String::new(), later).await.expect("signs up");
        let expired = 1..=BATCH as u64 + 1;
        for number in expired.clone() {
            directory.log_in(access(number, NOW)).await.expect("logs in");
        }
        let every = Duration::from_millis(1);
        let task = tokio::spawn(keep_removing_expired(directory.clone(), clock.clone(), every));
        for number in expired {
            while has(&directory, number).await {
                tokio::task::yield_now().await;
            }
        }
        assert!(has(&directory, 0).await);
        clock.advance(hour);
        while has(&directory, 0).await {
            tokio::task::yield_now().await;
        }
        task.abort();
    }
}
