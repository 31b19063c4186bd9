//! The list of access that was taken away: what enters it, and when.

use crate::property::properties;
use pabal_core::model::{Role, UserId};
use pabal_core::ports::{Revocation, Revoked, RevokedAccess};

use super::groups::{GROUP, leave, make, put};
use super::{Dir, LIMITS, access, at_once, channel_id, direct, group, people};

pub(super) async fn run(fresh: &impl AsyncFn() -> Dir) {
    properties! { fresh() =>
        a_log_out_is_recorded
        the_end_of_a_membership_is_recorded
        the_end_of_a_group_is_recorded
        a_block_is_recorded_for_the_direct_channel
        what_takes_no_access_away_is_not_recorded
        entries_stay_until_they_are_forgotten
        concurrent_changes_record_one_entry_each
    }
}

async fn recorded(directory: &Dir) -> Vec<(UserId, RevokedAccess)> {
    let entries = directory.revocations(100).await.expect("revocations");
    assert!(entries.is_sorted_by_key(|entry| entry.number), "{entries:?}");
    entries.into_iter().map(|Revocation { user_id, revoked, .. }| (user_id, revoked)).collect()
}

const IN_GROUP: RevokedAccess = RevokedAccess::Channel { channel_id: channel_id(GROUP) };

async fn a_log_out_is_recorded(directory: Dir) {
    let [one, two] = people(&directory).await;
    let ended = access(two, 2);
    assert!(directory.log_out(ended.token).await.expect("a log-out"));
    assert!(!directory.log_out(ended.token).await.expect("again"));
    assert!(directory.access(access(one, 1).token).await.expect("access").is_some());
    let (device_id, token) = (ended.device.device_id, ended.token);
    let revoked = RevokedAccess::Sessions(Revoked::Device { device_id, token });
    assert_eq!(recorded(&directory).await, [(two, revoked)]);
}

async fn the_end_of_a_membership_is_recorded(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    make(&directory, one, &[two, three]).await;
    directory.remove_member(one, channel_id(GROUP), three).await.expect("a removal");
    directory.remove_member(one, channel_id(GROUP), three).await.expect("again");
    leave(&directory, one).await;
    leave(&directory, two).await;
    assert_eq!(recorded(&directory).await, [three, one, two].map(|user| (user, IN_GROUP)));
}

async fn the_end_of_a_group_is_recorded(directory: Dir) {
    let [one, two] = people(&directory).await;
    make(&directory, one, &[two]).await;
    directory.delete_group(one, channel_id(GROUP)).await.expect("a deletion");
    let name = group(GROUP).name;
    let revoked = RevokedAccess::Group { channel_id: channel_id(GROUP), name };
    assert_eq!(recorded(&directory).await, [(one, revoked)]);
}

async fn a_block_is_recorded_for_the_direct_channel(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    directory.direct_channel([one, two], direct(7), LIMITS).await.expect("a channel");
    for _ in 0..2 {
        directory.block(two, one, LIMITS).await.expect("a block");
        directory.block(two, three, LIMITS).await.expect("a block without a channel");
    }
    let revoked = RevokedAccess::Channel { channel_id: channel_id(7) };
    assert_eq!(recorded(&directory).await, [(one, revoked)]);
}

async fn what_takes_no_access_away_is_not_recorded(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    make(&directory, one, &[two]).await;
    directory.direct_channel([one, two], direct(7), LIMITS).await.expect("a channel");
    put(&directory, three, Some(Role::Admin)).await;
    directory.rename_group(three, channel_id(GROUP), "Couriers".into()).await.expect("a name");
    directory.unblock(one, two).await.expect("no block");
    directory.befriend(one, two, LIMITS).await.expect("a request");
    let calls = [
        directory.delete_group(two, channel_id(GROUP)).await.map(drop),
        directory.remove_member(two, channel_id(GROUP), one).await.map(drop),
        directory.remove_member(three, channel_id(GROUP), one).await.map(drop),
    ];
    assert!(calls.iter().all(Result::is_err), "{calls:?}");
    assert_eq!(recorded(&directory).await, []);
}

async fn entries_stay_until_they_are_forgotten(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    for user_id in [one, two, three] {
        let token = access(user_id, user_id.get()).token;
        directory.log_out(token).await.expect("a log-out");
    }
    let first = directory.revocations(2).await.expect("revocations");
    assert_eq!(first.iter().map(|entry| entry.user_id).collect::<Vec<_>>(), [one, two]);
    let numbers: Vec<_> = first.iter().map(|entry| entry.number).collect();
    for _ in 0..2 {
        directory.forget_revocations(&numbers).await.expect("forgets");
        let left = directory.revocations(10).await.expect("revocations");
        assert_eq!(left.iter().map(|entry| entry.user_id).collect::<Vec<_>>(), [three]);
    }
    let last = directory.revocations(10).await.expect("revocations")[0].number;
    directory.forget_revocations(&[last]).await.expect("forgets");
    directory.forget_revocations(&[]).await.expect("nothing to forget");
    directory.log_in(access(one, 50)).await.expect("a log-in");
    directory.log_out(access(one, 50).token).await.expect("a log-out");
    let next = directory.revocations(10).await.expect("revocations")[0].number;
    assert!(next > last, "{next} was used before");
}

async fn concurrent_changes_record_one_entry_each(directory: Dir) {
    let ids: [UserId; 8] = people(&directory).await;
    make(&directory, ids[0], &ids).await;
    let leaving = ids.into_iter().skip(1);
    at_once(&directory, leaving.clone(), |directory, user_id| {
        directory.remove_member(user_id, channel_id(GROUP), user_id)
    })
    .await;
    let mut users: Vec<_> = recorded(&directory).await.into_iter().map(|(user, _)| user).collect();
    users.sort_unstable();
    assert_eq!(users, leaving.collect::<Vec<_>>());
}
