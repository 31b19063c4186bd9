//! Opening, finding and ending sessions, and everything that follows them: what the node wants of
//! the others, who is present, and who is told.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::Engine;
use super::catch_up::begin_catch_up;
use super::mailbox::{Event, Room};
use super::session::{EndReason, Session};
use crate::model::{ChannelId, FriendState, SessionId, TokenHash, UserId};
use crate::ports::{Access, Audience, Delivery, PresenceError};
use crate::protocol::{Cursors, Problem, ProblemCode, event};

/// How often sessions are looked at that nobody reads.
const SWEEP: Duration = Duration::from_millis(500);
/// How long the node waits before it gives a presence back again that it could not.
pub(super) const RETRY: Duration = Duration::from_millis(500);
/// As many users' turns as may be taken at the same time.
const TURNS: usize = 64;
/// How long readers get to fetch the announcement of a drain before their sessions end.
const DRAIN_NOTICE: Duration = Duration::from_millis(250);

impl Engine {
    /// Opens a session for the holder of `access`. With `cursors`, what their channels hold beyond
    /// them comes first, as ordinary events; without, the session starts at now.
    ///
    /// The channels it catches up with wait from the beginning; it is entered, then its channels are
    /// read, then its node's interest is joined, then history is read (invariant I6): no message can
    /// fall between.
    ///
    /// # Errors
    /// `invalid` for too many channels; `rate_limited` at the user's bound of sessions;
    /// `unauthenticated` if the token was ended meanwhile; `draining`; `unavailable`.
    pub async fn open_session(
        &self,
        access: &Access,
        cursors: Option<Cursors>,
    ) -> Result<Arc<Session>, Problem> {
        if self.inner.draining.is_cancelled() {
            return Err(Problem::new(ProblemCode::Draining, "this node is stopping"));
        }
        if let Some(cursors) = &cursors {
            self.check_channel_count(cursors.len())?;
        }
        let limits = &self.inner.limits;
        if self.inner.local.count() >= limits.sessions {
            let problem = Problem::new(ProblemCode::Unavailable, "this node has no room");
            return Err(problem.retry_after(Duration::from_secs(1)));
        }
        let room = Room { events: limits.mailbox_events, bytes: limits.mailbox_bytes };
        let id = SessionId::generate(self.inner.node.clone());
        let session = Arc::new(Session::new(id, access, room));
        let catch_ups = cursors.map(|cursors| begin_catch_up(&session, cursors));
        self.inner.local.enter(&session, limits.sessions_per_user).map_err(|()| {
            let detail = format!("at most {} sessions at once", limits.sessions_per_user);
            Problem::new(ProblemCode::RateLimited, detail).retry_after(limits.resume_window)
        })?;
        let guard = OpeningGuard { engine: self, session: Some(&session) };
        // A drain that began meanwhile may have looked for sessions before this one was entered.
        if self.inner.draining.is_cancelled() {
            return Err(EndReason::Draining.into());
        }
        self.subscribe(&session).await?;
        if let Some(catch_ups) = catch_ups {
            self.finish_catch_up(&session, catch_ups).await;
        }
        guard.opened();
        self.inner.stats.sessions_opened.add(1);
        Ok(session)
    }

    async fn subscribe(&self, session: &Arc<Session>) -> Result<(), Problem> {
        let Ports { presence, interest, directory } = Ports::of(self);
        let (node, user_id) = (&self.inner.node, session.user_id());
        // Present first: whoever changes a membership or ends a token from here on tells this node.
        let came = {
            let _turn = self.inner.present.turn(user_id).await;
            if let Some(ended) = session.ended() {
                // It was taken out, so nobody would take the presence back.
                return Err(ended.into());
            }
            presence.join(node, user_id).await?
        };
        if came {
            self.announce_presence(user_id, true);
        }
        if directory.access(session.token()).await?.is_none() {
            return Err(EndReason::LoggedOut.into());
        }
        let memberships = directory.memberships(user_id).await?;
        {
            let _one_at_a_time = self.inner.interest.lock().await;
            let channels = memberships.iter().map(|membership| membership.channel.channel_id);
            let first = self.inner.local.subscribe(session, channels);
            if !first.is_empty()
                && let Err(error) = interest.join(node, &first).await
            {
                // The next session of these channels must try again.
                self.inner.local.unsubscribe(session);
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// The session `id` of the holder of `token`. A token other than the one it was opened with
    /// will do, if it is of the same user.
    ///
    /// # Errors
    /// `unauthenticated`; `session_gone`; `forbidden` for somebody else's; `unavailable`.
    pub async fn session(&self, id: &SessionId, token: TokenHash) -> Result<Arc<Session>, Problem> {
        let session = self.inner.local.session(id);
        if let Some(session) = &session
            && session.token() == token
            && self.inner.ports.clock.now() < session.expires_at()
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

    /// Whose `token` is.
    ///
    /// # Errors
    /// `unauthenticated`; `unavailable`.
    pub async fn authenticate(&self, token: TokenHash) -> Result<Access, Problem> {
        let access = self.inner.ports.directory.access(token).await?;
        let now = self.inner.ports.clock.now();
        access.filter(|access| now < access.expires_at).ok_or_else(|| {
            let detail = "the token is unknown, or has ended: log in";
            Problem::new(ProblemCode::Unauthenticated, detail)
        })
    }

    /// Ends a session that its client wants no more.
    pub async fn close_session(&self, session: &Arc<Session>) {
        self.end(session, EndReason::Closed).await;
    }

    /// Ends the sessions of a token, or all of a user's, on this node and at once.
    pub async fn end_sessions(&self, user_id: UserId, token: Option<TokenHash>) {
        for session in self.inner.local.of_user(user_id) {
            if token.is_none_or(|token| session.token() == token) {
                self.end(&session, EndReason::LoggedOut).await;
            }
        }
    }

    pub(super) async fn end_all(&self, reason: EndReason) {
        // All are told before the first is cleared away, which may take its time.
        let ended = self.tell_all(reason);
        let engine = self.clone();
        self.complete(async move { engine.clear_away(&ended).await }).await;
    }

    /// No session that is here gets anything more, from now on. Answers those that have to be
    /// [cleared away](Self::clear_away).
    pub(super) fn tell_all(&self, reason: EndReason) -> Vec<Arc<Session>> {
        let mut ended = self.inner.local.all();
        ended.retain(|session| session.end(reason));
        ended
    }

    pub(super) async fn clear_away(&self, ended: &[Arc<Session>]) {
        for session in ended {
            self.remove(session).await;
        }
    }

    async fn end(&self, session: &Arc<Session>, reason: EndReason) {
        if session.end(reason) {
            let (engine, session) = (self.clone(), Arc::clone(session));
            self.complete(async move { engine.remove(&session).await }).await;
        }
    }

    async fn remove(&self, session: &Arc<Session>) {
        let user_id = session.user_id();
        let removed = {
            let _one_at_a_time = self.inner.interest.lock().await;
            let removed = self.inner.local.remove(session);
            let (interest, node) = (&self.inner.ports.interest, &self.inner.node);
            if !removed.unwanted.is_empty()
                && let Err(error) = interest.leave(node, &removed.unwanted).await
            {
                // Needless copies until the next leave or the end of the lease; no harm.
                tracing::warn!(%error, "interest is away");
            }
            removed
        };
        if removed.user_gone && self.leave_presence(user_id).await.is_err() {
            // The lease of a node that lives never ends, so this one has to be given back.
            let engine = self.clone();
            self.spawn(async move {
                while engine.leave_presence(user_id).await.is_err() {
                    tokio::time::sleep(RETRY).await;
                }
            });
        }
    }

    /// A user whose last session here has ended is present no more, unless they have another by now.
    async fn leave_presence(&self, user_id: UserId) -> Result<(), PresenceError> {
        let _turn = self.inner.present.turn(user_id).await;
        if !self.inner.local.of_user(user_id).is_empty() {
            return Ok(());
        }
        let presence = &self.inner.ports.presence;
        let left = presence.leave(&self.inner.node, user_id).await;
        match &left {
            Ok(true) => self.announce_presence(user_id, false),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "presence is away"),
        }
        left.map(drop)
    }

    /// Tells a user's friends, beside the way of the caller.
    fn announce_presence(&self, user_id: UserId, online: bool) {
        let engine = self.clone();
        self.spawn(async move {
            let (directory, presence) =
                (&engine.inner.ports.directory, &engine.inner.ports.presence);
            let told = async {
                if !directory.settings(user_id).await?.share_presence {
                    return Ok(Vec::new());
                }
                let friends = directory.friends(user_id).await?;
                let friends = friends.iter().filter(|friend| friend.state == FriendState::Friends);
                Ok::<_, crate::ports::DirectoryError>(friends.map(|f| f.user_id).collect())
            };
            let friends: Vec<_> = match told.await {
                Ok(friends) => friends,
                Err(error) => return tracing::warn!(%error, "friends were not told of a presence"),
            };
            // What is no longer so is not told: whoever changed it tells, and what friends hear last
            // is true.
            let is_online = presence.online(&[user_id]).await;
            if friends.is_empty() || is_online.is_ok_and(|is_online| is_online != [online]) {
                return;
            }
            let event = event::presence(user_id, online);
            let audience = Audience::Users(friends);
            engine.publish(Delivery::Event { audience, event }).await;
        });
    }

    pub(super) fn check_channel_count(&self, count: usize) -> Result<(), Problem> {
        let at_most = self.inner.limits.channels_per_request;
        if count > at_most {
            return Err(Problem::invalid("channels", format!("at most {at_most} at once")));
        }
        Ok(())
    }
}

/// Serialises what this node tells the presence port of one user, by hash: a leave must not overtake
/// a join.
#[derive(Debug)]
pub(super) struct Present(Box<[Mutex<()>]>);

impl Default for Present {
    fn default() -> Self {
        Self((0..TURNS).map(|_| Mutex::default()).collect())
    }
}

impl Present {
    pub(super) async fn turn(&self, user_id: UserId) -> MutexGuard<'_, ()> {
        let hash = FixedState::default().hash_one(user_id);
        self.0[hash as usize % TURNS].lock().await
    }
}

/// The ports that follow sessions.
struct Ports<'a> {
    presence: &'a Arc<dyn crate::ports::Presence>,
    interest: &'a Arc<dyn crate::ports::Interest>,
    directory: &'a Arc<dyn crate::ports::Directory>,
}

impl<'a> Ports<'a> {
    fn of(engine: &'a Engine) -> Self {
        let ports = &engine.inner.ports;
        let (presence, interest) = (&ports.presence, &ports.interest);
        Self { presence, interest, directory: &ports.directory }
    }
}

/// Takes a session out again whose opening failed or was given up half-way.
struct OpeningGuard<'a> {
    engine: &'a Engine,
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
            let (engine, session) = (self.engine.clone(), Arc::clone(session));
            self.engine.spawn(async move { engine.end(&session, EndReason::Closed).await });
        }
    }
}

/// A user came to a channel or left it.
pub(super) async fn change_membership(
    engine: &Engine,
    channel_id: ChannelId,
    user_id: UserId,
    joined: bool,
) {
    let inner = &engine.inner;
    let _one_at_a_time = inner.interest.lock().await;
    let wanted = if joined {
        inner.local.join(user_id, channel_id)
    } else {
        !inner.local.leave(user_id, channel_id)
    };
    // Whoever announced the membership joined interest for this node, perhaps for nobody.
    let interest = &inner.ports.interest;
    let told = if wanted {
        interest.join(&inner.node, &[channel_id]).await
    } else {
        interest.leave(&inner.node, &[channel_id]).await
    };
    if let Err(error) = told {
        tracing::warn!(%error, "interest is away");
    }
}

/// A channel is no more.
pub(super) async fn end_channel(engine: &Engine, channel_id: ChannelId) {
    let _one_at_a_time = engine.inner.interest.lock().await;
    engine.inner.local.end_channel(channel_id);
    let interest = &engine.inner.ports.interest;
    if let Err(error) = interest.leave(&engine.inner.node, &[channel_id]).await {
        tracing::warn!(%error, "interest is away");
    }
}

/// Ends the sessions that nobody has read for the length of the resume window.
pub(super) async fn expire(engine: Engine) {
    let mut rounds = 0u32;
    loop {
        tokio::time::sleep(SWEEP).await;
        let (now, window) = (Instant::now(), engine.inner.limits.resume_window);
        for session in engine.inner.local.all() {
            if session.idle_for(now).is_some_and(|idle| idle > window) {
                engine.inner.stats.sessions_expired.add(1);
                engine.end(&session, EndReason::Expired).await;
            }
        }
        rounds = rounds.wrapping_add(1);
        if rounds.is_multiple_of(20) {
            engine.inner.permits.tidy();
            engine.inner.sequencer.tidy(now);
        }
    }
}

/// See [`Engine::drain`].
pub(super) async fn drain(engine: &Engine, reconnect_after: Duration) {
    engine.inner.draining.cancel();
    let within = u64::try_from(reconnect_after.as_millis()).unwrap_or(u64::MAX);
    let accepted_at = engine.inner.ports.clock.now();
    let sessions = engine.inner.local.all();
    for session in &sessions {
        // Each at a moment of its own and where there is room, or they would come back as a crowd.
        let millis = rand::random_range(0..=within);
        let url = engine.elsewhere(1).pop();
        let event = Event { payload: event::draining(millis, url.as_deref()), accepted_at };
        session.push_event(event, None);
    }
    if !sessions.is_empty() {
        tokio::time::sleep(DRAIN_NOTICE).await;
    }
    engine.end_all(EndReason::Draining).await;
}
