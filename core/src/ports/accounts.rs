//! Accounts as an operator changes them, while nodes run on the same store.

use super::BoxFuture;
use super::directory::{Access, DirectoryError};
use crate::model::{User, UserId};

type Answer<'a, T> = BoxFuture<'a, Result<T, DirectoryError>>;

/// What an operator does with accounts, on the store of the [`Directory`](super::Directory). Every
/// method is one transaction, durable on return and seen by every later call on every node.
///
/// # Sessions
/// The caller is no node and reaches no session. So the store keeps a list: a change that takes a
/// user's access away enters them there, in the same transaction, and every running cluster has a
/// node that looks at [`endings`](Self::endings), ends the sessions everywhere and then
/// [forgets](Self::forget_endings) the entry: at least once, though a node dies in between.
///
/// All methods answer [`DirectoryError::Unavailable`] if the store cannot be reached in time: retry.
/// Those that name a user answer [`DirectoryError::UnknownUser`] if there is none.
pub trait Accounts: Send + Sync + 'static {
    /// The account of this name, compared without case.
    fn account(&self, username: &str) -> Answer<'_, Option<Account>>;

    /// Accounts whose names come after `after`, by name; at most `limit`. The empty name comes
    /// before all others.
    fn accounts(&self, after: &str, limit: usize) -> Answer<'_, Vec<Account>>;

    /// What a user has access with, expired tokens among it, in no particular order.
    fn accesses(&self, user_id: UserId) -> Answer<'_, Vec<Access>>;

    /// Disables an account or enables it again. Idempotent; answers whether it was otherwise before.
    /// While it is disabled, [`log_in`](super::Directory::log_in) answers
    /// [`DirectoryError::UserDisabled`] and nothing is pushed to it. Disabling takes all access away.
    fn set_disabled(&self, user_id: UserId, disabled: bool) -> Answer<'_, bool>;

    /// Replaces what a password is compared with, and takes all access away that the old one gave.
    fn change_password(&self, user_id: UserId, password_hash: String) -> Answer<'_, ()>;

    /// Takes all access away: every token, with its device. Answers how many tokens there were.
    fn end_access(&self, user_id: UserId) -> Answer<'_, usize>;

    /// Whose sessions must end, the earliest entries first; at most `limit`.
    fn endings(&self, limit: usize) -> Answer<'_, Vec<Ending>>;

    /// These sessions have ended. Idempotent.
    fn forget_endings(&self, numbers: &[u64]) -> Answer<'_, ()>;
}

/// A user as an operator sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Who.
    pub user: User,
    /// Whether they may not log in.
    pub disabled: bool,
    /// How many devices have a token.
    pub devices: u64,
}

/// A user whose sessions must end, wherever they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The number of the entry; never given twice.
    pub number: u64,
    /// Whose.
    pub user_id: UserId,
}
