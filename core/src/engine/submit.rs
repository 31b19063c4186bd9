//! Stage 1, authorize, and the whole of a send as its client sees it.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use tracing::Instrument;

use super::sequence::not_confirmed;
use super::{Engine, Limits, RateLimiter};
use crate::model::{ChannelId, Draft, Membership, Message, UserId};
use crate::ports::{DirectoryError, Stage, Trace};
use crate::protocol::{MAX_NAME_BYTES, Problem, ProblemCode};

/// What a client asks to have said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendRequest {
    /// Where.
    pub channel_id: ChannelId,
    /// What.
    pub content: String,
    /// The client's name for it; a repetition under the same name is the same send.
    pub client_message_id: Option<String>,
}

/// A message that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message that holds this send.
    pub message: Message,
    /// It was said before; nothing was added now.
    pub repeat: bool,
}

/// A message that has its place, and is not acknowledged yet. Dropping it stops the waiting only:
/// the message goes its way.
#[must_use = "the sender waits for the outcome"]
pub struct Submission {
    engine: Engine,
    sequenced: super::sequence::Pending,
}

impl Submission {
    /// Waits until the message is durable.
    ///
    /// # Errors
    /// `not_confirmed` when the wait was too long, or history can store nothing more: repeat the send
    /// with the same `client_message_id`.
    pub async fn stored(self) -> Result<Sent, Problem> {
        let Self { engine, sequenced } = self;
        tokio::select! {
            biased;
            sent = engine.confirmed(sequenced) => sent,
            // The node stops, and nobody is left to tell what became of the message.
            () = engine.failed() => {
                engine.inner.stats.sends_not_confirmed.add(1);
                Err(not_confirmed())
            }
        }
    }
}

impl Engine {
    /// The way of a message, up to its acknowledgement. Behind `stored`, the partition's owner
    /// (`store.rs`) takes it on to `route`, and `deliver` or `push`.
    ///
    /// # Errors
    /// Those of [`begin_submit`](Self::begin_submit) and [`Submission::stored`].
    pub async fn submit(&self, from: UserId, send: SendRequest) -> Result<Sent, Problem> {
        self.begin_submit(from, send).await?.stored().await
    }

    /// Authorises, then sequences and enqueues. When this returns, the message's place among all
    /// others of the channel is fixed, so a client's sends keep their order if they are begun one
    /// after the other, though their acknowledgements are awaited together.
    ///
    /// # Errors
    /// `invalid`, `too_large`, `not_a_member`, `blocked`: do not retry. `rate_limited`,
    /// `unavailable`, `draining`: retry; nothing was said, except that after `unavailable` from a
    /// remote log it may have been.
    pub async fn begin_submit(
        &self,
        from: UserId,
        send: SendRequest,
    ) -> Result<Submission, Problem> {
        let trace = Trace::begin();
        let authorized = self.authorize(from, send).instrument(trace.stage(Stage::Authorize));
        let draft = authorized.await?;
        let span = trace.stage(Stage::Sequence);
        let sequenced = self.sequence(draft, trace).instrument(span).await?;
        Ok(Submission { engine: self.clone(), sequenced })
    }

    async fn authorize(&self, from: UserId, send: SendRequest) -> Result<Draft, Problem> {
        if self.inner.draining.is_cancelled() {
            return Err(Problem::new(ProblemCode::Draining, "this node is stopping"));
        }
        self.inner.permits.rate.check(&from, "too many messages")?;
        let SendRequest { channel_id, content, client_message_id } = send;
        let limit = self.inner.limits.content_bytes;
        if content.is_empty() {
            return Err(Problem::invalid("content", "must not be empty"));
        }
        if content.len() > limit {
            let detail = format!("content: at most {limit} bytes of UTF-8");
            return Err(Problem::new(ProblemCode::TooLarge, detail));
        }
        // An empty name would make one send of all that carry it.
        let names = 1..=MAX_NAME_BYTES;
        if client_message_id.as_ref().is_some_and(|name| !names.contains(&name.len())) {
            let detail = format!("must have 1 to {MAX_NAME_BYTES} bytes");
            return Err(Problem::invalid("client_message_id", detail));
        }
        let membership = self.membership(from, channel_id).await?;
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

    /// A user's place in a channel, believed for less than a second.
    ///
    /// # Errors
    /// `not_a_member`; `unavailable`.
    pub async fn membership(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
    ) -> Result<Arc<Membership>, Problem> {
        let directory = &self.inner.ports.directory;
        let load = directory.membership(user_id, channel_id);
        let known = self.inner.permits.memberships.try_get_with((user_id, channel_id), async {
            Ok::<_, DirectoryError>(load.await?.map(Arc::new))
        });
        match known.await {
            Ok(Some(membership)) => Ok(membership),
            Ok(None) => Err(Problem::new(ProblemCode::NotAMember, "not a member of this channel")),
            Err(error) => Err(Problem::from(&*error)),
        }
    }

    /// A membership or block was changed: what is believed about this user there is forgotten.
    pub(super) async fn forget_membership(&self, user_id: UserId, channel_id: ChannelId) {
        self.inner.permits.memberships.invalidate(&(user_id, channel_id)).await;
    }
}

/// What is believed about who may send, and how much each has sent.
pub(super) struct Permits {
    memberships: Cache<(UserId, ChannelId), Option<Arc<Membership>>>,
    rate: RateLimiter<UserId>,
}

impl Permits {
    pub(super) fn new(limits: &Limits) -> Self {
        let memberships = Cache::builder()
            .max_capacity(limits.permissions)
            .time_to_live(limits.permission_ttl)
            .build();
        let rate = limits.sends_per_second.map_or_else(RateLimiter::unlimited, |count| {
            RateLimiter::new(count, Duration::from_secs(1), count.saturating_mul(10))
        });
        Self { memberships, rate }
    }

    /// Drops what is known of senders who have been quiet, so that it does not grow for ever.
    pub(super) fn tidy(&self) {
        self.rate.tidy();
    }
}
