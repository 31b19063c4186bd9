//! What every [`Accounts`] must do, beside the [`Directory`] on the same store.

use std::sync::Arc;

use super::directory::{access, channel_id, direct, password_hash, people, user};
use super::property::properties;
use pabal_core::model::{User, UserId};
use pabal_core::ports::{Account, Accounts, Directory, DirectoryError, Ending};

/// Both ports of one store.
pub struct Both {
    /// What nodes do.
    pub directory: Arc<dyn Directory>,
    /// What an operator does.
    pub accounts: Arc<dyn Accounts>,
}

/// Runs the suite. `fresh` makes an empty store.
///
/// # Panics
/// Where the adapter breaks the contract.
pub async fn run(fresh: impl AsyncFn() -> Both) {
    properties! { fresh() =>
        accounts_are_listed_by_name_in_pages
        a_disabled_user_has_no_access_and_gets_none
        a_disabled_user_is_not_pushed_to
        a_new_password_ends_what_the_old_one_gave
        ending_access_ends_the_tokens_of_one_user
        what_takes_access_away_asks_for_the_sessions_to_end
        endings_stay_until_they_are_forgotten
        strangers_are_unknown
    }
}

async fn account(both: &Both, number: u64) -> Account {
    let found = both.accounts.account(&user(number).username).await.expect("an account");
    found.expect("a known name")
}

async fn endings(both: &Both) -> Vec<UserId> {
    let endings = both.accounts.endings(100).await.expect("endings");
    endings.into_iter().map(|Ending { user_id, .. }| user_id).collect()
}

async fn accounts_are_listed_by_name_in_pages(both: Both) {
    let [first, second, third] = people(&both.directory).await;
    both.directory.log_in(access(second, 20)).await.expect("a log-in");
    let page = async |after: &str| {
        let accounts = both.accounts.accounts(after, 2).await.expect("accounts");
        accounts
            .into_iter()
            .map(|it| (it.user.user_id, it.devices, it.disabled))
            .collect::<Vec<_>>()
    };
    assert_eq!(page("").await, [(first, 1, false), (second, 2, false)]);
    assert_eq!(page(&user(2).username.to_uppercase()).await, [(third, 1, false)]);
    assert_eq!(page(&user(3).username).await, []);
    let found = both.accounts.account(&user(2).username.to_uppercase()).await.expect("an account");
    assert_eq!(found, Some(Account { user: user(2), disabled: false, devices: 2 }));
    assert_eq!(both.accounts.account("nobody").await.expect("no account"), None);
    let mut held = both.accounts.accesses(second).await.expect("accesses");
    held.sort_by_key(|access| access.device.device_id);
    assert_eq!(held, [access(second, 2), access(second, 20)]);
}

async fn a_disabled_user_has_no_access_and_gets_none(both: Both) {
    let [first, second] = people(&both.directory).await;
    assert!(both.accounts.set_disabled(first, true).await.expect("disables"));
    assert!(!both.accounts.set_disabled(first, true).await.expect("again"));
    assert!(account(&both, 1).await.disabled && !account(&both, 2).await.disabled);
    assert_eq!(both.directory.access(access(first, 1).token).await.expect("no access"), None);
    let refused = both.directory.log_in(access(first, 1)).await;
    assert!(
        matches!(&refused, Err(error @ DirectoryError::UserDisabled(id))
            if *id == first && !error.retryable()),
        "{refused:?}"
    );
    assert_eq!(both.directory.access(access(first, 1).token).await.expect("no access"), None);
    let known = both.directory.credentials(&user(1).username).await.expect("credentials");
    assert_eq!(known.map(|known| known.user), Some(user(1)), "a profile stays");
    assert!(both.directory.access(access(second, 2).token).await.expect("access").is_some());

    assert!(both.accounts.set_disabled(first, false).await.expect("enables"));
    assert!(!both.accounts.set_disabled(first, false).await.expect("again"));
    both.directory.log_in(access(first, 1)).await.expect("logs in, with the ids of before");
}

async fn a_disabled_user_is_not_pushed_to(both: Both) {
    let [first, second] = people(&both.directory).await;
    both.directory.direct_channel([first, second], direct(9)).await.expect("a channel");
    both.accounts.set_disabled(first, true).await.expect("disables");
    let targets = async || {
        let targets = both.directory.push_targets(channel_id(9)).await.expect("targets");
        targets.into_iter().map(|target| target.user_id).collect::<Vec<_>>()
    };
    assert_eq!(targets().await, [second]);
    both.accounts.set_disabled(first, false).await.expect("enables");
    assert_eq!(targets().await, [first, second]);
}

async fn a_new_password_ends_what_the_old_one_gave(both: Both) {
    let [first, second] = people(&both.directory).await;
    both.accounts.change_password(first, "new".into()).await.expect("a change");
    let hash = async |number| {
        let found = both.directory.credentials(&user(number).username).await;
        found.expect("credentials").expect("some").password_hash
    };
    assert_eq!((hash(1).await, hash(2).await), ("new".into(), password_hash(2)));
    assert_eq!(both.directory.access(access(first, 1).token).await.expect("no access"), None);
    assert!(both.directory.access(access(second, 2).token).await.expect("access").is_some());
    both.directory.log_in(access(first, 1)).await.expect("logs in");
}

async fn ending_access_ends_the_tokens_of_one_user(both: Both) {
    let [first, second] = people(&both.directory).await;
    both.directory.log_in(access(first, 10)).await.expect("a log-in");
    assert_eq!(both.accounts.end_access(first).await.expect("ends"), 2);
    assert_eq!(both.accounts.end_access(first).await.expect("again"), 0);
    assert_eq!(both.accounts.accesses(first).await.expect("accesses"), []);
    for number in [1, 10] {
        let token = access(first, number).token;
        assert_eq!(both.directory.access(token).await.expect("no access"), None);
        both.directory.log_in(access(first, number)).await.expect("its device is gone too");
    }
    assert!(both.directory.access(access(second, 2).token).await.expect("access").is_some());
}

async fn what_takes_access_away_asks_for_the_sessions_to_end(both: Both) {
    let [first, second, third] = people(&both.directory).await;
    assert_eq!(endings(&both).await, []);
    both.accounts.set_disabled(second, true).await.expect("disables");
    both.accounts.set_disabled(second, false).await.expect("enables");
    both.accounts.change_password(first, "new".into()).await.expect("a change");
    both.accounts.end_access(third).await.expect("ends");
    assert_eq!(endings(&both).await, [second, first, third]);
}

async fn endings_stay_until_they_are_forgotten(both: Both) {
    let [first, second] = people(&both.directory).await;
    for user_id in [first, second, first] {
        both.accounts.end_access(user_id).await.expect("ends");
    }
    let found = both.accounts.endings(2).await.expect("endings");
    assert_eq!(found.iter().map(|it| it.user_id).collect::<Vec<_>>(), [first, second]);
    let numbers: Vec<_> = found.iter().map(|ending| ending.number).collect();
    for _ in 0..2 {
        both.accounts.forget_endings(&numbers).await.expect("forgets");
        assert_eq!(endings(&both).await, [first], "what came later stays");
    }
    let last = both.accounts.endings(2).await.expect("endings")[0].number;
    both.accounts.forget_endings(&[last]).await.expect("forgets");
    both.accounts.end_access(second).await.expect("ends");
    let next = both.accounts.endings(2).await.expect("endings")[0].number;
    assert!(!numbers.contains(&next) && next != last, "{next} was given before");
}

async fn strangers_are_unknown(both: Both) {
    let stranger = UserId::new(404);
    let answers = [
        both.accounts.set_disabled(stranger, true).await.map(drop),
        both.accounts.change_password(stranger, "new".into()).await,
        both.accounts.end_access(stranger).await.map(drop),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(DirectoryError::UnknownUser(id)) if id == stranger));
    }
    assert_eq!(both.accounts.accesses(stranger).await.expect("accesses"), []);
    assert_eq!(endings(&both).await, []);
    both.directory
        .sign_up(User { user_id: stranger, ..user(404) }, "hash".into(), access(stranger, 404))
        .await
        .expect("nothing is in the way");
}
