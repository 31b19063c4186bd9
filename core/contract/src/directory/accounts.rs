//! Sign-up, log-in and log-out: users, credentials, devices and tokens.

use crate::property::properties;
use pabal_core::model::{DeviceId, Settings, Timestamp, TokenHash, User, UserId};
use pabal_core::ports::{Access, DirectoryError, MAX_DEVICES, Revoked, RevokedAccess};

use super::{Dir, access, at_once, channel_id, found, named, password_hash, people, sign_up, user};

pub(super) async fn run(fresh: &impl AsyncFn() -> Dir) {
    properties! { fresh() =>
        a_new_user_is_found_by_every_call
        an_unknown_user_is_found_by_no_call
        values_are_returned_unchanged
        the_largest_ids_and_all_microseconds_are_kept
        a_username_is_taken_whatever_its_case
        a_username_is_found_whatever_its_case
        one_of_many_concurrent_sign_ups_of_a_name_wins
        a_sign_up_with_an_id_in_use_is_refused
        a_refused_sign_up_leaves_nothing
        a_first_device_is_the_users_own
        a_log_in_adds_a_device_and_a_token
        the_newest_of_too_many_devices_stay
        a_log_in_of_an_unknown_user_is_refused
        a_log_in_with_an_id_in_use_is_refused
        a_log_out_ends_one_token_once
        a_device_is_removed_with_its_token
        an_expired_token_is_returned
        only_expired_tokens_and_their_devices_are_removed
        expired_tokens_are_removed_up_to_the_limit_the_earliest_first
    }
}

async fn a_new_user_is_found_by_every_call(directory: Dir) {
    let new = user(7);
    sign_up(&directory, new.clone()).await.expect("a sign-up");
    assert_eq!(directory.user(new.user_id).await.expect("a user"), Some(new.clone()));
    let credentials = directory.credentials(&new.username).await.expect("credentials");
    let credentials = credentials.expect("some");
    assert_eq!(credentials.user, new);
    assert_eq!(credentials.password_hash, password_hash(7));
    let access = access(new.user_id, 7);
    assert_eq!(directory.access(access.token).await.expect("access"), Some(access));
    assert_eq!(found(&directory, "user", 10).await, [new.username]);
}

async fn an_unknown_user_is_found_by_no_call(directory: Dir) {
    let [known] = people(&directory).await;
    let unknown = UserId::new(99);
    assert_eq!(directory.user(unknown).await.expect("no user"), None);
    assert_eq!(directory.credentials("unknown").await.expect("no credentials"), None);
    assert_eq!(directory.credentials("").await.expect("no credentials"), None);
    assert_eq!(directory.access(TokenHash::of("no token")).await.expect("no access"), None);
    assert_eq!(directory.settings(unknown).await.expect("settings"), Settings::default());
    assert!(directory.friends(unknown).await.expect("friends").is_empty());
    assert!(directory.blocks_after(unknown, None, 100).await.expect("blocks").is_empty());
    assert!(directory.memberships(unknown).await.expect("memberships").is_empty());
    assert_eq!(directory.membership(known, channel_id(1)).await.expect("no channel"), None);
    assert!(directory.members(channel_id(1)).await.expect("no channel").is_empty());
    assert!(directory.push_targets(channel_id(1)).await.expect("no channel").is_empty());
}

async fn values_are_returned_unchanged(directory: Dir) {
    let strange = "'; DROP TABLE users; -- \" \\ $1 ? % _ 파발 👩‍👩‍👧 \u{202e}\n";
    let given = User {
        username: "o'hara".into(),
        display_name: strange.into(),
        status_text: strange.into(),
        avatar_url: format!("https://example.org/?{strange}"),
        ..user(1)
    };
    let mut access = access(given.user_id, 1);
    access.device.name = strange.into();
    directory.sign_up(given.clone(), strange.into(), access.clone()).await.expect("a sign-up");
    let credentials = directory.credentials("o'hara").await.expect("credentials").expect("some");
    assert_eq!((credentials.user, credentials.password_hash.as_str()), (given, strange));
    assert_eq!(directory.access(access.token).await.expect("access"), Some(access));
}

async fn the_largest_ids_and_all_microseconds_are_kept(directory: Dir) {
    let largest = i64::MAX as u64;
    let user = User {
        user_id: UserId::new(largest),
        created_at: Timestamp::from_micros(253_402_300_799_999_999),
        ..user(1)
    };
    let mut access = access(user.user_id, largest);
    access.expires_at = user.created_at;
    directory.sign_up(user.clone(), "hash".into(), access.clone()).await.expect("a sign-up");
    assert_eq!(directory.user(user.user_id).await.expect("a user"), Some(user));
    assert_eq!(directory.access(access.token).await.expect("access"), Some(access));
}

async fn a_username_is_taken_whatever_its_case(directory: Dir) {
    named(&directory, &["minji", "émile", "김민지"]).await;
    for (number, name) in (10..).zip(["minji", "MinJi", "ÉMILE", "김민지"]) {
        let refused = sign_up(&directory, User { username: name.into(), ..user(number) }).await;
        assert!(matches!(refused, Err(DirectoryError::UsernameTaken)), "{name}: {refused:?}");
    }
    let other = User { username: "minjia".into(), ..user(20) };
    sign_up(&directory, other).await.expect("a longer name is another name");
}

async fn a_username_is_found_whatever_its_case(directory: Dir) {
    named(&directory, &["minji", "émile"]).await;
    for (name, number) in [("MINJI", 1), ("minji", 1), ("Émile", 2)] {
        let credentials = directory.credentials(name).await.expect("credentials");
        assert_eq!(credentials.expect(name).user.user_id, UserId::new(number));
    }
    assert_eq!(directory.credentials("minj").await.expect("no credentials"), None);
    assert_eq!(directory.credentials("minji ").await.expect("no credentials"), None);
}

async fn one_of_many_concurrent_sign_ups_of_a_name_wins(directory: Dir) {
    let results = at_once(&directory, 1..=24, |directory, number| {
        let username = if number % 2 == 0 { "minji" } else { "MINJI" }.into();
        let user = User { username, ..user(number) };
        let access = access(user.user_id, number);
        directory.sign_up(user, password_hash(number), access)
    })
    .await;
    let winners: Vec<usize> = (0..results.len()).filter(|index| results[*index].is_ok()).collect();
    let [winner] = winners[..] else { panic!("{winners:?} won") };
    for result in results.into_iter().filter_map(Result::err) {
        assert!(matches!(result, DirectoryError::UsernameTaken), "{result:?}");
    }
    let credentials = directory.credentials("minji").await.expect("credentials").expect("some");
    assert_eq!(credentials.user.user_id, UserId::new(winner as u64 + 1));
    assert_eq!(credentials.password_hash, password_hash(winner as u64 + 1));
}

async fn a_sign_up_with_an_id_in_use_is_refused(directory: Dir) {
    let [first] = people(&directory).await;
    let same_user = User { username: "other".into(), ..user(1) };
    let fresh = access(first, 10);
    let refused = directory.sign_up(same_user, "hash".into(), fresh).await;
    assert!(matches!(refused, Err(DirectoryError::IdTaken)), "{refused:?}");

    let second = user(2);
    let mut same_device = access(second.user_id, 10);
    same_device.device.device_id = DeviceId::new(1);
    let refused = directory.sign_up(second.clone(), "hash".into(), same_device).await;
    assert!(matches!(refused, Err(DirectoryError::IdTaken)), "{refused:?}");

    let mut same_token = access(second.user_id, 10);
    same_token.token = access(first, 1).token;
    let refused = directory.sign_up(second, "hash".into(), same_token).await;
    assert!(matches!(&refused, Err(error @ DirectoryError::IdTaken) if error.retryable()));
    let token = access(first, 1).token;
    let owner = directory.access(token).await.expect("access").expect("some").device.user_id;
    assert_eq!(owner, first, "a token keeps its owner");
}

async fn a_refused_sign_up_leaves_nothing(directory: Dir) {
    let [first] = people(&directory).await;
    let name_taken = User { username: user(1).username, ..user(2) };
    let unused = access(name_taken.user_id, 2);
    directory.sign_up(name_taken, "hash".into(), unused.clone()).await.expect_err("taken");
    let mut device_taken = access(UserId::new(3), 3);
    device_taken.device.device_id = access(first, 1).device.device_id;
    directory.sign_up(user(3), "hash".into(), device_taken.clone()).await.expect_err("taken");
    for number in [2, 3] {
        assert_eq!(directory.user(UserId::new(number)).await.expect("no user"), None);
        assert_eq!(directory.credentials(&user(number).username).await.expect("none"), None);
    }
    for access in [unused, device_taken] {
        assert_eq!(directory.access(access.token).await.expect("no access"), None);
    }
    for number in [2, 3] {
        sign_up(&directory, user(number)).await.expect("the refused ids are free");
    }
}

async fn a_first_device_is_the_users_own(directory: Dir) {
    let [first] = people(&directory).await;
    let refused = directory.sign_up(user(2), "hash".into(), access(first, 2)).await;
    assert!(matches!(refused, Err(DirectoryError::UnknownUser(id)) if id == first), "{refused:?}");
    assert_eq!(directory.user(UserId::new(2)).await.expect("no user"), None);
}

async fn a_log_in_adds_a_device_and_a_token(directory: Dir) {
    let [first] = people(&directory).await;
    let [old, new] = [access(first, 1), access(first, 2)];
    directory.log_in(new.clone()).await.expect("a log-in");
    assert_eq!(directory.access(old.token).await.expect("access"), Some(old));
    assert_eq!(directory.access(new.token).await.expect("access"), Some(new));
}

async fn the_newest_of_too_many_devices_stay(directory: Dir) {
    let [first, second] = people(&directory).await;
    let device = |number: u64| Access {
        expires_at: Timestamp::from_micros(1_950_000_000_000_000 + number / 2),
        ..access(first, 100 + number)
    };
    let all = MAX_DEVICES as u64 + 3;
    for number in 0..all {
        directory.log_in(device(number)).await.expect("a log-in");
    }
    // The device of the sign-up, whose token expires first, and the earliest log-ins.
    let mut ended = vec![access(first, 1)];
    ended.extend((0..3).map(device));
    for gone in &ended {
        assert_eq!(directory.access(gone.token).await.expect("no access"), None);
    }
    for number in 3..all {
        let found = directory.access(device(number).token).await.expect("access");
        assert_eq!(found, Some(device(number)));
    }
    assert!(directory.access(access(second, 2).token).await.expect("access").is_some());
    let recorded = directory.revocations(10).await.expect("revocations");
    let recorded: Vec<_> = recorded.into_iter().map(|entry| entry.revoked).collect();
    let device = |access: &Access| {
        let (device_id, token) = (access.device.device_id, access.token);
        RevokedAccess::Sessions(Revoked::Device { device_id, token })
    };
    assert_eq!(recorded, ended.iter().map(device).collect::<Vec<_>>());
}

async fn a_log_in_of_an_unknown_user_is_refused(directory: Dir) {
    let unknown = access(UserId::new(5), 5);
    let refused = directory.log_in(unknown.clone()).await;
    assert!(matches!(refused, Err(DirectoryError::UnknownUser(id)) if id.get() == 5));
    assert_eq!(directory.access(unknown.token).await.expect("no access"), None);
}

async fn a_log_in_with_an_id_in_use_is_refused(directory: Dir) {
    let [first, second] = people(&directory).await;
    for user_id in [first, second] {
        let mut same_device = access(user_id, 10);
        same_device.device.device_id = access(first, 1).device.device_id;
        let refused = directory.log_in(same_device.clone()).await;
        assert!(matches!(refused, Err(DirectoryError::IdTaken)), "{refused:?}");
        assert_eq!(directory.access(same_device.token).await.expect("no access"), None);

        let mut same_token = access(user_id, 10);
        same_token.token = access(first, 1).token;
        let refused = directory.log_in(same_token).await;
        assert!(matches!(refused, Err(DirectoryError::IdTaken)), "{refused:?}");
    }
    let token = access(first, 1).token;
    assert_eq!(directory.access(token).await.expect("access"), Some(access(first, 1)));
    directory.log_in(access(first, 10)).await.expect("a refusal takes no id");
}

async fn a_log_out_ends_one_token_once(directory: Dir) {
    let [first] = people(&directory).await;
    let [old, new] = [access(first, 1), access(first, 2)];
    directory.log_in(new.clone()).await.expect("a log-in");
    assert!(directory.log_out(old.token).await.expect("a log-out"));
    assert!(!directory.log_out(old.token).await.expect("again"));
    assert!(!directory.log_out(TokenHash::of("no token")).await.expect("no token"));
    assert_eq!(directory.access(old.token).await.expect("no access"), None);
    assert_eq!(directory.access(new.token).await.expect("access"), Some(new));
}

async fn a_device_is_removed_with_its_token(directory: Dir) {
    let [first] = people(&directory).await;
    directory.log_out(access(first, 1).token).await.expect("a log-out");
    directory.log_in(access(first, 1)).await.expect("no id is taken");
}

async fn an_expired_token_is_returned(directory: Dir) {
    let [first] = people(&directory).await;
    let mut expired = access(first, 2);
    expired.expires_at = Timestamp::from_micros(1);
    directory.log_in(expired.clone()).await.expect("a log-in");
    assert_eq!(directory.access(expired.token).await.expect("access"), Some(expired));
}

/// Access `number` of a user that expires at `micros`.
fn ending(user_id: UserId, number: u64, micros: u64) -> Access {
    Access { expires_at: Timestamp::from_micros(micros), ..access(user_id, number) }
}

async fn only_expired_tokens_and_their_devices_are_removed(directory: Dir) {
    let [first] = people(&directory).await;
    let [past, at, after] =
        [(2, 999), (3, 1_000), (4, 1_001)].map(|(number, micros)| ending(first, number, micros));
    for access in [&past, &at, &after] {
        directory.log_in(access.clone()).await.expect("a log-in");
    }
    let now = Timestamp::from_micros(1_000);
    assert_eq!(directory.remove_expired(now, 10).await.expect("removes"), 2);
    assert_eq!(directory.remove_expired(now, 10).await.expect("again"), 0);
    for gone in [past, at] {
        assert_eq!(directory.access(gone.token).await.expect("no access"), None);
        assert!(!directory.log_out(gone.token).await.expect("no token"));
        directory.log_in(gone).await.expect("its device was removed too");
    }
    for kept in [access(first, 1), after] {
        assert_eq!(directory.access(kept.token).await.expect("access"), Some(kept));
    }
}

async fn expired_tokens_are_removed_up_to_the_limit_the_earliest_first(directory: Dir) {
    let [first] = people(&directory).await;
    // Later numbers expire earlier.
    let expired: Vec<_> = (0..7).map(|n| ending(first, 10 + n, 1_000 - n)).collect();
    for access in &expired {
        directory.log_in(access.clone()).await.expect("a log-in");
    }
    let now = Timestamp::from_micros(5_000);
    assert_eq!(directory.remove_expired(now, 0).await.expect("removes none"), 0);
    for left in [4, 1] {
        assert_eq!(directory.remove_expired(now, 3).await.expect("removes"), 3);
        for (index, access) in expired.iter().enumerate() {
            let found = directory.access(access.token).await.expect("access");
            assert_eq!(found.is_some(), index < left, "{index} of {left} left");
        }
    }
    assert_eq!(directory.remove_expired(now, 3).await.expect("removes"), 1);
}
