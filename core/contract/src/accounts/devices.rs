//! Devices and the tokens that they have: another token, the removal of one device, and a new password
//! that ends all others.

use std::time::Duration;

use super::super::directory::{access, password_hash, people, user};
use super::super::property::properties;
use super::AccountsStore;
use pabal_core::model::{DeviceId, Timestamp, TokenHash, UserId};
use pabal_core::ports::{Access, DeviceAccess, DirectoryError, Revoked, RevokedAccess};

/// Before every token expires.
const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

pub(super) async fn run(fresh: impl AsyncFn() -> AccountsStore) {
    properties! { fresh() =>
        devices_are_listed_by_id_in_pages
        a_removed_device_loses_its_tokens
        the_device_of_another_user_is_not_removed
        a_log_out_removes_every_token_of_the_device
        a_device_gets_another_token_and_keeps_the_one_that_it_showed
        of_several_tokens_the_one_shown_and_the_new_one_remain
        a_name_that_is_given_replaces_the_name_of_the_device
        a_token_that_is_not_the_devices_or_has_expired_gives_no_other
        a_disabled_user_gets_no_other_token
        a_token_in_use_is_refused
        a_device_stays_until_its_last_token_expires
        a_replaced_password_ends_all_other_tokens
        of_two_changes_with_one_old_password_one_succeeds
        an_ended_token_replaces_no_password
    }
}

/// Another token, `number`, for device `device` of a user.
fn another(user_id: UserId, device: u64, number: u64) -> Access {
    let token = access(user_id, number).token;
    Access { token, ..access(user_id, device) }
}

async fn lives(store: &AccountsStore, token: TokenHash) -> bool {
    store.directory.access(token).await.expect("access").is_some()
}

async fn devices(store: &AccountsStore, user_id: UserId) -> Vec<u64> {
    let devices = store.accounts.devices_after(user_id, None, 100).await.expect("devices");
    devices.into_iter().map(|it| it.device.device_id.get()).collect()
}

/// What the calls since the last look recorded of `user_id`.
async fn recorded(store: &AccountsStore, user_id: UserId) -> Vec<Revoked> {
    let entries = store.directory.revocations(100).await.expect("revocations");
    let numbers: Vec<_> = entries.iter().map(|entry| entry.number).collect();
    store.directory.forget_revocations(&numbers).await.expect("forgets");
    let revoked = entries.into_iter().map(|entry| {
        assert_eq!(entry.user_id, user_id);
        let RevokedAccess::Sessions(revoked) = entry.revoked else { panic!("{entry:?}") };
        revoked
    });
    revoked.collect()
}

/// Device `device` of a user gets the token `number`, by showing the token `known`. Returns what that
/// recorded.
async fn again(
    store: &AccountsStore,
    known: u64,
    (user_id, device, number): (UserId, u64, u64),
) -> Option<Vec<Revoked>> {
    let known = access(user_id, known).token;
    let added = store.accounts.log_in_again(known, another(user_id, device, number), NOW).await;
    let revoked = recorded(store, user_id).await;
    let added = added.expect("a log-in");
    assert!(added || revoked.is_empty(), "{revoked:?}");
    added.then_some(revoked)
}

async fn devices_are_listed_by_id_in_pages(store: AccountsStore) {
    let [first, second] = people(&store.directory).await;
    for number in [30, 10, 20] {
        store.directory.log_in(access(first, number)).await.expect("a log-in");
    }
    let page = async |after: Option<u64>, limit| {
        let after = after.map(DeviceId::new);
        store.accounts.devices_after(first, after, limit).await.expect("devices")
    };
    let shown = |number| {
        let Access { device, expires_at, .. } = access(first, number);
        DeviceAccess { device, expires_at }
    };
    assert_eq!(page(None, 2).await, [shown(1), shown(10)]);
    assert_eq!(page(Some(10), 2).await, [shown(20), shown(30)]);
    assert_eq!(page(Some(30), 2).await, []);
    assert_eq!(devices(&store, second).await, [2]);
    assert_eq!(devices(&store, UserId::new(404)).await, [0; 0]);
    let later = Access {
        expires_at: access(first, 10).expires_at.plus(Duration::from_secs(1)),
        ..another(first, 10, 11)
    };
    let known = access(first, 10).token;
    let added = store.accounts.log_in_again(known, later.clone(), NOW).await.expect("a log-in");
    assert!(added);
    assert_eq!(recorded(&store, first).await, []);
    let until = DeviceAccess { expires_at: later.expires_at, ..shown(10) };
    assert_eq!(page(Some(1), 1).await, [until], "one entry, until the last of its tokens expires");
}

async fn a_removed_device_loses_its_tokens(store: AccountsStore) {
    let [first, second] = people(&store.directory).await;
    store.directory.log_in(access(first, 10)).await.expect("a log-in");
    again(&store, 10, (first, 10, 11)).await.expect("another token");
    let removed = store.accounts.remove_device(first, DeviceId::new(10)).await.expect("removes");
    assert!(removed);
    let revoked = recorded(&store, first).await;
    let [Revoked::Device { device_id, token }] = revoked[..] else { panic!("{revoked:?}") };
    assert_eq!(device_id, DeviceId::new(10));
    assert!([10, 11].map(|number| access(first, number).token).contains(&token));
    for number in [10, 11] {
        assert!(!lives(&store, access(first, number).token).await);
    }
    assert!(lives(&store, access(first, 1).token).await);
    assert!(lives(&store, access(second, 2).token).await);
    assert_eq!(devices(&store, first).await, [1]);
    let again = store.accounts.remove_device(first, DeviceId::new(10)).await.expect("removes");
    assert!(!again);
    assert_eq!(recorded(&store, first).await, []);
}

async fn the_device_of_another_user_is_not_removed(store: AccountsStore) {
    let [first, _] = people(&store.directory).await;
    for device in [2, 404] {
        let device = DeviceId::new(device);
        assert!(!store.accounts.remove_device(first, device).await.expect("none"));
    }
    assert_eq!(recorded(&store, first).await, []);
    assert!(lives(&store, access(UserId::new(2), 2).token).await);
}

async fn a_log_out_removes_every_token_of_the_device(store: AccountsStore) {
    let [first] = people(&store.directory).await;
    again(&store, 1, (first, 1, 11)).await.expect("another token");
    assert!(store.directory.log_out(access(first, 11).token).await.expect("logs out"));
    assert!(!lives(&store, access(first, 1).token).await);
    assert!(!store.directory.log_out(access(first, 1).token).await.expect("again"));
    assert_eq!(devices(&store, first).await, [0; 0]);
}

async fn a_device_gets_another_token_and_keeps_the_one_that_it_showed(store: AccountsStore) {
    let [first] = people(&store.directory).await;
    assert_eq!(again(&store, 1, (first, 1, 11)).await, Some(vec![]));
    for number in [1, 11] {
        let token = access(first, number).token;
        let found = store.directory.access(token).await.expect("access").expect("lives");
        assert_eq!(found.device, access(first, 1).device);
    }
    assert_eq!(devices(&store, first).await, [1]);
    let account = store.accounts.account(&user(1).username).await.expect("an account");
    assert_eq!(account.expect("known").devices, 1);
}

async fn of_several_tokens_the_one_shown_and_the_new_one_remain(store: AccountsStore) {
    let [first] = people(&store.directory).await;
    again(&store, 1, (first, 1, 11)).await.expect("another token");
    let revoked = again(&store, 11, (first, 1, 12)).await;
    assert_eq!(revoked, Some(vec![Revoked::Token(access(first, 1).token)]));
    // A response that was lost: the client shows the same token again.
    let revoked = again(&store, 11, (first, 1, 13)).await;
    assert_eq!(revoked, Some(vec![Revoked::Token(access(first, 12).token)]));
    for (number, expected) in [(1, false), (11, true), (12, false), (13, true)] {
        assert_eq!(lives(&store, access(first, number).token).await, expected, "{number}");
    }
}

async fn a_name_that_is_given_replaces_the_name_of_the_device(store: AccountsStore) {
    let [first] = people(&store.directory).await;
    for (number, name, expected) in [(11, "", "Phone 1"), (12, "Tablet", "Tablet")] {
        let mut new = another(first, 1, number);
        new.device.name = name.into();
        let known = access(first, 1).token;
        assert!(store.accounts.log_in_again(known, new, NOW).await.expect("a log-in"));
        let listed = store.accounts.devices_after(first, None, 9).await.expect("devices");
        assert_eq!(listed[0].device.name, expected);
    }
}

async fn a_token_that_is_not_the_devices_or_has_expired_gives_no_other(store: AccountsStore) {
    let [first, second] = people(&store.directory).await;
    store.directory.log_in(access(first, 10)).await.expect("a log-in");
    for (known, device) in [(2, 1), (10, 1), (404, 1), (1, 2), (1, 404)] {
        assert_eq!(again(&store, known, (first, device, 11)).await, None, "{known}, {device}");
        assert!(!lives(&store, access(first, 11).token).await);
    }
    assert_eq!(again(&store, 1, (second, 1, 11)).await, None, "another user's device");
    let (known, expiry) = (access(first, 1).token, access(first, 1).expires_at);
    for (now, expected) in [(expiry, false), (NOW, true)] {
        let added = store.accounts.log_in_again(known, another(first, 1, 11), now).await;
        assert_eq!(added.expect("a log-in"), expected);
    }
}

async fn a_disabled_user_gets_no_other_token(store: AccountsStore) {
    let [first] = people(&store.directory).await;
    store.accounts.set_disabled(first, true).await.expect("disables");
    assert_eq!(recorded(&store, first).await, [Revoked::All]);
    // Without a token there is nothing to show.
    assert_eq!(again(&store, 1, (first, 1, 11)).await, None);
    assert!(!lives(&store, access(first, 11).token).await);
}

async fn a_token_in_use_is_refused(store: AccountsStore) {
    let [first, _] = people(&store.directory).await;
    let known = access(first, 1).token;
    for number in [1, 2] {
        let refused = store.accounts.log_in_again(known, another(first, 1, number), NOW).await;
        assert!(matches!(refused, Err(DirectoryError::IdTaken)), "{refused:?}");
    }
    assert!(lives(&store, known).await);
}

async fn a_device_stays_until_its_last_token_expires(store: AccountsStore) {
    let [first] = people(&store.directory).await;
    let expiry = access(first, 1).expires_at;
    let later = expiry.plus(Duration::from_secs(1));
    let new = Access { expires_at: later, ..another(first, 1, 11) };
    let known = access(first, 1).token;
    assert!(store.accounts.log_in_again(known, new, NOW).await.expect("a log-in"));
    for (now, left) in [(expiry, vec![1]), (later, vec![])] {
        assert_eq!(store.directory.remove_expired(now, 10).await.expect("removes"), 1);
        assert_eq!(devices(&store, first).await, left);
    }
}

async fn a_replaced_password_ends_all_other_tokens(store: AccountsStore) {
    let [first, second] = people(&store.directory).await;
    for number in [10, 20] {
        store.directory.log_in(access(first, number)).await.expect("a log-in");
    }
    again(&store, 1, (first, 1, 11)).await.expect("another token");
    again(&store, 20, (first, 20, 21)).await.expect("another token");
    let keep = access(first, 1).token;
    let replaced = store.accounts.replace_password(keep, &password_hash(1), "new".into()).await;
    assert!(replaced.expect("replaces"), "is current");
    let revoked = recorded(&store, first).await;
    assert!(revoked.contains(&Revoked::Token(access(first, 11).token)), "{revoked:?}");
    for number in [10, 20] {
        let device = DeviceId::new(number);
        let of =
            |it: &&Revoked| matches!(it, Revoked::Device { device_id, .. } if *device_id == device);
        assert_eq!(revoked.iter().filter(of).count(), 1, "{revoked:?}");
    }
    assert_eq!(revoked.len(), 3, "{revoked:?}");
    for number in [10, 11, 20, 21] {
        assert!(!lives(&store, access(first, number).token).await, "{number}");
    }
    assert!(lives(&store, keep).await && lives(&store, access(second, 2).token).await);
    assert_eq!(devices(&store, first).await, [1]);
    let known = store.directory.credentials(&user(1).username).await.expect("credentials");
    assert_eq!(known.expect("some").password_hash, "new");
    let other = store.directory.credentials(&user(2).username).await.expect("credentials");
    assert_eq!(other.expect("some").password_hash, password_hash(2));
}

async fn of_two_changes_with_one_old_password_one_succeeds(store: AccountsStore) {
    let [first] = people(&store.directory).await;
    let keep = access(first, 1).token;
    let old = password_hash(1);
    let change = |new: &str| store.accounts.replace_password(keep, &old, new.into());
    let (one, other) = futures::future::join(change("one"), change("other")).await;
    let succeeded = [one.expect("a change"), other.expect("a change")];
    assert!(succeeded == [true, false] || succeeded == [false, true], "{succeeded:?}");
}

async fn an_ended_token_replaces_no_password(store: AccountsStore) {
    let [first] = people(&store.directory).await;
    store.directory.log_in(access(first, 10)).await.expect("a log-in");
    let keep = access(first, 1).token;
    store.directory.log_out(keep).await.expect("logs out");
    recorded(&store, first).await;
    let replaced = store.accounts.replace_password(keep, &password_hash(1), "new".into()).await;
    assert!(!replaced.expect("no change"));
    assert_eq!(recorded(&store, first).await, []);
    assert!(lives(&store, access(first, 10).token).await);
    let known = store.directory.credentials(&user(1).username).await.expect("credentials");
    assert_eq!(known.expect("some").password_hash, password_hash(1));
}
