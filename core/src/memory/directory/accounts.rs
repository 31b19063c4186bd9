//! The [`Accounts`] port on the data of the directory in memory, with its rules.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::state::{State, folded};
use super::{DirectoryFuture, MemoryDirectory};
use crate::model::{DeviceId, Timestamp, TokenHash, UserId};
use crate::ports::{
    Access, Account, Accounts, DeviceAccess, DirectoryError, KNOWN_NETWORKS, Revoked, RevokedAccess,
};

impl State {
    fn shown(&self, user_id: UserId) -> Account {
        let account = &self.accounts[&user_id];
        let devices =
            self.devices.values().filter(|device| device.user_id == user_id).count() as u64;
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
        self.record(user_id, RevokedAccess::Sessions(Revoked::All));
        Ok(accesses.len())
    }

    fn devices_after(
        &self,
        user_id: UserId,
        after: Option<DeviceId>,
        limit: usize,
    ) -> Vec<DeviceAccess> {
        let mut devices = BTreeMap::new();
        for Access { device, expires_at, .. } in self.accesses(user_id) {
            let device_id = device.device_id;
            let entry = devices.entry(device_id).or_insert(DeviceAccess { device, expires_at });
            entry.expires_at = entry.expires_at.max(expires_at);
        }
        let later = devices.into_iter().filter(|(id, _)| after.is_none_or(|after| *id > after));
        later.map(|(_, device)| device).take(limit).collect()
    }

    fn remove_device(
        &mut self,
        user_id: UserId,
        device_id: DeviceId,
    ) -> Result<bool, DirectoryError> {
        self.known(user_id)?;
        let accesses = self.accesses(user_id);
        let of_device = accesses.iter().find(|access| access.device.device_id == device_id);
        Ok(of_device.is_some_and(|access| self.log_out(access.token)))
    }

    fn log_in_again(
        &mut self,
        known: TokenHash,
        access: Access,
        now: Timestamp,
    ) -> Result<bool, DirectoryError> {
        let Access { token, device, expires_at } = access;
        let (user_id, device_id) = (device.user_id, device.device_id);
        let lives = self.access(known).is_some_and(|known| {
            let owner = (known.device.user_id, known.device.device_id);
            owner == (user_id, device_id) && now < known.expires_at
        });
        if !lives {
            return Ok(false);
        }
        if self.account(user_id)?.disabled {
            return Err(DirectoryError::UserDisabled(user_id));
        }
        if self.tokens.contains_key(&token) {
            return Err(DirectoryError::IdTaken);
        }
        let others =
            self.tokens.iter().filter(|(other, (of, _))| *of == device_id && **other != known);
        let others: Vec<_> = others.map(|(&other, _)| other).collect();
        self.tokens.insert(token, (device_id, expires_at));
        for other in others {
            self.remove_token(other);
            self.record(user_id, RevokedAccess::Sessions(Revoked::Token(other)));
        }
        if !device.name.is_empty() {
            self.devices.insert(device_id, device);
        }
        Ok(true)
    }

    fn note_seen_from(
        &mut self,
        user_id: UserId,
        network: IpAddr,
        at: Timestamp,
    ) -> Result<(), DirectoryError> {
        self.known(user_id)?;
        self.seen.insert((user_id, network), at);
        let of_user = self.seen.iter().filter(|((of, _), _)| *of == user_id);
        let mut of_user: Vec<_> = of_user.map(|(&key, &at)| (Reverse(at), key)).collect();
        of_user.sort_unstable();
        for (_, key) in of_user.iter().skip(KNOWN_NETWORKS) {
            self.seen.remove(key);
        }
        Ok(())
    }

    fn replace_password(
        &mut self,
        keep: TokenHash,
        old_hash: &str,
        new_hash: String,
    ) -> Result<bool, DirectoryError> {
        let Some(kept) = self.access(keep) else { return Ok(false) };
        let account = self.account(kept.device.user_id)?;
        if account.password_hash != old_hash {
            return Ok(false);
        }
        account.password_hash = new_hash;
        let mut revoked = BTreeMap::new();
        for Access { token, device, .. } in self.accesses(kept.device.user_id) {
            let device_id = device.device_id;
            if token == keep {
                continue;
            }
            let ended = match device_id == kept.device.device_id {
                true => Revoked::Token(token),
                false => Revoked::Device { device_id, token },
            };
            revoked.insert(device_id, ended);
            self.remove_token(token);
        }
        for revoked in revoked.into_values() {
            self.record(kept.device.user_id, RevokedAccess::Sessions(revoked));
        }
        Ok(true)
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

    fn devices_after(
        &self,
        user_id: UserId,
        after: Option<DeviceId>,
        limit: usize,
    ) -> DirectoryFuture<'_, Vec<DeviceAccess>> {
        self.with(move |state| Ok(state.devices_after(user_id, after, limit)))
    }

    fn remove_device(&self, user_id: UserId, device_id: DeviceId) -> DirectoryFuture<'_, bool> {
        self.with(move |state| state.remove_device(user_id, device_id))
    }

    fn log_in_again(
        &self,
        known: TokenHash,
        access: Access,
        now: Timestamp,
    ) -> DirectoryFuture<'_, bool> {
        self.with(move |state| state.log_in_again(known, access, now))
    }

    fn replace_password(
        &self,
        keep: TokenHash,
        old_hash: &str,
        new_hash: String,
    ) -> DirectoryFuture<'_, bool> {
        let old_hash = old_hash.to_owned();
        self.with(move |state| state.replace_password(keep, &old_hash, new_hash))
    }

    fn seen_from(
        &self,
        user_id: UserId,
        network: IpAddr,
    ) -> DirectoryFuture<'_, Option<Timestamp>> {
        self.with(move |state| Ok(state.seen.get(&(user_id, network)).copied()))
    }

    fn note_seen_from(
        &self,
        user_id: UserId,
        network: IpAddr,
        at: Timestamp,
    ) -> DirectoryFuture<'_, ()> {
        self.with(move |state| state.note_seen_from(user_id, network, at))
    }

    fn forget_seen(&self, before: Timestamp, at_most: usize) -> DirectoryFuture<'_, usize> {
        self.with(move |state| {
            let old = state.seen.iter().filter(|(_, at)| **at < before).take(at_most);
            let old: Vec<_> = old.map(|(&key, _)| key).collect();
            state.seen.retain(|key, _| !old.contains(key));
            Ok(old.len())
        })
    }
}
