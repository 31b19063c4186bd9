//! Stage authorize: may this user send this message now?

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::limits::Limits;
use crate::engine::membership_cache::MembershipCache;
use crate::engine::rate_limiter::RateLimiter;
use crate::model::{ChannelId, Draft, UserId};
use crate::protocol::{Problem, ProblemCode, check_name};

/// A message that a client wants to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendRequest {
    /// The channel to send to.
    pub channel_id: ChannelId,
    /// The text, in UTF-8: 1 to [`Limits::content_bytes`] bytes.
    pub content: String,
    /// The client's name for this send, 1 to [`MAX_NAME_BYTES`](crate::protocol::MAX_NAME_BYTES) bytes. A send with the same name by the same user
    /// to the same channel within 24 hours is a repeat of this one. Without a name, no send is ever a
    /// repeat.
    pub client_message_id: Option<String>,
}

/// Checks the rate, the content and the membership of a send.
pub(in crate::engine) struct Authorizer {
    memberships: Arc<MembershipCache>,
    rate: RateLimiter<UserId>,
    content_bytes: usize,
    draining: CancellationToken,
}

impl Authorizer {
    pub(in crate::engine) fn new(
        memberships: Arc<MembershipCache>,
        limits: &Limits,
        draining: CancellationToken,
    ) -> Self {
        let rate = limits.sends_per_second.map_or_else(RateLimiter::unlimited, |count| {
            RateLimiter::new(count, Duration::from_secs(1), count.saturating_mul(10))
        });
        Self { memberships, rate, content_bytes: limits.content_bytes, draining }
    }

    /// Turns a request into a draft that may be appended to the log.
    pub(super) async fn authorize(
        &self,
        from: UserId,
        send: SendRequest,
    ) -> Result<Draft, Problem> {
        if self.draining.is_cancelled() {
            return Err(Problem::new(ProblemCode::Draining, "this node is stopping"));
        }
        self.rate.check(&from, "too many messages")?;
        let SendRequest { channel_id, content, client_message_id } = send;
        self.check_content(&content)?;
        if let Some(name) = &client_message_id {
            check_name("client_message_id", name)?;
        }
        let membership = self.memberships.require(from, channel_id).await?;
        if membership.blocked {
            return Err(Problem::new(ProblemCode::Blocked, "this user does not accept messages"));
        }
        Ok(Draft {
            channel_id,
            message_from: from,
            message_to: membership.peer,
            content: content.into(),
            client_message_id: client_message_id.map(Into::into),
        })
    }

    fn check_content(&self, content: &str) -> Result<(), Problem> {
        if content.is_empty() {
            return Err(Problem::invalid("content", "must not be empty"));
        }
        let limit = self.content_bytes;
        if content.len() > limit {
            let detail = format!("content: at most {limit} bytes of UTF-8");
            return Err(Problem::new(ProblemCode::TooLarge, detail));
        }
        Ok(())
    }

    /// Forgets senders who have sent nothing for a while, so that memory does not grow.
    pub(super) fn tidy(&self) {
        self.rate.tidy();
    }
}
