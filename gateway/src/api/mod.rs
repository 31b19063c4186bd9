//! The API service: everything over HTTP that is not a transport. A file a resource; what they all
//! need to read a request and write an answer is in `request` and `problem`. It holds no state of
//! its own: any node answers.

mod problem;
mod changes;
mod request;
mod rules;
mod views;
mod users;
mod login;
mod me;
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

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use pabal_core::engine::Engine;
use pabal_core::model::{ChannelId, Membership, UserId};
use pabal_core::ports::{Delivery, Directory};
use pabal_core::protocol::{Problem, ProblemCode};
use pabal_transports::Requests;
use tokio_util::sync::CancellationToken;

pub use changes::Changes;
pub use openapi::document as openapi;
pub use problem::Failure;
pub use request::ClientAddress;
pub use router::{administration, router};
pub use rules::{password as password_rule, username_prefix as username_form};

use crate::auth::{Attempts, Passwords};
use crate::config::PublicUrl;
use crate::discovery::Places;
use crate::telemetry::Metrics;

/// What the handlers work with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api(Arc<Parts>);

/// What an [`Api`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// The routing engine, and through it every port.
    pub engine: Engine,
    /// Makes and checks password hashes.
    pub passwords: Passwords,
    /// How often they may be tried.
    pub attempts: Attempts,
    /// How often clients may ask at all.
    pub requests: Requests,
    /// Counts requests and renders the metrics page.
    pub metrics: Metrics,
    /// Work that ends although its client has gone.
    pub changes: Changes,
    /// The node is about to stop.
    pub draining: CancellationToken,
    /// How clients reach this node, if that was configured.
    pub public_url: Option<PublicUrl>,
    /// Where clients are by their addresses, if that can be known.
    pub places: Option<Places>,
    /// How they reach it if neither configuration nor request tells.
    pub fallback_url: PublicUrl,
    /// For how long a token is valid.
    pub token_lifetime: Duration,
    /// The longest request body.
    pub body_bytes: usize,
    /// How long a request body may take to arrive.
    pub body_timeout: Duration,
    /// As many members as a group may have.
    pub group_members: usize,
}

impl Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Api {
    /// The service on these parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    fn directory(&self) -> &dyn Directory {
        &*self.engine.ports().directory
    }

    /// See [`Changes::finish`].
    async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Failure> {
        self.changes.finish(work).await
    }

    /// A user's place in a channel as the directory has it now, for decisions that must not rest on
    /// what was true a second ago.
    async fn membership(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
    ) -> Result<Membership, Problem> {
        let membership = self.directory().membership(user_id, channel_id).await?;
        membership
            .ok_or_else(|| Problem::new(ProblemCode::NotAMember, "not a member of this channel"))
    }

    /// Tells the engine that users came to a channel or left it. On return their sessions are
    /// subscribed, or not any more.
    async fn publish_membership(&self, channel_id: ChannelId, users: &[UserId], joined: bool) {
        for &user_id in users {
            let membership = Delivery::Membership { channel_id, user_id, joined };
            self.engine.publish(membership).await;
        }
    }
}
