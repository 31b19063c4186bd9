//! Short and long polling: one request per batch.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::{Instant, sleep};

use super::{Batch, Break};
use crate::account::{Account, Id, Session};
use crate::http::RESPONSE_WITHIN;

/// How long a short-polling client pauses after an empty response.
const INTERVAL: Duration = Duration::from_millis(20);

/// A polling client.
#[derive(Debug)]
pub struct Polling {
    account: Account,
    session: Session,
    long: bool,
}

impl Polling {
    /// Short polling.
    pub fn short(account: &Account, session: &Session) -> Self {
        Self { account: account.clone(), session: session.clone(), long: false }
    }

    /// Long polling.
    pub fn long(account: &Account, session: &Session) -> Self {
        Self { long: true, ..Self::short(account, session) }
    }

    /// One request and its response.
    ///
    /// # Errors
    /// [`Break`].
    pub async fn ask(&self, after: Id, wait: Duration) -> Result<Batch, Break> {
        let path = if self.long {
            self.session.path(&format!("/long-poll?after={after}&wait_ms={}", wait.as_millis()))
        } else {
            self.session.path(&format!("/poll?after={after}"))
        };
        let within = if self.long { wait + RESPONSE_WITHIN } else { RESPONSE_WITHIN };
        let response = self.account.call_within(Method::GET, &path, None, within).await?;
        if response.status != StatusCode::OK {
            return Err(Break::Refused(Box::new(response)));
        }
        Ok(Batch::of(&response.json))
    }

    pub(super) async fn read(&mut self, after: Id, wait: Duration) -> Result<Batch, Break> {
        if self.long {
            return self.ask(after, wait).await;
        }
        let deadline = Instant::now() + wait;
        loop {
            let batch = self.ask(after, wait).await?;
            if !batch.events.is_empty() || Instant::now() + INTERVAL > deadline {
                return Ok(batch);
            }
            sleep(INTERVAL).await;
        }
    }
}
