//! Leaving a group, and the succession of its owner.

use crate::property::properties;
use pabal_core::model::{Role, UserId};

use super::groups::{GROUP, assert_gone, make, now, put, remove};
use super::{Dir, at_once, channel_id, people};

pub(super) async fn run(fresh: &impl AsyncFn() -> Dir) {
    properties! { fresh() =>
        a_removal_happens_once
        the_earliest_admin_succeeds_the_last_owner
        the_earliest_member_succeeds_if_there_is_no_admin
        there_is_no_succession_while_there_is_an_owner
        a_member_who_rejoins_counts_as_the_latest
        a_group_is_removed_with_its_last_member
        owners_who_leave_concurrently_leave_an_owner
        a_group_ends_when_all_members_leave_concurrently
    }
}

async fn a_removal_happens_once(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    make(&directory, one, &[two]).await;
    let results = at_once(&directory, 0..8, move |directory, _| {
        directory.remove_member(channel_id(GROUP), two)
    })
    .await;
    let removed = results.into_iter().filter(|a| *a.as_ref().expect("a removal")).count();
    assert_eq!(removed, 1);
    assert!(!remove(&directory, three).await, "not a member");
    assert!(!remove(&directory, UserId::new(99)).await, "an unknown user");
    assert_eq!(now(&directory).await, [(one, Role::Owner)]);
    assert_eq!(directory.membership(two, channel_id(GROUP)).await.expect("none"), None);
    assert!(directory.memberships(two).await.expect("memberships").is_empty());
}

async fn the_earliest_admin_succeeds_the_last_owner(directory: Dir) {
    let [one, two, three, four, five] = people(&directory).await;
    make(&directory, four, &[five]).await;
    for user_id in [three, two, one] {
        put(&directory, user_id, None).await;
    }
    // Neither the smallest id nor the first promoted admin, but the admin who joined first.
    for user_id in [one, two, three] {
        put(&directory, user_id, Some(Role::Admin)).await;
    }
    assert!(remove(&directory, four).await);
    let expected =
        [(one, Role::Admin), (two, Role::Admin), (three, Role::Owner), (five, Role::Member)];
    assert_eq!(now(&directory).await, expected);
}

async fn the_earliest_member_succeeds_if_there_is_no_admin(directory: Dir) {
    let [one, two, three, four] = people(&directory).await;
    make(&directory, two, &[four, one]).await;
    put(&directory, three, None).await;
    remove(&directory, two).await;
    let expected = [(one, Role::Member), (three, Role::Member), (four, Role::Owner)];
    assert_eq!(now(&directory).await, expected);
    remove(&directory, four).await;
    assert_eq!(now(&directory).await, [(one, Role::Owner), (three, Role::Member)]);
}

async fn there_is_no_succession_while_there_is_an_owner(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    make(&directory, one, &[two]).await;
    put(&directory, two, Some(Role::Admin)).await;
    put(&directory, three, Some(Role::Owner)).await;
    remove(&directory, one).await;
    assert_eq!(now(&directory).await, [(two, Role::Admin), (three, Role::Owner)]);
    remove(&directory, two).await;
    assert_eq!(now(&directory).await, [(three, Role::Owner)]);
}

async fn a_member_who_rejoins_counts_as_the_latest(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    make(&directory, three, &[one, two]).await;
    remove(&directory, one).await;
    assert_eq!(put(&directory, one, None).await, (true, Role::Member));
    remove(&directory, three).await;
    assert_eq!(now(&directory).await, [(one, Role::Member), (two, Role::Owner)]);
}

async fn a_group_is_removed_with_its_last_member(directory: Dir) {
    let [one, two] = people(&directory).await;
    make(&directory, one, &[two]).await;
    assert!(remove(&directory, one).await);
    assert!(remove(&directory, two).await);
    assert_gone(&directory, &[one, two]).await;
}

async fn owners_who_leave_concurrently_leave_an_owner(directory: Dir) {
    let ids: [UserId; 6] = people(&directory).await;
    make(&directory, ids[0], &ids).await;
    for user_id in &ids[..4] {
        put(&directory, *user_id, Some(Role::Owner)).await;
    }
    let results = at_once(&directory, ids.into_iter().take(4), |directory, user_id| {
        directory.remove_member(channel_id(GROUP), user_id)
    })
    .await;
    for removed in results {
        assert!(removed.expect("a removal"));
    }
    assert_eq!(now(&directory).await, [(ids[4], Role::Owner), (ids[5], Role::Member)]);
}

async fn a_group_ends_when_all_members_leave_concurrently(directory: Dir) {
    let ids: [UserId; 8] = people(&directory).await;
    make(&directory, ids[0], &ids).await;
    let results = at_once(&directory, ids, |directory, user_id| {
        directory.remove_member(channel_id(GROUP), user_id)
    })
    .await;
    for removed in results {
        assert!(removed.expect("a removal"));
    }
    assert_gone(&directory, &ids).await;
}
