//! How sessions open, are found, and end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::catch_up::{self, CatchUpReader};
use super::end_reason::EndReason;
use super::mailbox::MailboxLimits;
use super::mailbox_budget::MailboxBudget;
use super::node_interest::NodeInterest;
use super::session::Session;
use super::session_table::SessionTable;
use super::user_presence::UserPresence;
use crate::engine::limits::Limits;
use crate::engine::stats::Stats;
use crate::engine::tasks::Tasks;
use crate::model::{NodeId, SessionId, TokenHash, UserId};
use crate::ports::{Access, Clock, Directory};
use crate::protocol::{Cursors, Problem, ProblemCode, event};

/// How often the engine looks for sessions that were not read.
const SWEEP: Duration = Duration::from_millis(500);
/// How long readers have to fetch the `draining` event before their sessions end.
const DRAIN_NOTICE: Duration = Duration::from_millis(250);

/// Opens, finds and ends the sessions of this node.
pub(in crate::engine) struct SessionLifecycle {
    pub(in crate::engine) node: NodeId,
    pub(in crate::engine) limits: Limits,
    pub(in crate::engine) clock: Arc<dyn Clock>,
    pub(in crate::engine) directory: Arc<dyn Directory>,
    pub(in crate::engine) table: Arc<SessionTable>,
    pub(in crate::engine) interest: Arc<NodeInterest>,
    pub(in crate::engine) presence: Arc<UserPresence>,
    pub(in crate::engine) catch_up: CatchUpReader,
    pub(in crate::engine) mailboxes: Arc<MailboxBudget>,
    pub(in crate::engine) stats: Arc<Stats>,
    pub(in crate::engine) tasks: Tasks,
    pub(in crate::engine) draining: CancellationToken,
}

impl SessionLifecycle {
    /// See [`Engine::open_session`](crate::engine::Engine::open_session).
    ///
    /// The order makes the seam between history and live (invariant I6): the gates close, the session
    /// enters the table, its channels are read, interest is registered, history is read.
    pub(in crate::engine) async fn open(
        self: &Arc<Self>,
        access: &Access,
        cursors: Option<Cursors>,
    ) -> Result<Arc<Session>, Problem> {
        if self.draining.is_cancelled() {
            return Err(Problem::new(ProblemCode::Draining, "this node is stopping"));
        }
        if let Some(cursors) = &cursors {
            self.limits.check_channel_count(cursors.len())?;
        }
        let limits = &self.limits;
        if self.table.count() >= limits.sessions {
            let problem = Problem::new(ProblemCode::Unavailable, "node at session capacity");
            return Err(problem.retry_after(Duration::from_secs(1)));
        }
        let capacity = MailboxLimits { events: limits.mailbox_events, bytes: limits.mailbox_bytes };
        let id = SessionId::generate(self.node.clone());
        let reserve = || self.catch_up.reserve(access.device.user_id);
        let reserved = cursors.is_some().then(reserve).transpose()?;
        let session = Arc::new(Session::new(id, access, capacity, self.mailboxes.pool()));
        let catch_ups = cursors.map(|cursors| catch_up::begin(&session, cursors));
        self.table.insert(&session, limits.sessions_per_user).map_err(|_| {
            let detail = format!("at most {} sessions at once", limits.sessions_per_user);
            Problem::new(ProblemCode::RateLimited, detail).retry_after(limits.resume_window)
        })?;
        let guard = OpeningGuard { lifecycle: self, session: Some(&session) };
        // A drain may have listed the sessions before this one entered the table.
        if self.draining.is_cancelled() {
            return Err(EndReason::Draining.into());
        }
        self.subscribe(&session).await?;
        if let Some((catch_ups, reserved)) = catch_ups.zip(reserved) {
            self.catch_up.finish(&session, catch_ups, Ok(reserved)).await;
        }
        guard.opened();
        self.stats.sessions_opened.add(1);
        Ok(session)
    }

    async fn subscribe(&self, session: &Arc<Session>) -> Result<(), Problem> {
        // Presence comes first: a change of a membership or of a token that happens after the calls
        // below is sent to the nodes of the user, so this node must be one of them by then.
        self.presence.join(session).await?;
        if self.directory.access(session.token()).await?.is_none() {
            return Err(EndReason::LoggedOut.into());
        }
        let memberships = self.directory.memberships(session.user_id()).await?;
        let channels = memberships.iter().map(|membership| membership.channel.channel_id);
        self.interest.subscribe(session, channels).await?;
        Ok(())
    }

    /// See [`Engine::session`](crate::engine::Engine::session).
    pub(in crate::engine) async fn find(
        &self,
        id: &SessionId,
        token: TokenHash,
    ) -> Result<Arc<Session>, Problem> {
        let session = self.table.session(id);
        if let Some(session) = &session
            && session.token() == token
            && self.clock.now() < session.expires_at()
        {
            return Ok(Arc::clone(session));
        }
        let access = self.authenticate(token).await?;
        match session {
            Some(session) if session.user_id() == access.device.user_id => Ok(session),
            Some(_) => Err(Problem::new(ProblemCode::Forbidden, "this is another user's session")),
            None => Err(EndReason::Expired.into()),
        }
    }

    /// See [`Engine::authenticate`](crate::engine::Engine::authenticate).
    pub(in crate::engine) async fn authenticate(
        &self,
        token: TokenHash,
    ) -> Result<Access, Problem> {
        let access = self.directory.access(token).await?;
        let now = self.clock.now();
        access.filter(|access| now < access.expires_at).ok_or_else(|| {
            let detail = "the token is unknown, expired or revoked: log in";
            Problem::new(ProblemCode::Unauthenticated, detail)
        })
    }

    /// See [`Engine::catch_up`](crate::engine::Engine::catch_up).
    pub(in crate::engine) async fn catch_up(&self, session: &Arc<Session>, cursors: Cursors) {
        let reserved = self.catch_up.reserve(session.user_id());
        self.catch_up.finish(session, catch_up::begin(session, cursors), reserved).await;
    }

    /// Ends a session, and waits until it is removed. Removal continues if the caller is dropped.
    pub(in crate::engine) async fn end(&self, session: &Arc<Session>, reason: EndReason) {
        if session.end(reason) {
            self.remove(vec![Arc::clone(session)]).await;
        }
    }

    /// See [`Engine::end_sessions`](crate::engine::Engine::end_sessions).
    pub(in crate::engine) async fn end_sessions(&self, user_id: UserId, token: Option<TokenHash>) {
        for session in self.table.of_user(user_id) {
            if token.is_none_or(|token| session.token() == token) {
                self.end(&session, EndReason::LoggedOut).await;
            }
        }
    }

    /// Ends all sessions at once: none of them receives another event. Returns the sessions that
    /// [`remove`](Self::remove) has to remove.
    pub(in crate::engine) fn end_all(&self, reason: EndReason) -> Vec<Arc<Session>> {
        let mut ended = self.table.all();
        ended.retain(|session| session.end(reason));
        ended
    }

    /// Removes sessions that have ended, and waits for that. Continues if the caller is dropped.
    pub(in crate::engine) async fn remove(&self, ended: Vec<Arc<Session>>) {
        self.tasks.complete(self.removal(ended)).await;
    }

    /// Removes sessions that have ended, in a task of its own.
    pub(in crate::engine) fn remove_in_background(&self, ended: Vec<Arc<Session>>) {
        self.tasks.spawn(self.removal(ended));
    }

    fn removal(&self, ended: Vec<Arc<Session>>) -> impl Future<Output = ()> + Send + use<> {
        let (interest, presence) = (Arc::clone(&self.interest), Arc::clone(&self.presence));
        async move {
            for session in ended {
                debug_assert!(session.ended().is_some(), "only an ended session is removed");
                if interest.remove(&session).await {
                    presence.leave(session.user_id()).await;
                }
            }
        }
    }

    /// Ends the sessions that were not read for the length of the resume window. Never returns.
    pub(in crate::engine) async fn expire(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let now = Instant::now();
            for session in self.table.all() {
                if session.idle_for(now).is_some_and(|idle| idle > self.limits.resume_window) {
                    self.stats.sessions_expired.add(1);
                    self.end(&session, EndReason::Expired).await;
                }
            }
        }
    }

    /// See [`Engine::drain`](crate::engine::Engine::drain). `next_url` draws the node to which a
    /// client is sent.
    pub(in crate::engine) async fn drain(
        &self,
        reconnect_after: Duration,
        next_url: impl Fn() -> Option<String>,
    ) {
        debug_assert!(self.draining.is_cancelled(), "no session opens while the others end");
        let within = u64::try_from(reconnect_after.as_millis()).unwrap_or(u64::MAX);
        let accepted_at = self.clock.now();
        let sessions = self.table.all();
        for session in &sessions {
            // Each client at a moment of its own and by free capacity, or all would reconnect to one
            // node at once.
            let millis = rand::random_range(0..=within);
            let payload = event::draining(millis, next_url().as_deref());
            session.append_event(self.mailboxes.event(payload, accepted_at), None);
        }
        if !sessions.is_empty() {
            tokio::time::sleep(DRAIN_NOTICE).await;
        }
        // All end before the first is removed, which may take a while.
        let ended = self.end_all(EndReason::Draining);
        self.remove(ended).await;
    }
}

/// Ends a session whose opening failed or was cancelled.
struct OpeningGuard<'a> {
    lifecycle: &'a Arc<SessionLifecycle>,
    session: Option<&'a Arc<Session>>,
}

impl OpeningGuard<'_> {
    fn opened(mut self) {
        self.session = None;
    }
}

impl Drop for OpeningGuard<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            let (lifecycle, session) = (Arc::clone(self.lifecycle), Arc::clone(session));
            self.lifecycle
                .tasks
                .spawn(async move { lifecycle.end(&session, EndReason::Closed).await });
        }
    }
}
