//! Accounts as their users and an operator change them: passwords, devices and all access that they give.
//! Operators work while nodes run on the same store.

use std::net::IpAddr;

use super::BoxFuture;
use super::directory::{Access, DirectoryError};
use crate::model::{Device, DeviceId, Timestamp, TokenHash, User, UserId};

type DirectoryFuture<'a, T> = BoxFuture<'a, Result<T, DirectoryError>>;

/// What users and operators do with accounts, on the store of the [`Directory`](super::Directory). Every
/// method is one transaction, durable on return and visible to every later call on every node.
///
/// # Sessions
/// The caller may be an operator's process, which is no node and has no access to sessions. A change that
/// revokes access of a user therefore enters it, in the same transaction, into the list of
/// [revocations](super::Directory::revocations), which the nodes read.
///
/// # Devices
/// A device has one token, and two after [`log_in_again`](Self::log_in_again). It is removed with the
/// last of them.
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

    /// Up to `limit` devices of a user whose ids are above `after`, by id. Includes those whose tokens
    /// have expired, until they are removed.
    fn devices_after(
        &self,
        user_id: UserId,
        after: Option<DeviceId>,
        limit: usize,
    ) -> DirectoryFuture<'_, Vec<DeviceAccess>>;

    /// Removes a device of a user with its tokens. Returns whether the user had such a device.
    fn remove_device(&self, user_id: UserId, device_id: DeviceId) -> DirectoryFuture<'_, bool>;

    /// Adds the token of `access` to its device, for a user who has shown the password and `known`, a
    /// token of that device that has not expired at `now`. The device takes the name of `access`, if
    /// that is not empty. It keeps these two tokens; others are revoked.
    ///
    /// Returns `false`, and changes nothing, if `known` is not such a token.
    ///
    /// # Errors
    /// [`DirectoryError::UserDisabled`]. [`DirectoryError::IdTaken`] if the new token exists: retry with
    /// another one.
    fn log_in_again(
        &self,
        known: TokenHash,
        access: Access,
        now: Timestamp,
    ) -> DirectoryFuture<'_, bool>;

    /// Replaces the hash of the password of a token's user, and revokes all other tokens, with the
    /// devices that have no token then.
    ///
    /// Returns `false`, and changes nothing, if there is no token `keep`, or the hash is not `old_hash`
    /// any more, with which the old password was compared: of two changes with the same old password
    /// one succeeds.
    fn replace_password(
        &self,
        keep: TokenHash,
        old_hash: &str,
        new_hash: String,
    ) -> DirectoryFuture<'_, bool>;

    /// When a user last logged in from `network`, as far as that is known. A network is an IPv4 address,
    /// or the first address of an IPv6 /64.
    fn seen_from(&self, user_id: UserId, network: IpAddr)
    -> DirectoryFuture<'_, Option<Timestamp>>;

    /// A user has logged in from `network`. Of each user the 32 networks are kept that were seen last.
    fn note_seen_from(
        &self,
        user_id: UserId,
        network: IpAddr,
        at: Timestamp,
    ) -> DirectoryFuture<'_, ()>;

    /// Forgets the networks that were seen last before `before`; at most `at_most` of them, so that no
    /// call takes long. Returns how many; if that is `at_most`, there may be more.
    fn forget_seen(&self, before: Timestamp, at_most: usize) -> DirectoryFuture<'_, usize>;
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

/// How many networks are kept of a user, see [`Accounts::note_seen_from`].
pub const KNOWN_NETWORKS: usize = 32;

/// A device, and until when it has access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceAccess {
    /// The device.
    pub device: Device,
    /// When the last of its tokens expires.
    pub expires_at: Timestamp,
}
