//! The API service: everything over HTTP that is not a transport. One file a resource; the
//! extractors that they share are in `request` and `caller`, errors in `problem`, shared parts of
//! responses in `views`. The service is stateless: any node serves any request.

mod problem;
mod changes;
mod request;
mod held;
mod caller;
mod rules;
mod effects;
mod views;
mod users;
mod login;
mod me;
mod devices;
mod password;
mod friends;
mod blocks;
mod channels;
mod members;
mod messages;
mod sync;
mod discover;
mod health;
mod landing;
mod openapi;
mod realtime;
mod router;
#[cfg(test)]
mod counted;

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use pabal_core::engine::Engine;
use pabal_core::model::{ChannelId, Membership, UserId};
use pabal_core::ports::{Accounts, Delivery, Directory, RelationLimits};
use pabal_core::protocol::{Problem, ProblemCode};
use pabal_transports::Requests;
use tokio_util::sync::CancellationToken;

pub use caller::Caller;
pub use changes::Changes;
pub use effects::Effects;
pub use held::RequestBytes;
pub use problem::Failure;
pub use request::{ClientAddress, DirectPeer};
pub use router::{administration, document as openapi, router};
pub use rules::{password as password_rule, username_prefix as username_form};

use crate::auth::{Attempts, Passwords};
use crate::config::PublicUrl;
use crate::discovery::GeoDatabase;
use crate::revocations::Revocations;
use crate::stores::SendGate;
use crate::telemetry::Metrics;

/// The state that handlers share. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Api(Arc<Parts>);

/// The parts of an [`Api`].
pub struct Parts {
    /// The routing engine, which also gives access to every port.
    pub engine: Engine,
    /// Devices and passwords, on the store of the directory.
    pub accounts: Arc<dyn Accounts>,
    /// Hashes and verifies passwords.
    pub passwords: Passwords,
    /// Rate limits of sign-ups and log-ins.
    pub attempts: Attempts,
    /// Rate limits of requests by address and by user.
    pub requests: Requests,
    /// Counts requests and renders the metrics page.
    pub metrics: Metrics,
    /// Whether every client may see the metrics page.
    pub public_metrics: bool,
    /// Runs changes to completion although their clients disconnect.
    pub changes: Changes,
    /// Whether sends are accepted.
    pub sends: SendGate,
    /// Tells the nodes which access was taken away.
    pub revocations: Revocations,
    /// Cancelled when the node begins to drain.
    pub draining: CancellationToken,
    /// The URL by which clients reach this node, if configured.
    pub public_url: Option<PublicUrl>,
    /// Locations of addresses, if a database is configured.
    pub geo: Option<GeoDatabase>,
    /// The URL of this node for requests that name none, if none is configured.
    pub fallback_url: PublicUrl,
    /// The lifetime of a token.
    pub token_lifetime: Duration,
    /// The largest request body, in bytes.
    pub body_bytes: usize,
    /// How long a request body may take to arrive.
    pub body_timeout: Duration,
    /// Rate limits by what requests do.
    pub effects: Effects,
    /// How many channels, friends and blocks users may have.
    pub relations: RelationLimits,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Api {
    /// An API service on these parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    fn directory(&self) -> &dyn Directory {
        &*self.engine.ports().directory
    }

    /// Runs `change`, which takes access back, and waits until the nodes were told what it
    /// [recorded](Revocations); both to completion, although the client disconnects.
    async fn take_back<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Failure> {
        let revocations = self.revocations.clone();
        self.finish(async move {
            let outcome = change.await?;
            revocations.tell().await;
            Ok(outcome)
        })
        .await
    }

    /// See [`Changes::finish`].
    async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Failure> {
        self.changes.finish(work).await
    }

    /// The membership of a user in a channel, read from the directory: permission checks must not
    /// rely on the engine's cache, which may be a second old.
    ///
    /// # Errors
    /// `not_a_member`; `unavailable`, retry.
    async fn membership(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
    ) -> Result<Membership, Problem> {
        let membership = self.directory().membership(user_id, channel_id).await?;
        membership
            .ok_or_else(|| Problem::new(ProblemCode::NotAMember, "not a member of this channel"))
    }

    /// Publishes that users have joined or left a channel. On return their sessions on this node
    /// are subscribed to it, or no longer subscribed.
    async fn publish_membership(&self, channel_id: ChannelId, users: &[UserId], joined: bool) {
        for &user_id in users {
            let membership = Delivery::Membership { channel_id, user_id, joined };
            self.engine.publish(membership).await;
        }
    }
}
