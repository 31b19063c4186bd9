//! The budget of bytes in flight: what a node holds for its clients, counted in bytes before it is
//! held. Owns the counters and what happens at a limit; knows no request, session or connection.
//!
//! There are two pools of equal size, so that neither can starve the other:
//! - **requests**: bodies that are read, answers that are built or wait to be written, pages of
//!   catch-ups. A [`Reservation`] counts for the node, and for the user and the connection that it is
//!   for; it travels with the bytes and ends with them.
//! - **mailboxes**: events that wait for sessions, each counted once however many mailboxes share it,
//!   and the slots of mailboxes. They are counted for the node only: the mailboxes of a user are
//!   bounded by their number and size.
//!
//! Counters are relaxed atomics: no memory is published through them. A limit is never exceeded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::RandomState;

use crate::model::UserId;
use crate::protocol::{Problem, ProblemCode};

/// When to retry at a limit. Bytes are held until a client has taken them, or its deadline ends.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How many bytes may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// For the node, half of it for requests and half for mailboxes.
    pub node: usize,
    /// For the requests of one user.
    pub user: usize,
    /// For the requests on one connection.
    pub connection: usize,
}

impl Default for BudgetLimits {
    fn default() -> Self {
        Self { node: 512 << 20, user: 16 << 20, connection: 16 << 20 }
    }
}

/// What the bytes of a [`Reservation`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetKind {
    /// Bodies of requests.
    Bodies,
    /// Answers that are built or wait to be written.
    Answers,
    /// Messages that a catch-up has read and not yet put into a mailbox.
    CatchUps,
}

/// The number of [`BudgetKind`]s.
const KINDS: usize = 3;

/// The bytes in flight on one connection. Clones are the same connection.
#[derive(Clone, Debug, Default)]
pub struct ConnectionBytes(Arc<AtomicUsize>);

/// For whom bytes are in flight, as far as that is known.
#[derive(Clone, Debug, Default)]
pub struct Holder {
    /// The user; absent before a token was read.
    pub user: Option<UserId>,
    /// The connection; absent if many clients share it, as behind a proxy.
    pub connection: Option<ConnectionBytes>,
}

impl From<UserId> for Holder {
    fn from(user: UserId) -> Self {
        Self { user: Some(user), connection: None }
    }
}

/// The counters of bytes in flight of one node. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    limits: BudgetLimits,
    requests: Pool,
    mailboxes: Arc<Pool>,
    kinds: [AtomicUsize; KINDS],
    /// Users with bytes in flight; never an entry of zero.
    users: DashMap<UserId, usize, RandomState>,
    refused: AtomicU64,
    shed: AtomicU64,
}

/// The bytes in flight at one moment, and how often a limit was reached since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetReading {
    /// As [`BudgetKind::Bodies`].
    pub bodies: usize,
    /// As [`BudgetKind::Answers`].
    pub answers: usize,
    /// As [`BudgetKind::CatchUps`].
    pub catch_ups: usize,
    /// Events that wait for sessions, and the slots of mailboxes.
    pub mailboxes: usize,
    /// How many reservations were refused.
    pub refused: u64,
    /// How many mailboxes were emptied for others: their events became `resync`.
    pub shed: u64,
}

/// Bytes that are counted until this is dropped.
#[derive(Debug)]
#[must_use = "the bytes are counted until it is dropped"]
pub struct Reservation {
    budget: Budget,
    holder: Holder,
    kind: BudgetKind,
    bytes: usize,
}

impl Budget {
    /// A budget of which nothing is used.
    pub fn new(limits: BudgetLimits) -> Self {
        let pool = || Pool::new(limits.node / 2);
        Self(Arc::new(Counters {
            limits,
            requests: pool(),
            mailboxes: Arc::new(pool()),
            kinds: Default::default(),
            users: DashMap::default(),
            refused: AtomicU64::new(0),
            shed: AtomicU64::new(0),
        }))
    }

    /// Counts bytes that are about to be held. Call it before memory is taken.
    ///
    /// # Errors
    /// `rate_limited` at the limit of the user or the connection, `unavailable` at that of the node.
    /// Retry after the time that the problem states. Nothing was counted.
    pub fn reserve(
        &self,
        kind: BudgetKind,
        holder: Holder,
        bytes: usize,
    ) -> Result<Reservation, Problem> {
        let mut reservation = Reservation { budget: self.clone(), holder, kind, bytes: 0 };
        reservation.resize(bytes)?;
        Ok(reservation)
    }

    /// The bytes in flight now.
    pub fn reading(&self) -> BudgetReading {
        let kind = |kind: BudgetKind| self.0.kinds[kind as usize].load(Ordering::Relaxed);
        BudgetReading {
            bodies: kind(BudgetKind::Bodies),
            answers: kind(BudgetKind::Answers),
            catch_ups: kind(BudgetKind::CatchUps),
            mailboxes: self.0.mailboxes.used(),
            refused: self.0.refused.load(Ordering::Relaxed),
            shed: self.0.shed.load(Ordering::Relaxed),
        }
    }

    /// The pool of the mailboxes.
    pub(super) fn mailboxes(&self) -> &Arc<Pool> {
        &self.0.mailboxes
    }

    /// Counts a mailbox that was emptied for others.
    pub(super) fn count_shed(&self) {
        self.0.shed.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self, holder: &Holder, bytes: usize) -> Result<(), Problem> {
        let limits = &self.0.limits;
        let connection = holder.connection.as_ref().map(|connection| &*connection.0);
        if connection.is_some_and(|used| !take(used, bytes, limits.connection)) {
            return Err(limited("too many bytes in flight on this connection"));
        }
        if holder.user.is_some_and(|user| !self.take_for_user(user, bytes)) {
            connection.inspect(|used| give_back(used, bytes));
            return Err(limited("too many bytes in flight for this user"));
        }
        if !self.0.requests.take(bytes) {
            connection.inspect(|used| give_back(used, bytes));
            holder.user.inspect(|user| self.give_back_for_user(*user, bytes));
            let problem = Problem::new(ProblemCode::Unavailable, "too many bytes in flight");
            return Err(problem.retry_after(RETRY_AFTER));
        }
        Ok(())
    }

    fn give_back(&self, holder: &Holder, bytes: usize) {
        self.0.requests.give_back(bytes);
        if let Some(connection) = &holder.connection {
            give_back(&connection.0, bytes);
        }
        if let Some(user) = holder.user {
            self.give_back_for_user(user, bytes);
        }
    }

    fn take_for_user(&self, user: UserId, bytes: usize) -> bool {
        match self.0.users.entry(user) {
            Entry::Occupied(mut used) => {
                let fits = used.get() + bytes <= self.0.limits.user;
                *used.get_mut() += if fits { bytes } else { 0 };
                fits
            }
            Entry::Vacant(none) if bytes <= self.0.limits.user => {
                none.insert(bytes);
                true
            }
            Entry::Vacant(_) => false,
        }
    }

    fn give_back_for_user(&self, user: UserId, bytes: usize) {
        if let Entry::Occupied(mut used) = self.0.users.entry(user) {
            debug_assert!(*used.get() >= bytes, "what is given back was taken");
            *used.get_mut() -= bytes;
            if *used.get() == 0 {
                used.remove();
            }
        }
    }
}

fn limited(detail: &str) -> Problem {
    Problem::new(ProblemCode::RateLimited, detail).retry_after(RETRY_AFTER)
}

impl Reservation {
    /// How many bytes are counted.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts another number of bytes instead.
    ///
    /// # Errors
    /// As [`Budget::reserve`]: the number stays as it was. A smaller number is never refused.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Problem> {
        let counted = &self.budget.0.kinds[self.kind as usize];
        if let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) {
            self.budget.take(&self.holder, more).inspect_err(|_| {
                self.budget.0.refused.fetch_add(1, Ordering::Relaxed);
            })?;
            counted.fetch_add(more, Ordering::Relaxed);
        } else if bytes < self.bytes {
            counted.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            self.budget.give_back(&self.holder, self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Counts fewer bytes: less was held than was expected.
    pub fn shrink_to(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.bytes, "{bytes} bytes of {} that were reserved", self.bytes);
        // Never refused.
        let _ = self.resize(bytes.min(self.bytes));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// A number of bytes with a limit.
#[derive(Debug)]
pub(super) struct Pool {
    limit: usize,
    used: AtomicUsize,
}

impl Pool {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0) }
    }

    /// Counts bytes, unless they exceed the limit.
    pub(super) fn take(&self, bytes: usize) -> bool {
        take(&self.used, bytes, self.limit)
    }

    pub(super) fn give_back(&self, bytes: usize) {
        give_back(&self.used, bytes);
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The same bytes, counted until the last clone is dropped.
    ///
    /// # Errors
    /// The bytes, uncounted, if they exceed the limit.
    pub(super) fn hold(self: &Arc<Self>, bytes: Bytes) -> Result<Bytes, Bytes> {
        if !self.take(bytes.len()) {
            return Err(bytes);
        }
        Ok(Bytes::from_owner(Counted { bytes, pool: Arc::clone(self) }))
    }
}

/// Bytes that are counted in a pool.
struct Counted {
    bytes: Bytes,
    pool: Arc<Pool>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes.len());
    }
}

fn take(used: &AtomicUsize, bytes: usize, limit: usize) -> bool {
    let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

fn give_back(used: &AtomicUsize, bytes: usize) {
    let before = used.fetch_sub(bytes, Ordering::Relaxed);
    debug_assert!(before >= bytes, "what is given back was taken");
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BudgetLimits = BudgetLimits { node: 200, user: 60, connection: 40 };

    fn holder(user: u64, connection: &ConnectionBytes) -> Holder {
        Holder { user: Some(UserId::new(user)), connection: Some(connection.clone()) }
    }

    #[test]
    fn each_limit_refuses_with_its_problem_and_nothing_stays_counted() {
        let budget = Budget::new(LIMITS);
        let answers = |holder, bytes| budget.reserve(BudgetKind::Answers, holder, bytes);
        let [a, b, c] = [(); 3].map(|()| ConnectionBytes::default());
        let first = answers(holder(1, &a), 40).expect("fits");
        let refused = |holder, bytes| answers(holder, bytes).expect_err("does not fit");
        let problem = refused(holder(2, &a), 1);
        assert_eq!(problem.code, ProblemCode::RateLimited);
        assert!(problem.detail.ends_with("connection") && problem.retry_after.is_some());
        let second = answers(holder(1, &b), 20).expect("fits");
        assert!(refused(holder(1, &c), 1).detail.ends_with("user"));
        let third = answers(holder(2, &c), 40).expect("fits");
        let problem = refused(Holder::default(), 1);
        assert_eq!(problem.code, ProblemCode::Unavailable);
        assert!(problem.retry_after.is_some());
        let reading = budget.reading();
        assert_eq!((reading.answers, reading.refused), (100, 3));
        drop((first, second, third));
        assert_eq!(budget.reading(), BudgetReading { refused: 3, ..BudgetReading::default() });
        assert!(budget.0.users.is_empty());
        drop(answers(holder(1, &a), 40).expect("fits again"));
    }

    #[test]
    fn a_reservation_grows_only_within_the_limits() {
        let budget = Budget::new(LIMITS);
        let mut body = budget.reserve(BudgetKind::Bodies, UserId::new(1).into(), 10).expect("fits");
        body.resize(60).expect("fits");
        assert!(body.resize(61).is_err());
        assert_eq!((body.bytes(), budget.reading().bodies), (60, 60));
        body.shrink_to(5);
        assert_eq!(budget.reading().bodies, 5);
    }

    #[test]
    fn an_event_counts_once_until_its_last_mailbox_drops_it() {
        let budget = Budget::new(LIMITS);
        let pool = budget.mailboxes();
        let event = pool.hold(Bytes::from(vec![b'x'; 90])).expect("fits");
        let mailboxes = vec![event.clone(); 50];
        assert_eq!(budget.reading().mailboxes, 90);
        assert!(pool.hold(Bytes::from(vec![b'x'; 11])).is_err());
        drop(event);
        assert_eq!(budget.reading().mailboxes, 90);
        drop(mailboxes);
        assert_eq!(budget.reading().mailboxes, 0);
    }
}
