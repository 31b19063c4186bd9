//! The [`Accounts`] port on the data of the directory in memory, with its rules.

use super::state::{State, folded};
use super::{DirectoryFuture, MemoryDirectory};
use crate::model::UserId;
use crate::ports::{Access, Account, Accounts, DirectoryError, RevokedAccess};

impl State {
    fn shown(&self, user_id: UserId) -> Account {
        let account = &self.accounts[&user_id];
        let devices = self.accesses(user_id).len() as u64;
        Account { user: account.user.clone(), disabled: account.disabled, devices }
    }

    pub(super) fn accesses(&self, user_id: UserId) -> Vec<Access> {
        let accesses = self.tokens.keys().filter_map(|&token| self.access(token));
        accesses.filter(|access| access.device.user_id == user_id).collect()
    }

    fn set_disabled(&mut self, user_id: UserId, disabled: bool) -> Result<bool, DirectoryError> {
        let before = std::mem::replace(&mut self.account(user_id)?.disabled, disabled);
        if disabled {
            self.end_access(user_id)?;
        }
        Ok(before != disabled)
    }

    fn change_password(&mut self, user_id: UserId, hash: String) -> Result<(), DirectoryError> {
        self.account(user_id)?.password_hash = hash;
        self.end_access(user_id).map(drop)
    }

    fn end_access(&mut self, user_id: UserId) -> Result<usize, DirectoryError> {
        self.known(user_id)?;
        let accesses = self.accesses(user_id);
        for access in &accesses {
            self.remove_token(access.token);
        }
        self.record(user_id, RevokedAccess::AllSessions);
        Ok(accesses.len())
    }
}

impl Accounts for MemoryDirectory {
    fn account(&self, username: &str) -> DirectoryFuture<'_, Option<Account>> {
        let username = folded(username);
        self.with(move |state| {
            Ok(state.usernames.get(&username).map(|&user_id| state.shown(user_id)))
        })
    }

    fn accounts(&self, after: &str, limit: usize) -> DirectoryFuture<'_, Vec<Account>> {
        let after = folded(after);
        self.with(move |state| {
            let later = state.usernames.range(after.clone()..).filter(|(name, _)| **name != after);
            Ok(later.take(limit).map(|(_, &user_id)| state.shown(user_id)).collect())
        })
    }

    fn accesses(&self, user_id: UserId) -> DirectoryFuture<'_, Vec<Access>> {
        self.with(move |state| Ok(state.accesses(user_id)))
    }

    fn set_disabled(&self, user_id: UserId, disabled: bool) -> DirectoryFuture<'_, bool> {
        self.with(move |state| state.set_disabled(user_id, disabled))
    }

    fn change_password(&self, user_id: UserId, password_hash: String) -> DirectoryFuture<'_, ()> {
        self.with(move |state| state.change_password(user_id, password_hash))
    }

    fn end_access(&self, user_id: UserId) -> DirectoryFuture<'_, usize> {
        self.with(move |state| state.end_access(user_id))
    }
}
