//! Short and long polling: a request a batch.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::{Instant, sleep};

use super::{Batch, Break};
use crate::account::{Account, Id, Session};
use crate::http::ANSWER_WITHIN;

/// How long a short-polling client rests after an empty answer.
const INTERVAL: Duration = Duration::from_millis(20);

/// A client that asks again and again.
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

    /// One request and its answer.
    ///
    /// # Errors
    /// [`Break`].
    pub async fn ask(&self, after: Id, wait: Duration) -> Result<Batch, Break> {
        let path = if self.long {
            self.session.path(&format!("/long-poll?after={after}&wait_ms={}", wait.as_millis()))
        } else {
            self.session.path(&format!("/poll?after={after}"))
        };
        let within = if self.long { wait + ANSWER_WITHIN } else { ANSWER_WITHIN };
        let answer = self.account.call_within(Method::GET, &path, None, within).await?;
        if answer.status != StatusCode::OK {
            return Err(Break::Refused(Box::new(answer)));
        }
        Ok(Batch::of(&answer.json))
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
