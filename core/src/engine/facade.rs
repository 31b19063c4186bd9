//! The engine as transports and the gateway see it: each method calls the part that does the work.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::channel_queries::ChannelQueries;
use super::channel_sync::Synced;
use super::limits::Limits;
use super::membership_cache::MembershipCache;
use super::message::{MessagePath, SendRequest, Sent, Submission};
use super::partitions::LiveNodes;
use super::publisher::Publisher;
use super::sessions::{EndReason, Session, SessionLifecycle, SessionTable};
use super::stats::{EngineStats, Stats};
use super::tasks::Tasks;
use crate::model::{ChannelId, Membership, MessageId, NodeId, SessionId, TokenHash, UserId};
use crate::ports::{Access, BoxFuture, Delivery, NodeInfo, Page, PageFrom, Ports, RegistryError};
use crate::protocol::{Command, Cursors, Problem};

/// A running node's engine. Cheap to clone; all clones are the same engine.
///
/// # Errors
/// Methods return a [`Problem`], whose code tells a client whether to retry. `unavailable`,
/// `rate_limited`, `draining` and `not_confirmed` are worth a retry after the time that the problem
/// names; all others are not.
///
/// # Futures
/// Methods that do much return boxed futures: what they run is then compiled once, here, and not in
/// every crate that awaits them. An allocation is little beside what they do. What a poll calls returns
/// plain futures.
///
/// # Cancellation
/// A future may be dropped. What it began and must not leave half done (the end of a session, a
/// publication) continues in a task of the engine.
#[derive(Clone)]
pub struct Engine {
    pub(super) inner: Arc<Inner>,
}

/// What the methods of an engine call.
pub(super) struct Inner {
    pub(super) node: NodeId,
    pub(super) limits: Limits,
    pub(super) ports: Ports,
    pub(super) path: Arc<MessagePath>,
    pub(super) table: Arc<SessionTable>,
    pub(super) sessions: Arc<SessionLifecycle>,
    pub(super) queries: Arc<ChannelQueries>,
    pub(super) budget: Budget,
    pub(super) memberships: Arc<MembershipCache>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) nodes: LiveNodes,
    pub(super) stats: Arc<Stats>,
    pub(super) tasks: Tasks,
    pub(super) draining: CancellationToken,
    pub(super) failed: CancellationToken,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("node", &self.inner.node).finish_non_exhaustive()
    }
}

/// The life of a node.
impl Engine {
    /// The name of this node.
    pub fn node(&self) -> &NodeId {
        &self.inner.node
    }

    /// The limits of this node.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// What the node holds for its clients, in bytes.
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// The ports with which the engine was started.
    pub fn ports(&self) -> &Ports {
        &self.inner.ports
    }

    /// The counters since the start, and the number of sessions and partitions now.
    pub fn stats(&self) -> EngineStats {
        self.inner.stats.read(self.inner.table.count(), self.inner.nodes.owned_partitions())
    }

    /// Completes when the engine cannot continue, because history cannot make a write durable. The
    /// process must stop and recover from disk.
    pub async fn failed(&self) {
        self.inner.failed.cancelled().await;
    }

    /// Prepares the node to stop. From now on new sessions and sends are refused with `draining`;
    /// what was accepted is still acknowledged.
    ///
    /// Each session receives a `draining` event, which names another node and a moment within
    /// `reconnect_after` at which to reconnect, and ends shortly after. Returns when the other nodes
    /// can own the partitions of this one. If there is no other node, this one keeps them until
    /// [`shutdown`](Self::shutdown).
    pub fn drain(&self, reconnect_after: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.inner.draining.cancel();
            let next_url = || self.inner.nodes.other_urls(1).pop();
            self.inner.sessions.drain(reconnect_after, next_url).await;
            self.inner.nodes.handed_over().await;
        })
    }

    /// Ends all tasks and releases the partitions of the node. A message that is not acknowledged by
    /// now is not acknowledged by this node.
    pub fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.inner.tasks.shutdown().await;
        })
    }

    /// The URLs of up to `limit` other nodes to which clients of this node may go. Drawn at random,
    /// weighted by free capacity; draining and full nodes are left out.
    pub fn other_node_urls(&self, limit: usize) -> Vec<String> {
        self.inner.nodes.other_urls(limit)
    }

    /// What the registry knows of a node; absent if the node is not alive.
    ///
    /// # Errors
    /// [`RegistryError`] if the node was not in the last list and the registry is unavailable. Retry.
    pub fn find_node<'a>(
        &'a self,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<Option<NodeInfo>, RegistryError>> {
        Box::pin(async move { self.inner.nodes.find(node).await })
    }
}

/// Sending. The way of a message is `engine/message/mod.rs`.
impl Engine {
    /// Sends a message, and waits until it is durable.
    ///
    /// A send with a `client_message_id` may be repeated after any error or timeout, on any node: the
    /// channel holds one message, and every repeat returns it (invariant I4).
    ///
    /// # Errors
    /// Those of [`begin_submit`](Self::begin_submit) and [`Submission::stored`].
    pub async fn submit(&self, from: UserId, send: SendRequest) -> Result<Sent, Problem> {
        self.begin_submit(from, send).await?.stored().await
    }

    /// Authorises a message and appends it to the log. When this returns, its order among the
    /// messages of the channel is fixed. A client's sends therefore keep their order if they begin
    /// one after the other, even if their acknowledgements are awaited together.
    ///
    /// # Errors
    /// `invalid`, `too_large`, `not_a_member`, `blocked`: do not retry. `rate_limited`, `draining`,
    /// `unavailable`: retry. Nothing was appended, except that after `unavailable` from a remote log
    /// the message may have been.
    pub fn begin_submit(
        &self,
        from: UserId,
        send: SendRequest,
    ) -> BoxFuture<'_, Result<Submission, Problem>> {
        Box::pin(async move { self.inner.path.accept(from, send).await })
    }

    /// Sends a delivery that is no message to the nodes that it concerns. When this returns, it is in
    /// their inboxes, before everything that is routed to them later. It gets there even if the
    /// caller is dropped.
    ///
    /// While presence or interest is unavailable, this waits, and ends without sending if the engine
    /// shuts down. Up to 1,024 events, such as `typing`, may be on their way; further events are
    /// dropped and counted. A change of who receives what is never dropped, so its caller limits how
    /// many are on their way.
    pub fn publish(&self, delivery: Delivery) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.inner.publisher.publish(delivery).await;
        })
    }
}

/// Sessions.
impl Engine {
    /// Opens a session for the device of `access`. With `cursors`, the messages above them come
    /// first, as ordinary events; without, the session starts with the next event.
    ///
    /// # Errors
    /// `invalid` for too many channels, `unauthenticated` if the token was revoked meanwhile: do not
    /// retry. `rate_limited` if the user has as many sessions or bytes in flight as allowed,
    /// `draining`, `unavailable`: retry.
    pub fn open_session<'a>(
        &'a self,
        access: &'a Access,
        cursors: Option<Cursors>,
    ) -> BoxFuture<'a, Result<Arc<Session>, Problem>> {
        Box::pin(async move { self.inner.sessions.open(access, cursors).await })
    }

    /// The session `id`, for the holder of `token`: the token that opened it, or another token of the
    /// same user.
    ///
    /// # Errors
    /// `unauthenticated`, `session_gone`, `forbidden` for another user's session: do not retry.
    /// `unavailable`: retry.
    pub async fn session(&self, id: &SessionId, token: TokenHash) -> Result<Arc<Session>, Problem> {
        self.inner.sessions.find(id, token).await
    }

    /// The user and device of a token.
    ///
    /// # Errors
    /// `unauthenticated`: do not retry. `unavailable`: retry.
    pub async fn authenticate(&self, token: TokenHash) -> Result<Access, Problem> {
        self.inner.sessions.authenticate(token).await
    }

    /// Delivers what channels hold above `cursors`, as ordinary events of a session. A channel gets
    /// one `resync` instead if it holds more than the mailbox has capacity for, if the session has
    /// already received later messages of it, if history is unavailable, if too many bytes are in
    /// flight, or if the caller is dropped before its turn came.
    pub fn catch_up<'a>(
        &'a self,
        session: &'a Arc<Session>,
        cursors: Cursors,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.inner.sessions.catch_up(session, cursors).await;
        })
    }

    /// Ends a session that its client no longer needs.
    pub fn close_session<'a>(&'a self, session: &'a Arc<Session>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.inner.sessions.end(session, EndReason::Closed).await;
        })
    }

    /// Ends the sessions of a token, or all of a user's, on this node.
    pub fn end_sessions(&self, user_id: UserId, token: Option<TokenHash>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.inner.sessions.end_sessions(user_id, token).await;
        })
    }
}

/// Channels.
impl Engine {
    /// The membership of a user in a channel. It may be cached for
    /// [`Limits::permission_ttl`], so for that long a change on another node may not be seen.
    ///
    /// # Errors
    /// `not_a_member`: do not retry. `unavailable`: retry.
    pub async fn membership(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
    ) -> Result<Arc<Membership>, Problem> {
        self.inner.memberships.require(user_id, channel_id).await
    }

    /// A page of a channel's history, at most `limit` messages and
    /// [`Limits::page_bytes`], for a member.
    ///
    /// # Errors
    /// `not_a_member`: do not retry. `unavailable`: retry.
    pub fn page(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
        from: PageFrom,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, Problem>> {
        Box::pin(async move { self.inner.queries.page(user_id, channel_id, from, limit).await })
    }

    /// What the channels of a user hold above `cursors`: at most `limit` messages a channel and
    /// [`Limits::sync_bytes`] in all. For a channel without a cursor it returns the newest message. A
    /// channel of which the user is not a member is reported as gone.
    ///
    /// Channels come in the order of their ids. What does not fit continues after
    /// [`Synced::next`], which is the `after` of the next call.
    ///
    /// # Errors
    /// `invalid` for more than [`Limits::channels_per_request`] cursors: do not retry. `unavailable`:
    /// retry.
    pub fn sync<'a>(
        &'a self,
        user_id: UserId,
        cursors: &'a Cursors,
        after: Option<ChannelId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Synced, Problem>> {
        Box::pin(async move { self.inner.queries.sync(user_id, cursors, after, limit).await })
    }

    /// Notifies the other members that a user is typing. Sessions that are connected now receive it;
    /// it is not stored.
    ///
    /// # Errors
    /// `not_a_member`: do not retry. `unavailable`: retry.
    pub fn typing(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
    ) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move { self.inner.queries.typing(user_id, channel_id).await })
    }

    /// Records that a user has read a channel up to a message, and notifies all members, with the
    /// user's other devices; only these if the user does not share read positions. A position below
    /// the recorded one changes nothing.
    ///
    /// # Errors
    /// `not_a_member`, `invalid` above the newest message: do not retry. `unavailable`: retry.
    pub fn read(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move { self.inner.queries.mark_read(user_id, channel_id, message_id).await })
    }

    /// Runs a command other than a send, for which there is [`submit`](Self::submit).
    ///
    /// # Errors
    /// Those of the command. `invalid` for a send.
    pub fn run_command(
        &self,
        user_id: UserId,
        command: Command,
    ) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            match command {
                Command::Typing { channel_id } => self.typing(user_id, channel_id).await,
                Command::Read { channel_id, message_id } => {
                    self.read(user_id, channel_id, message_id).await
                }
                Command::Send { .. } => Err(Problem::invalid("type", "is a send")),
            }
        })
    }
}
