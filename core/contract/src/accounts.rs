//! What every [`Accounts`] must do, together with the [`Directory`] on the same store.

mod devices;
mod networks;

use std::sync::Arc;

use super::directory::{LIMITS, access, channel_id, direct, password_hash, people, user};
use super::property::properties;
use pabal_core::model::{DeviceId, User, UserId};
use pabal_core::ports::{Account, Accounts, Directory, DirectoryError, Revoked, RevokedAccess};

/// The two ports of one store.
pub struct AccountsStore {
    /// The port of nodes.
    pub directory: Arc<dyn Directory>,
    /// The port of operators.
    pub accounts: Arc<dyn Accounts>,
}

/// Runs the suite. `fresh` creates an empty store.
///
/// # Panics
/// If the adapter breaks the contract.
pub async fn run(fresh: impl AsyncFn() -> AccountsStore) {
    properties! { fresh() =>
        accounts_are_listed_by_name_in_pages
        a_disabled_user_has_no_access_and_gets_none
        a_disabled_user_is_not_pushed_to
        a_new_password_revokes_the_access_of_the_old_one
        ending_access_ends_the_tokens_of_one_user
        revoked_access_requests_the_end_of_sessions
        unknown_users_are_refused
    }
    devices::run(&fresh).await;
    networks::run(fresh).await;
}

async fn account(store: &AccountsStore, number: u64) -> Account {
    let found = store.accounts.account(&user(number).username).await.expect("an account");
    found.expect("a known name")
}

async fn endings(store: &AccountsStore) -> Vec<UserId> {
    let revocations = store.directory.revocations(100).await.expect("revocations");
    let all = RevokedAccess::Sessions(Revoked::All);
    assert!(revocations.iter().all(|entry| entry.revoked == all), "{revocations:?}");
    revocations.into_iter().map(|entry| entry.user_id).collect()
}

async fn accounts_are_listed_by_name_in_pages(store: AccountsStore) {
    let [first, second, third] = people(&store.directory).await;
    store.directory.log_in(access(second, 20)).await.expect("a log-in");
    let page = async |after: &str| {
        let accounts = store.accounts.accounts(after, 2).await.expect("accounts");
        accounts
            .into_iter()
            .map(|it| (it.user.user_id, it.devices, it.disabled))
            .collect::<Vec<_>>()
    };
    assert_eq!(page("").await, [(first, 1, false), (second, 2, false)]);
    assert_eq!(page(&user(2).username.to_uppercase()).await, [(third, 1, false)]);
    assert_eq!(page(&user(3).username).await, []);
    let found = store.accounts.account(&user(2).username.to_uppercase()).await.expect("an account");
    assert_eq!(found, Some(Account { user: user(2), disabled: false, devices: 2 }));
    assert_eq!(store.accounts.account("unknown").await.expect("no account"), None);
    let mut held = store.accounts.accesses(second).await.expect("accesses");
    held.sort_by_key(|access| access.device.device_id);
    assert_eq!(held, [access(second, 2), access(second, 20)]);
}

async fn a_disabled_user_has_no_access_and_gets_none(store: AccountsStore) {
    let [first, second] = people(&store.directory).await;
    assert!(store.accounts.set_disabled(first, true).await.expect("disables"));
    assert!(!store.accounts.set_disabled(first, true).await.expect("again"));
    assert!(account(&store, 1).await.disabled && !account(&store, 2).await.disabled);
    assert_eq!(store.directory.access(access(first, 1).token).await.expect("no access"), None);
    let refused = store.directory.log_in(access(first, 1)).await;
    assert!(
        matches!(&refused, Err(error @ DirectoryError::UserDisabled(id))
            if *id == first && !error.retryable()),
        "{refused:?}"
    );
    assert_eq!(store.directory.access(access(first, 1).token).await.expect("no access"), None);
    let known = store.directory.credentials(&user(1).username).await.expect("credentials");
    assert_eq!(known.map(|known| known.user), Some(user(1)), "the profile is kept");
    assert!(store.directory.access(access(second, 2).token).await.expect("access").is_some());

    assert!(store.accounts.set_disabled(first, false).await.expect("enables"));
    assert!(!store.accounts.set_disabled(first, false).await.expect("again"));
    store.directory.log_in(access(first, 1)).await.expect("logs in with the previous ids");
}

async fn a_disabled_user_is_not_pushed_to(store: AccountsStore) {
    let [first, second] = people(&store.directory).await;
    store.directory.direct_channel([first, second], direct(9), LIMITS).await.expect("a channel");
    store.accounts.set_disabled(first, true).await.expect("disables");
    let targets = async || {
        let targets = store.directory.push_targets(channel_id(9)).await.expect("targets");
        targets.into_iter().map(|target| target.user_id).collect::<Vec<_>>()
    };
    assert_eq!(targets().await, [second]);
    store.accounts.set_disabled(first, false).await.expect("enables");
    assert_eq!(targets().await, [first, second]);
}

async fn a_new_password_revokes_the_access_of_the_old_one(store: AccountsStore) {
    let [first, second] = people(&store.directory).await;
    store.accounts.change_password(first, "new".into()).await.expect("a change");
    let hash = async |number| {
        let found = store.directory.credentials(&user(number).username).await;
        found.expect("credentials").expect("some").password_hash
    };
    assert_eq!((hash(1).await, hash(2).await), ("new".into(), password_hash(2)));
    assert_eq!(store.directory.access(access(first, 1).token).await.expect("no access"), None);
    assert!(store.directory.access(access(second, 2).token).await.expect("access").is_some());
    store.directory.log_in(access(first, 1)).await.expect("logs in");
}

async fn ending_access_ends_the_tokens_of_one_user(store: AccountsStore) {
    let [first, second] = people(&store.directory).await;
    store.directory.log_in(access(first, 10)).await.expect("a log-in");
    assert_eq!(store.accounts.end_access(first).await.expect("ends"), 2);
    assert_eq!(store.accounts.end_access(first).await.expect("again"), 0);
    assert_eq!(store.accounts.accesses(first).await.expect("accesses"), []);
    for number in [1, 10] {
        let token = access(first, number).token;
        assert_eq!(store.directory.access(token).await.expect("no access"), None);
        store.directory.log_in(access(first, number)).await.expect("its device was removed too");
    }
    assert!(store.directory.access(access(second, 2).token).await.expect("access").is_some());
}

async fn revoked_access_requests_the_end_of_sessions(store: AccountsStore) {
    let [first, second, third] = people(&store.directory).await;
    assert_eq!(endings(&store).await, []);
    store.accounts.set_disabled(second, true).await.expect("disables");
    store.accounts.set_disabled(second, false).await.expect("enables");
    store.accounts.change_password(first, "new".into()).await.expect("a change");
    store.accounts.end_access(third).await.expect("ends");
    assert_eq!(endings(&store).await, [second, first, third]);
}

async fn unknown_users_are_refused(store: AccountsStore) {
    let unknown_user = UserId::new(404);
    let results = [
        store.accounts.set_disabled(unknown_user, true).await.map(drop),
        store.accounts.change_password(unknown_user, "new".into()).await,
        store.accounts.end_access(unknown_user).await.map(drop),
        store.accounts.remove_device(unknown_user, DeviceId::new(1)).await.map(drop),
    ];
    for result in results {
        assert!(matches!(result, Err(DirectoryError::UnknownUser(id)) if id == unknown_user));
    }
    assert_eq!(store.accounts.accesses(unknown_user).await.expect("accesses"), []);
    assert_eq!(endings(&store).await, []);
    store
        .directory
        .sign_up(
            User { user_id: unknown_user, ..user(404) },
            "hash".into(),
            access(unknown_user, 404),
        )
        .await
        .expect("a sign-up");
}
