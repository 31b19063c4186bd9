//! Accounts as an operator changes them, while nodes run on the same store.

use super::BoxFuture;
use super::directory::{Access, DirectoryError};
use crate::model::{User, UserId};

type DirectoryFuture<'a, T> = BoxFuture<'a, Result<T, DirectoryError>>;

/// What an operator does with accounts, on the store of the [`Directory`](super::Directory). Every
/// method is one transaction, durable on return and visible to every later call on every node.
///
/// # Sessions
/// The caller is not a node and has no access to sessions. A change that revokes the access of a user
/// therefore enters it, in the same transaction, into the list of
/// [revocations](super::Directory::revocations), which the nodes read.
///
/// # Errors
/// All methods return [`DirectoryError::Unavailable`] if the store does not respond in time: retry,
/// the change may have happened. Methods that take a user id return
/// [`DirectoryError::UnknownUser`] if the user does not exist: do not retry.
///
/// # Example
/// ```
/// use pabal_core::memory::MemoryDirectory;
/// use pabal_core::model::UserId;
/// use pabal_core::ports::{Accounts, DirectoryError};
///
/// # futures::executor::block_on(async {
/// let accounts = MemoryDirectory::default();
/// assert!(accounts.account("ann").await?.is_none());
/// let disabled = accounts.set_disabled(UserId::new(1), true).await;
/// assert!(matches!(disabled, Err(DirectoryError::UnknownUser(_))));
/// # Ok::<(), DirectoryError>(())
/// # }).unwrap();
/// ```
pub trait Accounts: Send + Sync + 'static {
    /// The account with this username, compared without case.
    fn account(&self, username: &str) -> DirectoryFuture<'_, Option<Account>>;

    /// Up to `limit` accounts whose usernames sort after `after`, by username. The empty name sorts
    /// before all others.
    fn accounts(&self, after: &str, limit: usize) -> DirectoryFuture<'_, Vec<Account>>;

    /// The tokens and devices of a user, with expired ones, in no particular order.
    fn accesses(&self, user_id: UserId) -> DirectoryFuture<'_, Vec<Access>>;

    /// Disables an account or enables it again. Idempotent. Returns whether the value changed.
    ///
    /// While an account is disabled, [`log_in`](super::Directory::log_in) returns
    /// [`DirectoryError::UserDisabled`], and it gets no push notifications. Disabling revokes all
    /// access.
    fn set_disabled(&self, user_id: UserId, disabled: bool) -> DirectoryFuture<'_, bool>;

    /// Replaces the hash of a password, and revokes all access that the old password gave.
    fn change_password(&self, user_id: UserId, password_hash: String) -> DirectoryFuture<'_, ()>;

    /// Revokes all access: every token, with its device. Returns how many tokens there were.
    fn end_access(&self, user_id: UserId) -> DirectoryFuture<'_, usize>;
}

/// A user as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user: User,
    /// Whether the user cannot log in.
    pub disabled: bool,
    /// How many devices have a token.
    pub devices: u64,
}
