//! Leaving a group, and the succession of its owner.

use crate::property::properties;
use pabal_core::model::{Role, UserId};
use pabal_core::ports::RemovedMember;

use super::groups::{GROUP, assert_gone, leave, make, now, put};
use super::{Dir, at_once, channel_id, group, people};

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
        directory.remove_member(one, channel_id(GROUP), two)
    })
    .await;
    let removed = results.into_iter().filter_map(|removed| removed.expect("a removal"));
    let once = RemovedMember { channel: group(GROUP), successor: None, ended: false };
    assert_eq!(removed.collect::<Vec<_>>(), [once]);
    for user_id in [three, UserId::new(99)] {
        let removed = directory.remove_member(one, channel_id(GROUP), user_id).await;
        assert_eq!(removed.expect("a group"), None, "{user_id} is not a member");
    }
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
    assert_eq!(leave(&directory, four).await.successor, Some(three));
    let expected =
        [(one, Role::Admin), (two, Role::Admin), (three, Role::Owner), (five, Role::Member)];
    assert_eq!(now(&directory).await, expected);
}

async fn the_earliest_member_succeeds_if_there_is_no_admin(directory: Dir) {
    let [one, two, three, four] = people(&directory).await;
    make(&directory, two, &[four, one]).await;
    put(&directory, three, None).await;
    assert_eq!(leave(&directory, two).await.successor, Some(four));
    let expected = [(one, Role::Member), (three, Role::Member), (four, Role::Owner)];
    assert_eq!(now(&directory).await, expected);
    leave(&directory, four).await;
    assert_eq!(now(&directory).await, [(one, Role::Owner), (three, Role::Member)]);
}

async fn there_is_no_succession_while_there_is_an_owner(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    make(&directory, one, &[two]).await;
    put(&directory, two, Some(Role::Admin)).await;
    put(&directory, three, Some(Role::Owner)).await;
    assert_eq!(leave(&directory, one).await.successor, None);
    assert_eq!(now(&directory).await, [(two, Role::Admin), (three, Role::Owner)]);
    leave(&directory, two).await;
    assert_eq!(now(&directory).await, [(three, Role::Owner)]);
}

async fn a_member_who_rejoins_counts_as_the_latest(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    make(&directory, three, &[one, two]).await;
    leave(&directory, one).await;
    assert_eq!(put(&directory, one, None).await, (true, Role::Member));
    leave(&directory, three).await;
    assert_eq!(now(&directory).await, [(one, Role::Member), (two, Role::Owner)]);
}

async fn a_group_is_removed_with_its_last_member(directory: Dir) {
    let [one, two] = people(&directory).await;
    make(&directory, one, &[two]).await;
    assert!(!leave(&directory, one).await.ended);
    let last = RemovedMember { channel: group(GROUP), successor: None, ended: true };
    assert_eq!(leave(&directory, two).await, last);
    assert_gone(&directory, &[one, two]).await;
}

async fn owners_who_leave_concurrently_leave_an_owner(directory: Dir) {
    let ids: [UserId; 6] = people(&directory).await;
    make(&directory, ids[0], &ids).await;
    for user_id in &ids[..4] {
        put(&directory, *user_id, Some(Role::Owner)).await;
    }
    let results = at_once(&directory, ids.into_iter().take(4), |directory, user_id| {
        directory.remove_member(user_id, channel_id(GROUP), user_id)
    })
    .await;
    for removed in results {
        removed.expect("leaves").expect("was a member");
    }
    assert_eq!(now(&directory).await, [(ids[4], Role::Owner), (ids[5], Role::Member)]);
}

async fn a_group_ends_when_all_members_leave_concurrently(directory: Dir) {
    let ids: [UserId; 8] = people(&directory).await;
    make(&directory, ids[0], &ids).await;
    let results = at_once(&directory, ids, |directory, user_id| {
        directory.remove_member(user_id, channel_id(GROUP), user_id)
    })
    .await;
    for removed in results {
        removed.expect("leaves").expect("was a member");
    }
    assert_gone(&directory, &ids).await;
}
